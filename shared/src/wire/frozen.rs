//! Old and new processes run side by side: what the first version wrote is understood today, and what is
//! written today is understood by the first version.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Code, complete, fail, lease, renew, report, submit};

mod first;

/// What the first version wrote, of each type.
const SAMPLES: &str = include_str!("frozen/first.json");

fn sample(name: &str) -> Value {
    serde_json::from_str::<Value>(SAMPLES).unwrap()[name].take()
}

/// Reads a text as `T` and writes it again.
fn through<T: Serialize + DeserializeOwned>(value: &Value) -> Value {
    let read: T = serde_json::from_str(&value.to_string()).unwrap_or_else(|error| panic!("{error}: {value}"));
    serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap()
}

/// Asserts that a sample is what the first version wrote, that today's type loses nothing of it, and that the
/// first version reads that again.
fn holds<First: Serialize + DeserializeOwned, Today: Serialize + DeserializeOwned>(name: &str) {
    let sample = sample(name);
    assert_eq!(through::<First>(&sample), sample, "{name}: the sample is not the first version's");
    let today = through::<Today>(&sample);
    assert_eq!(today, sample, "{name}: today's type loses or adds something");
    assert_eq!(through::<First>(&today), sample, "{name}: the first version reads something else");
}

#[test]
fn every_frozen_sample_of_the_first_version_is_understood_both_ways() {
    holds::<Vec<first::SubmittedMessage>, Vec<submit::SubmittedMessage>>("submit_request");
    holds::<first::SubmitResponse, submit::SubmitResponse>("submit_response");
    holds::<first::LeaseRequest, lease::LeaseRequest>("lease_request");
    holds::<first::LeaseResponse, lease::LeaseResponse>("lease_response");
    holds::<first::RenewRequest, renew::RenewRequest>("renew_request");
    holds::<first::CompleteRequest, complete::CompleteRequest>("complete_request");
    holds::<first::FailRequest, fail::FailRequest>("fail_request");
    holds::<first::JobResults, lease::JobResults>("job_results");
    holds::<first::Report, report::Report>("report");
}

#[test]
fn members_that_were_added_since_are_ignored_by_the_first_version() {
    let mut messages = sample("submit_request");
    messages[0]["idempotency_key"] = json!({ "key": "k", "index": 7, "batch": "ab".repeat(32) });
    let today = through::<Vec<submit::SubmittedMessage>>(&messages);
    assert_eq!(today, messages, "today's type knows them");
    assert_eq!(through::<Vec<first::SubmittedMessage>>(&today), sample("submit_request"));

    let mut response = sample("submit_response");
    response["results"][1]["original"] = json!("01a1fc03-b7b9-7504-b160-3ecfdaffe3c0");
    let today = through::<submit::SubmitResponse>(&response);
    assert_eq!(today, response, "today's type knows them");
    assert_eq!(through::<first::SubmitResponse>(&today), sample("submit_response"));
}

#[test]
fn an_answer_with_members_that_nobody_knows_yet_is_understood() {
    for name in ["submit_response", "lease_response", "job_results"] {
        let mut answer = sample(name);
        answer["of_a_later_version"] = json!([1]);
        let list = answer.as_object_mut().unwrap().values_mut().next().unwrap();
        list[0]["of_a_later_version"] = json!({ "a": 1 });
        match name {
            "submit_response" => drop(through::<submit::SubmitResponse>(&answer)),
            "lease_response" => drop(through::<lease::LeaseResponse>(&answer)),
            _ => drop(through::<lease::JobResults>(&answer)),
        }
    }
    let mut messages = sample("submit_request");
    messages[1]["of_a_later_version"] = json!(true);
    assert_eq!(through::<Vec<submit::SubmittedMessage>>(&messages), sample("submit_request"));
}

#[test]
fn no_code_of_the_first_version_was_renamed() {
    let words = "invalid_json invalid_field unknown_field certificate_revoked certificate_expired \
                 certificate_not_yet_valid certificate_unknown certificate_mismatch client_suspended \
                 role_not_admitted not_found method_not_allowed not_acceptable request_timeout \
                 idempotency_in_flight payload_too_large unsupported_media_type idempotency_conflict \
                 unroutable not_enabled rate_limited backlog_exceeded internal_error registry_stale \
                 crl_stale overloaded upstream_unavailable";
    for word in words.split_whitespace() {
        assert!(Code::ALL.iter().any(|code| code.as_str() == word), "{word}");
    }
}

//! What an operator asks for: the filters of the query or the body, checked.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use shared::{
    identity::Name,
    wire::{Code, Problem},
};
use time::OffsetDateTime;
use url::form_urlencoded;
use uuid::Uuid;

use crate::queue::dead_letters::{Cursor, DeadReason, Filters};

/// Letters on a page.
pub(super) const PAGE: u32 = 100;
/// Jobs moved by one request, at most: a statement has its time.
const MOVED: u32 = 10_000;
/// Jobs a second, at least: the last of [`MOVED`] is then ready within four months. The database's dates end somewhere.
const SLOWEST: f64 = 0.001;

/// The query of a GET.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Shown {
    queue: Option<Name>,
    client_id: Option<Name>,
    #[serde(with = "time::serde::rfc3339::option")]
    since: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    until: Option<OffsetDateTime>,
    reason: Option<DeadReason>,
    limit: Option<String>,
    after: Option<String>,
    include: Option<Include>,
}

/// What else is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Include {
    /// What the message holds.
    Body,
}

impl Shown {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut members = Map::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if members.insert(name.to_string(), Value::String(value.into_owned())).is_some() {
                return Err(invalid(&name, "is there twice"));
            }
        }
        // The text names the parameter: serde says "unknown field `x`", or which words there are.
        serde_json::from_value(Value::Object(members))
            .map_err(|error| Problem::new(Code::InvalidField, format!("in the query: {error}")))
    }

    pub(super) fn filters(&self) -> Filters {
        Filters {
            queue: self.queue.clone(),
            client_id: self.client_id.clone(),
            since: self.since,
            until: self.until,
            reason: self.reason,
            message_id: None,
        }
    }

    pub(super) fn with_body(&self) -> bool {
        self.include == Some(Include::Body)
    }

    pub(super) fn limit(&self) -> Result<u32, Problem> {
        let Some(text) = &self.limit else { return Ok(PAGE) };
        let limit = text.parse().ok().filter(|limit| (1..=PAGE).contains(limit));
        limit.ok_or_else(|| invalid("limit", &format!("must lie between 1 and {PAGE}")))
    }

    pub(super) fn after(&self) -> Result<Option<Cursor>, Problem> {
        let cursor = self.after.as_deref().map(str::parse).transpose();
        cursor.map_err(|()| invalid("after", "is not the `next` of a page"))
    }

    /// Refuses what makes no sense where there are no pages.
    pub(super) fn whole(&self) -> Result<(), Problem> {
        match (&self.limit, &self.after) {
            (Some(_), _) => Err(invalid("limit", "is for pages; here comes all")),
            (_, Some(_)) => Err(invalid("after", "is for pages; here comes all")),
            _ => Ok(()),
        }
    }
}

/// The body of a POST. A filter may be absent, and not `null`: a script's empty variable is no wish for all.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Acted {
    #[serde(deserialize_with = "given")]
    queue: Option<Name>,
    #[serde(deserialize_with = "given")]
    client_id: Option<Name>,
    #[serde(deserialize_with = "given_instant")]
    since: Option<OffsetDateTime>,
    #[serde(deserialize_with = "given_instant")]
    until: Option<OffsetDateTime>,
    #[serde(deserialize_with = "given")]
    reason: Option<DeadReason>,
    #[serde(deserialize_with = "given")]
    message_ids: Option<Vec<Uuid>>,
    all: bool,
    #[serde(deserialize_with = "given")]
    limit: Option<u32>,
    #[serde(deserialize_with = "given")]
    pub(super) per_second: Option<f64>,
}

fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn given_instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OffsetDateTime>, D::Error> {
    time::serde::rfc3339::deserialize(deserializer).map(Some)
}

/// Which dead letters are to be moved.
#[derive(Debug)]
pub(super) enum Which {
    /// Those that match, at most so many.
    Matching(Filters, u32),
    /// These, of all queues or of one.
    Named(Vec<Uuid>, Option<Name>),
}

impl Acted {
    /// Refuses to take the absence of filters for a wish to move everything: a typing error looks the same.
    pub(super) fn which(self, most_ids: usize) -> Result<Which, Problem> {
        if self.per_second.is_some_and(|rate| !(rate >= SLOWEST && rate.is_finite())) {
            return Err(invalid("/per_second", &format!("must be {SLOWEST} or more")));
        }
        let filters = Filters {
            queue: self.queue,
            client_id: self.client_id,
            since: self.since,
            until: self.until,
            reason: self.reason,
            message_id: None,
        };
        let Some(ids) = self.message_ids else {
            if self.all != (filters == Filters::default()) {
                return Err(invalid(
                    "/all",
                    "give filters, or `message_ids`, or \"all\": true alone for every dead letter",
                ));
            }
            let limit = self.limit.unwrap_or(MOVED);
            crate::api::check_range("/limit", limit, 1..=MOVED)?;
            return Ok(Which::Matching(filters, limit));
        };
        if self.all
            || self.limit.is_some()
            || (Filters { queue: None, ..filters.clone() }) != Filters::default()
        {
            return Err(invalid("/message_ids", "goes with `queue` and `per_second` only"));
        }
        if ids.is_empty() || ids.len() > most_ids {
            return Err(invalid("/message_ids", &format!("must have 1 to {most_ids} ids")));
        }
        Ok(Which::Named(ids, filters.queue))
    }
}

fn invalid(field: &str, text: &str) -> Problem {
    Problem::new(Code::InvalidField, format!("`{field}` {text}")).with("field", field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_everything_has_to_be_said() {
        let which = |json: &str| serde_json::from_str::<Acted>(json).unwrap().which(2);
        for refused in [
            "{}",
            r#"{"limit": 5}"#,
            r#"{"all": true, "queue": "default"}"#,
            r#"{"message_ids": []}"#,
            r#"{"message_ids": ["00000000-0000-0000-0000-000000000000"], "client_id": "c"}"#,
            r#"{"message_ids": ["00000000-0000-0000-0000-000000000000"], "all": true}"#,
            r#"{"all": true, "per_second": 0}"#,
            r#"{"all": true, "limit": 0}"#,
            r#"{"all": true, "limit": 10001}"#,
        ] {
            assert_eq!(
                which(refused).err().map(|problem| problem.code),
                Some(Code::InvalidField),
                "{refused}"
            );
        }
        assert!(matches!(which(r#"{"all": true}"#), Ok(Which::Matching(_, MOVED))));
        assert!(matches!(which(r#"{"reason": "refused", "limit": 5}"#), Ok(Which::Matching(_, 5))));
    }

    #[test]
    fn a_filter_that_is_null_is_no_wish_for_all() {
        for name in ["queue", "client_id", "since", "until", "reason", "message_ids", "limit", "per_second"] {
            let asked = format!(r#"{{"reason": "refused", "{name}": null}}"#)
                .replace(r#""reason": "refused", "reason""#, r#""reason""#);
            assert!(serde_json::from_str::<Acted>(&asked).is_err(), "{asked}");
        }
    }

    #[test]
    fn a_rate_that_no_clock_can_keep_is_refused() {
        for rate in ["0", "-1", "5e-324", "0.0009"] {
            let asked: Acted =
                serde_json::from_str(&format!(r#"{{"all": true, "per_second": {rate}}}"#)).unwrap();
            assert!(asked.which(2).is_err(), "{rate}");
        }
    }

    #[test]
    fn a_query_is_read_strictly() {
        let query = "queue=default&since=2026-11-21T00:00:00Z&reason=lease_expired&limit=7&include=body";
        let shown = Shown::parse(Some(query)).unwrap();
        assert!(shown.filters().since.is_some() && shown.with_body());
        assert_eq!(shown.limit().ok(), Some(7));
        for refused in
            ["que=default", "queue=a&queue=b", "since=yesterday", "reason=bored", "include=all", "queue="]
        {
            assert!(Shown::parse(Some(refused)).is_err(), "{refused}");
        }
        for refused in ["limit=0", "limit=101", "limit=x"] {
            assert!(Shown::parse(Some(refused)).unwrap().limit().is_err(), "{refused}");
        }
        assert!(Shown::parse(Some("after=x")).unwrap().after().is_err());
    }
}

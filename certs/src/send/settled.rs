//! What became of one message, as the proxy said it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{call::Reply, word};

/// A message that was acknowledged, or refused for good. One line of the journal, and of the answer in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Counting from 1.
    pub line: u64,
    /// 202: it is stored. Otherwise the proxy's status, or what it would have been.
    pub status: u16,
    /// The stored message's id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message_id: Option<String>,
    /// When it was stored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queued_at: Option<String>,
    /// It had been stored before; an answer was lost.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub replayed: bool,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// The wrong member, as a JSON Pointer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The beginning of the line's SHA-256, so that a changed file is noticed.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub digest: String,
}

impl Settled {
    /// Refused here, unsent.
    pub(super) fn refused(line: u64, status: u16, code: &str, detail: String) -> Self {
        Self {
            line,
            status,
            message_id: None,
            queued_at: None,
            replayed: false,
            code: Some(code.to_owned()),
            detail: Some(detail),
            field: None,
            digest: String::new(),
        }
    }

    pub(super) fn of_reply(line: u64, reply: &Reply) -> Self {
        Self { replayed: reply.replayed, ..Self::of(line, reply.status.as_u16(), &reply.body) }
    }

    /// `index`: where in the batch it stood. The proxy names that line of the request, the user's file has another.
    pub(super) fn of_result(line: u64, index: usize, result: &Value) -> Option<Self> {
        let status = result["status"].as_u64().and_then(|status| u16::try_from(status).ok())?;
        let mut settled = Self { replayed: result["replayed"] == true, ..Self::of(line, status, result) };
        let within = format!("line {}: ", index + 1);
        settled.detail = settled.detail.map(|detail| match detail.strip_prefix(&within) {
            Some(rest) => rest.to_owned(),
            None => detail,
        });
        Some(settled)
    }

    fn of(line: u64, status: u16, body: &Value) -> Self {
        Self {
            line,
            status,
            message_id: word(body, "message_id"),
            queued_at: word(body, "queued_at"),
            replayed: false,
            code: word(body, "code"),
            detail: word(body, "detail"),
            field: word(body, "field"),
            digest: String::new(),
        }
    }

    /// Whether it is stored.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.status == 202
    }

    pub(super) fn may_succeed_later(&self) -> bool {
        Self::later(self.status, self.code.as_deref())
    }

    /// Which answers another sending may change.
    pub(super) fn later(status: u16, code: Option<&str>) -> bool {
        match status {
            409 => code == Some("idempotency_in_flight"),
            408 | 429 => true,
            other => other >= 500,
        }
    }
}

/// How many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Stored, now or, by a lost answer, earlier in this run.
    pub accepted: u64,
    /// Refused for good.
    pub refused: u64,
    /// Acknowledged in an earlier run, and not sent again.
    pub before: u64,
}

impl Tally {
    /// Counts one.
    pub fn count(&mut self, settled: &Settled) {
        if settled.accepted() {
            self.accepted += 1;
        } else {
            self.refused += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_another_sending_may_change_is_sent_again() {
        for (status, code, again) in [
            (202, None, false),
            (400, Some("invalid_field"), false),
            (403, Some("certificate_revoked"), false),
            (404, Some("not_found"), false),
            (408, Some("request_timeout"), true),
            (409, Some("idempotency_in_flight"), true),
            (409, Some("another"), false),
            (409, None, false),
            (413, Some("payload_too_large"), false),
            (422, Some("idempotency_conflict"), false),
            (429, Some("rate_limited"), true),
            (500, Some("internal_error"), true),
            (502, None, true),
            (503, Some("overloaded"), true),
        ] {
            assert_eq!(Settled::later(status, code), again, "{status} {code:?}");
        }
    }
}

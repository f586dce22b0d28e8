//! HTTP that could be read in two ways: each kind has one answer, and what is hidden in it is never a request.
//!
//! Every probe is bytes over TLS to the proxy, written by hand. A probe is followed, or filled, by a second request
//! that would store a message if anybody took it for one. At the end the messages that were stored are counted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod http1;
mod http1_heads;
mod http1_bodies;
mod http2;
pub(crate) mod frames;

use local::Stack;
use private_postgres::psql;

use crate::support::Sender;

/// What a probe is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// 202.
    Stored,
    /// 200.
    Answered,
    /// A problem, with this code. The connection goes on.
    Refused(&'static str),
    /// The same, and the connection ends.
    RefusedForGood(&'static str),
    /// 202, and the connection ends.
    StoredForGood,
    /// 200, and the connection ends.
    AnsweredForGood,
    /// The connection ends without a word; over HTTP/2, with GOAWAY.
    Closed,
    /// The stream ends with `RST_STREAM`.
    Reset,
}

impl Met {
    fn is_stored(self) -> bool {
        matches!(self, Self::Stored | Self::StoredForGood)
    }

    /// Whether nothing that is sent after it is read.
    fn ends_the_connection(self) -> bool {
        matches!(self, Self::RefusedForGood(_) | Self::StoredForGood | Self::AnsweredForGood | Self::Closed)
    }
}

/// As many messages of the client as were accepted, and none that was hidden in anything.
fn assert_stored(stack: &Stack, sender: &Sender, accepted: usize) {
    let stored = format!("SELECT count(*) FROM messages WHERE client_id = '{}'", sender.client.id);
    assert_eq!(psql(stack.owner_url(), &stored).unwrap().trim(), accepted.to_string());
}

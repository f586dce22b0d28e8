//! One client's connections of every kind, and whether all of them are stopped.

use local::{Client, Stack};
use rustls::{AlertDescription, HandshakeKind, SupportedProtocolVersion};

use super::{REST, busy, open};
use crate::support::caller::{Call, Caller};

/// An idle connection, a busy one, and a session that a new one resumes.
pub(super) struct Kinds {
    caller: Caller,
    version: &'static SupportedProtocolVersion,
    idle: Call,
    busy: Call,
}

/// What a way to stop clients does to connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopped {
    /// Of the answer to every request.
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) idle: Idle,
    pub(super) new: New,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Idle {
    Closed,
    /// It stays, and its next request is refused.
    Stays,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum New {
    /// The session is resumed, and the request on it refused.
    Resumed,
    /// There is nothing to resume, and the handshake ends with this.
    Alert(AlertDescription),
}

impl Stopped {
    /// A refusal that is about the client.
    pub(super) fn with(code: &'static str) -> Self {
        Self { status: 403, code, idle: Idle::Closed, new: New::Resumed }
    }

    /// A refusal for what the proxy does not know.
    pub(super) fn for_a_while(code: &'static str) -> Self {
        Self { status: 503, code, idle: Idle::Stays, new: New::Resumed }
    }
}

impl Kinds {
    pub(super) fn of(stack: &Stack, client: &Client, version: &'static SupportedProtocolVersion) -> Self {
        let caller = Caller::of(client, version);
        let (idle, busy) = (open(stack, &caller), busy(stack, &caller));
        Self { caller, version, idle, busy }
    }

    /// To be asked when the stop is in force: for an idle connection that is to be closed, this waits.
    pub(super) fn are_stopped(mut self, stack: &Stack, stopped: Stopped) {
        let Stopped { status, code, idle, new } = stopped;
        let version = self.version;
        let refused = |kind: &str, (answer, problem): (u16, String)| {
            assert!(answer == status && problem.contains(code), "{kind}, {version:?}: {answer} {problem}");
        };
        match idle {
            Idle::Closed => assert_eq!(self.idle.read_to_close().unwrap(), "", "{version:?}"),
            Idle::Stays => refused("idle", self.idle.get("/health").unwrap()),
        }
        self.busy.send(REST.as_bytes()).unwrap();
        refused("busy", self.busy.answer().unwrap());
        match new {
            New::Resumed => {
                let mut resumed = self.caller.connect(stack.url()).unwrap();
                assert_eq!(resumed.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
                refused("resumed", resumed.get("/health").unwrap());
            }
            New::Alert(alert) => assert_eq!(self.caller.alert(stack.url()), Ok(alert), "{version:?}"),
        }
    }
}

//! The actors of the end-to-end tests. Assertions stay in the tests.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails here")]

pub(crate) mod caller;
pub(crate) mod collector;
pub(crate) mod distribution_point;
pub(crate) mod holder;
pub(crate) mod manager;
pub(crate) mod repeater;
pub(crate) mod steady;

use std::{sync::LazyLock, time::Duration};

use local::{Answer, Client, Curl, Stack, StackOptions};

/// Longer than anything takes here; only a failing test waits so long.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// For a proxy whose test claims nothing about time: a machine that starts ten stacks at once takes long for a commit.
pub(crate) const PATIENT: &str = "[upstream]\nwaiting_time = '25s'\ntimeout = '25s'\nretry_for = '25s'";

/// For one that holds a body back until something has happened.
pub(crate) const HELD_BODIES: &str = "[limits]\nbody_pause = '5m'\n[message]\nbody_timeout = '5m'";

/// A stack of one proxy, one main server and one worker that every test may use and none may break.
pub(crate) fn shared_stack() -> &'static Stack {
    // who asks two hundred times why it is refused is slowed elsewhere (`slowed`)
    const UNSLOWED: &str = "[refusals]\nper_second = 0\nper_second_of_address = 0";
    static STACK: LazyLock<Stack> = LazyLock::new(|| {
        let config = [PATIENT, HELD_BODIES, UNSLOWED].join("\n");
        Stack::start(options().proxy_config(&config)).expect("the shared stack starts")
    });
    &STACK
}

/// The options of a stack that a test has for itself.
pub(crate) fn options() -> StackOptions {
    StackOptions::new(env!("CARGO_BIN_EXE_portcullis-local"))
}

/// A client that posts messages.
pub(crate) struct Sender {
    pub(crate) client: Client,
    pub(crate) curl: Curl,
    url: String,
}

impl Sender {
    /// A new registered client of the stack's first proxy.
    pub(crate) fn new(stack: &Stack) -> Self {
        let client = stack.fresh_client().unwrap();
        Self { curl: Curl::of(&client), url: stack.url().to_owned(), client }
    }

    /// POSTs a message with this body text.
    pub(crate) fn post_message(&self, text: &str) -> Answer {
        let message = serde_json::json!({ "sender_number": "+1234567890", "message_body": text });
        self.post(&message.to_string())
    }

    /// POSTs anything to `/api/v1/messages`.
    pub(crate) fn post(&self, json: &str) -> Answer {
        self.curl.post(&self.at("/api/v1/messages"), json).unwrap()
    }

    /// GETs a path.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.curl.get(&self.at(path)).unwrap()
    }

    /// The URL of a path.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

//! The soak's engine for less than a minute: every kind of fault, some at the same time.

use std::time::Duration;

use local::{
    Interrupt,
    soak::{Plan, soak},
};

#[test]
fn nothing_is_lost_made_up_or_doubled_while_everything_is_killed_in_turn() {
    let mut plan = Plan::new(env!("CARGO_BIN_EXE_portcullis-local"));
    (plan.seed, plan.time, plan.messages, plan.rounds) = (1, Duration::ZERO, 1000, 1);
    let summary = soak(&plan, &Interrupt::default()).unwrap();
    assert!(summary.is_clean(), "{summary}");
    assert!(summary.acknowledged() >= 1000, "{summary}");
    assert!(summary.faults().values().all(|times| *times > 0), "{summary}");
}

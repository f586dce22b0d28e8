//! How long to wait before sending again: doubling from half a second to half a minute, with chance in it, so that
//! many clients whose proxy was away do not come back at the same moment.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The pause before the attempt after this many failed ones in a row (at least 1): between half of the step and all.
pub(super) fn pause(failed: u32) -> Duration {
    let step = FIRST.saturating_mul(1 << (failed.max(1) - 1).min(16)).min(LONGEST);
    let mut chance = [0; 1];
    // without randomness the pause is only less well spread
    let _ = aws_lc_rs::rand::fill(&mut chance);
    step / 2 + step.mul_f32(f32::from(chance[0]) / 510.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_no_further() {
        for (failed, step) in
            [(0, 500), (1, 500), (2, 1_000), (5, 8_000), (7, 30_000), (4_000_000_000, 30_000)]
        {
            let (pause, step) = (pause(failed), Duration::from_millis(step));
            assert!(pause >= step / 2 && pause <= step, "{failed}: {pause:?}");
        }
    }
}

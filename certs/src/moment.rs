//! Moments, as certificates hold them and as people read them.

use time::{OffsetDateTime, macros::format_description};

/// X.509 cannot name a moment that `time` cannot: years have four digits in both.
pub(crate) fn from_unix(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// For people, in UTC, to the second.
pub(crate) fn written(moment: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    moment.format(format).unwrap_or_else(|_| moment.unix_timestamp().to_string())
}

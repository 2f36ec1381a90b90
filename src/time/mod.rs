//! Event time: watermarks and window arithmetic. Pure functions over `i64` microseconds since 1970 UTC.
//!
//! Comes in: event times of rows. Goes out: watermarks, windows. Always holds: a watermark `w` is *exclusive*
//! ("no further row with `ts < w`"), so the window `[s, e)` closes when `w >= e`. Read `window.rs` first.

mod duration;
pub mod text;
mod watermark;
mod window;

pub use duration::{Length, deserialize_micros, deserialize_some_micros, parse_duration};
pub use watermark::{Watermark, WatermarkMerge};
pub use window::{Window, WindowKind, floor_to};

/// Microseconds in a millisecond.
pub const MICROS_PER_MILLI: i64 = 1_000;
/// Microseconds in a second.
pub const MICROS_PER_SECOND: i64 = 1_000_000;

/// The clock: microseconds since 1970 UTC.
pub fn now_micros() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

//! Windows as arithmetic: which windows a row belongs to, and the slices that overlapping windows share.
//!
//! Flink's table-valued functions: TUMBLE, HOP, CUMULATE (SESSION depends on neighbours: `operator::session`).
//! All windows are `[start, end)`; `start = ts - floor_mod(ts - offset, size)`, floor also below 1970.

use std::fmt;

use super::Length;
use crate::error::{Error, Result};

/// One window, `[start, end)` in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// First instant inside.
    pub start: i64,
    /// First instant after.
    pub end: i64,
}

/// Windows at a regular distance, in the order in which they close. A day by the second has 86,400 of them per slice: they
/// are counted, not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRun {
    /// The first of them.
    pub first: Window,
    /// From one start to the next.
    start_step: i64,
    /// From one end to the next.
    end_step: i64,
    /// How many there are.
    pub count: i64,
}

impl WindowRun {
    /// The window number `n`, from 0.
    pub fn nth(self, n: i64) -> Window {
        Window { start: self.first.start + n * self.start_step, end: self.first.end + n * self.end_step }
    }

    /// How many of them have ended by `mark`.
    pub fn ended(self, mark: i64) -> i64 {
        match mark.saturating_sub(self.first.end) {
            early if early < 0 => 0,
            after => (after / self.end_step).saturating_add(1).min(self.count),
        }
    }
}

/// A windowing table-valued function with its sizes in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// Adjacent windows of one size.
    Tumble {
        /// Length of a window.
        size: i64,
        /// Shift of all window starts against 1970.
        offset: i64,
    },
    /// Windows of one size that begin at a regular distance.
    Hop {
        /// Length of a window.
        size: i64,
        /// Distance between two starts.
        slide: i64,
        /// Shift of all window starts against 1970.
        offset: i64,
    },
    /// Windows that grow from one start until the largest is reached, then start anew.
    Cumulate {
        /// Length of the largest window.
        size: i64,
        /// By how much each window is longer than the one before.
        step: i64,
        /// Shift of all window starts against 1970.
        offset: i64,
    },
    /// Bursts separated by more than a gap (rows exactly `gap` apart still merge).
    Session {
        /// The gap.
        gap: i64,
    },
}

impl WindowKind {
    /// Checks the sizes as Flink does; HOP with `size % slide != 0` is allowed here (semantics.md 2).
    pub fn check(self) -> Result<Self> {
        let fault = match self {
            WindowKind::Tumble { size, .. } if size <= 0 => Some("TUMBLE needs a size above zero".to_owned()),
            WindowKind::Hop { size, slide, .. } if size <= 0 || slide <= 0 => Some("HOP needs a slide and a size above zero".to_owned()),
            WindowKind::Hop { size, slide, .. } if slide > size => {
                Some(format!("HOP needs slide <= size, or rows between two windows would be lost; slide is {slide} us, size {size} us"))
            }
            WindowKind::Cumulate { size, step, .. } if size <= 0 || step <= 0 => {
                Some("CUMULATE needs a step and a size above zero".to_owned())
            }
            WindowKind::Cumulate { size, step, .. } if size % step != 0 => {
                Some(format!("CUMULATE needs a size that is a multiple of the step; step is {step} us, size {size} us"))
            }
            WindowKind::Session { gap } if gap <= 0 => Some("SESSION needs a gap above zero".to_owned()),
            _ => None,
        };
        fault.map_or(Ok(self), |text| Err(Error::input(text)))
    }

    /// Length of the slices that the windows share: no window begins or ends inside one. 0 for sessions.
    pub fn slice_size(self) -> i64 {
        match self {
            WindowKind::Tumble { size, .. } => size,
            WindowKind::Hop { size, slide, .. } => gcd(size, slide),
            WindowKind::Cumulate { step, .. } => step,
            WindowKind::Session { .. } => 0,
        }
    }

    fn offset(self) -> i64 {
        match self {
            WindowKind::Tumble { offset, .. } | WindowKind::Hop { offset, .. } | WindowKind::Cumulate { offset, .. } => offset,
            WindowKind::Session { .. } => 0,
        }
    }

    /// Start of the slice that `ts` falls into.
    pub fn slice_start(self, ts: i64) -> i64 {
        floor_to(ts, self.slice_size(), self.offset())
    }

    /// The windows that contain the slice beginning at `slice`; none for sessions.
    pub fn run_of_slice(self, slice: i64) -> WindowRun {
        match self {
            WindowKind::Tumble { size, .. } => {
                WindowRun { first: Window { start: slice, end: slice + size }, start_step: size, end_step: size, count: 1 }
            }
            WindowKind::Hop { size, slide, offset } => {
                let last = floor_to(slice, slide, offset);
                let before = (last + size - slice - self.slice_size()).div_euclid(slide);
                let start = last - before * slide;
                WindowRun { first: Window { start, end: start + size }, start_step: slide, end_step: slide, count: before + 1 }
            }
            WindowKind::Cumulate { size, step, offset } => {
                let start = floor_to(slice, size, offset);
                let end = slice + step;
                WindowRun { first: Window { start, end }, start_step: 0, end_step: step, count: (start + size - end) / step + 1 }
            }
            WindowKind::Session { gap } => {
                WindowRun { first: Window { start: slice, end: slice + gap }, start_step: gap, end_step: gap, count: 0 }
            }
        }
    }

    /// The same one by one, earliest start (then earliest end) first.
    pub fn windows_of_slice(self, slice: i64) -> Vec<Window> {
        let run = self.run_of_slice(slice);
        (0..run.count).map(|n| run.nth(n)).collect()
    }

    /// The window that follows `window` in the order in which windows close, if it shares slices with it.
    pub fn next_window(self, window: Window) -> Option<Window> {
        match self {
            WindowKind::Hop { slide, .. } => Some(Window { start: window.start + slide, end: window.end + slide }),
            WindowKind::Cumulate { size, step, .. } if window.end < window.start + size => {
                Some(Window { end: window.end + step, ..window })
            }
            _ => None,
        }
    }

    /// The windows that contain `ts`. For a session: `[ts, ts + gap)`, before merging.
    pub fn windows_of(self, ts: i64) -> Vec<Window> {
        match self {
            WindowKind::Session { gap } => vec![Window { start: ts, end: ts + gap }],
            _ => self.windows_of_slice(self.slice_start(ts)),
        }
    }

    /// End of the last window that contains the slice beginning at `slice`: after it the slice can go.
    pub fn last_end_of_slice(self, slice: i64) -> i64 {
        match self {
            WindowKind::Tumble { size, .. } => slice + size,
            WindowKind::Hop { size, slide, offset } => floor_to(slice, slide, offset) + size,
            WindowKind::Cumulate { size, offset, .. } => floor_to(slice, size, offset) + size,
            WindowKind::Session { gap } => slice + gap,
        }
    }
}

impl fmt::Display for WindowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            WindowKind::Tumble { size, .. } => write!(f, "TUMBLE {}", Length(size))?,
            WindowKind::Hop { size, slide, .. } => write!(f, "HOP {} every {}", Length(size), Length(slide))?,
            WindowKind::Cumulate { size, step, .. } => write!(f, "CUMULATE up to {} by {}", Length(size), Length(step))?,
            WindowKind::Session { gap } => write!(f, "SESSION gap {}", Length(gap))?,
        }
        match self.offset() {
            0 => Ok(()),
            offset => write!(f, " offset {}", Length(offset)),
        }
    }
}

/// `ts` rounded down to a multiple of `size` counted from `offset`; floor also below zero.
pub fn floor_to(ts: i64, size: i64, offset: i64) -> i64 {
    ts - (ts - offset).rem_euclid(size)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn w(start: i64, end: i64) -> Window {
        Window { start, end }
    }

    #[test]
    fn tumbling_floors_also_below_1970_and_honours_the_offset() {
        let tumble = WindowKind::Tumble { size: 10, offset: 3 };
        assert_eq!(tumble.windows_of(-1), [w(-7, 3)]);
        assert_eq!(tumble.windows_of(3), [w(3, 13)]);
        assert_eq!(tumble.windows_of(2), [w(-7, 3)]);
    }

    #[test]
    fn hopping_windows_share_slices_even_when_size_is_no_multiple_of_slide() {
        let hop = WindowKind::Hop { size: 10, slide: 4, offset: 0 };
        assert_eq!(hop.slice_size(), 2);
        assert_eq!(hop.windows_of(9), [w(0, 10), w(4, 14), w(8, 18)]);
        assert_eq!(hop.windows_of(10), [w(4, 14), w(8, 18)]);
        assert_eq!(hop.last_end_of_slice(8), 18);
        let run = hop.run_of_slice(8);
        assert_eq!([9, 10, 13, 14, 18, i64::MAX].map(|mark| run.ended(mark)), [0, 1, 1, 2, 3, 3]);
        assert_eq!(hop.next_window(w(0, 10)), Some(w(4, 14)));
    }

    #[test]
    fn cumulating_windows_grow_to_the_full_size() {
        let cumulate = WindowKind::Cumulate { size: 6, step: 2, offset: 0 };
        assert_eq!(cumulate.windows_of(3), [w(0, 4), w(0, 6)]);
        assert_eq!(cumulate.windows_of(5), [w(0, 6)]);
        assert_eq!(cumulate.next_window(w(0, 4)), Some(w(0, 6)));
        assert_eq!(cumulate.next_window(w(0, 6)), None);
    }

    #[test]
    fn windows_are_shown_in_the_units_people_wrote() {
        assert_eq!(WindowKind::Hop { size: 10_000_000, slide: 1_500_000, offset: 0 }.to_string(), "HOP 10 s every 1500 ms");
        assert_eq!(WindowKind::Tumble { size: 86_400_000_000, offset: -3_600_000_000 }.to_string(), "TUMBLE 1 d offset -1 h");
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(WindowKind::Hop { size: 2, slide: 3, offset: 0 }.check().is_err());
        assert!(WindowKind::Cumulate { size: 5, step: 2, offset: 0 }.check().is_err());
        assert!(WindowKind::Tumble { size: 0, offset: 0 }.check().is_err());
    }
}

//! The watermark and its merging over several inputs.

use std::fmt;

/// "No further row with `ts < w`", in microseconds since 1970 UTC (exclusive; semantics.md 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Nothing is known yet.
    pub const MIN: Watermark = Watermark(i64::MIN);
    /// The input has ended: everything open closes.
    pub const MAX: Watermark = Watermark(i64::MAX);

    /// Has event time reached `micros`, that is: can no row before it come any more?
    pub fn passed(self, micros: i64) -> bool {
        self.0 >= micros
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Watermark::MIN => f.write_str("-inf"),
            Watermark::MAX => f.write_str("+inf"),
            Watermark(micros) => match chrono::DateTime::from_timestamp_micros(micros) {
                Some(time) => write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%S%.fZ")),
                None => write!(f, "{micros}us"),
            },
        }
    }
}

/// The merged watermark of several inputs: the minimum over those that are neither idle nor ended.
///
/// Idle inputs hold nobody back; when there are only idle and ended ones, time holds, and its end is reached when all have
/// ended. An input that resumes behind does not turn time back.
#[derive(Debug, Clone)]
pub struct WatermarkMerge {
    /// Per input: its watermark, and whether it is idle.
    inputs: Vec<(Watermark, bool)>,
    /// The merged value last handed out: it never goes back.
    merged: Watermark,
}

impl WatermarkMerge {
    /// Nothing known of `inputs` inputs.
    pub fn new(inputs: usize) -> Self {
        WatermarkMerge { inputs: vec![(Watermark::MIN, false); inputs], merged: Watermark::MIN }
    }

    /// Input `input` says `mark` (and is thereby active). Returns the merged watermark if it moved.
    pub fn on_mark(&mut self, input: usize, mark: Watermark) -> Option<Watermark> {
        let slot = &mut self.inputs[input];
        *slot = (slot.0.max(mark), false);
        self.advance()
    }

    /// Input `input` has nothing to say for now. Returns the merged watermark if it moved.
    pub fn on_idle(&mut self, input: usize) -> Option<Watermark> {
        self.inputs[input].1 = true;
        self.advance()
    }

    /// Input `input` sends rows again: it counts once more.
    pub fn on_active(&mut self, input: usize) {
        self.inputs[input].1 = false;
    }

    /// Are all inputs idle, but for those that have ended?
    pub fn all_rest(&self) -> bool {
        !self.all_ended() && self.inputs.iter().all(|(mark, idle)| *idle || *mark == Watermark::MAX)
    }

    fn all_ended(&self) -> bool {
        self.inputs.iter().all(|(mark, _)| *mark == Watermark::MAX)
    }

    /// The merged watermark last reached.
    pub fn merged(&self) -> Watermark {
        self.merged
    }

    fn advance(&mut self) -> Option<Watermark> {
        let least = self.inputs.iter().filter(|(_, idle)| !idle).map(|(mark, _)| *mark).min()?;
        let holds = least == Watermark::MAX && !self.all_ended();
        (least > self.merged && !holds).then(|| {
            self.merged = least;
            least
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_takes_the_minimum_and_leaves_idle_inputs_out() {
        let mut merge = WatermarkMerge::new(2);
        assert_eq!(merge.on_mark(0, Watermark(10)), None);
        assert_eq!(merge.on_mark(1, Watermark(5)), Some(Watermark(5)));
        assert_eq!(merge.on_idle(1), Some(Watermark(10)));
        assert_eq!(merge.on_mark(1, Watermark(7)), None, "time does not go back");
        assert_eq!(merge.on_idle(0), None);
    }

    #[test]
    fn the_end_of_one_input_is_not_the_end_while_another_is_idle() {
        let mut merge = WatermarkMerge::new(2);
        merge.on_mark(0, Watermark(5));
        merge.on_mark(1, Watermark(10));
        assert_eq!(merge.on_idle(0), Some(Watermark(10)));
        assert_eq!(merge.on_mark(1, Watermark::MAX), None, "the idle one may bring rows yet");
        assert!(merge.all_rest(), "nobody is held back by what has ended");
        assert_eq!(merge.on_mark(0, Watermark(12)), Some(Watermark(12)));
        assert!(!merge.all_rest());
        assert_eq!(merge.on_mark(0, Watermark::MAX), Some(Watermark::MAX));
        assert!(!merge.all_rest(), "all have ended");
    }
}

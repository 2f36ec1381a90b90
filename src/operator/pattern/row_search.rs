//! A search for a match, which may be put off and taken up again: the way it is on, and the ways not tried yet.
//!
//! ```text
//!  path   A B B B │ next row …       stack   the other side of every choice, the last one first
//! ```
//! Rows are counted from the first of the match, so that they stay the same when older rows are forgotten.

use arrow::array::ArrayRef;

use crate::operator::pattern::binding::{End, Labels};

/// The labels of the rows of a match, from its first row on.
#[derive(Debug, Default, Clone)]
pub(super) struct Path {
    labels: Vec<u16>,
    /// By label: its rows, ascending.
    places: Vec<Vec<u32>>,
}

impl Path {
    /// Of one row.
    pub(super) fn of(label: u16) -> Self {
        let mut path = Path::default();
        path.push(label);
        path
    }

    pub(super) fn labels(&self) -> &[u16] {
        &self.labels
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(super) fn push(&mut self, label: u16) {
        let at = label as usize;
        if self.places.len() <= at {
            self.places.resize_with(at + 1, Vec::new);
        }
        self.places[at].push(self.labels.len() as u32);
        self.labels.push(label);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        while self.labels.len() > rows {
            if let Some(label) = self.labels.pop() {
                self.places[label as usize].pop();
            }
        }
    }

    /// A row of `of`, `skip` rows from that end; LAST looks at the rows before `until`, FIRST at all.
    pub(super) fn find(&self, of: &Labels, end: End, skip: usize, until: usize) -> Option<usize> {
        let until = until.min(self.labels.len());
        match (of.as_deref(), end) {
            (None, End::First) => (skip < self.labels.len()).then_some(skip),
            (None, End::Last) => until.checked_sub(1 + skip),
            (Some([label]), end) => {
                let places = self.places.get(*label)?;
                let at = match end {
                    End::First => skip,
                    End::Last => places.partition_point(|place| (*place as usize) < until).checked_sub(1 + skip)?,
                };
                places.get(at).map(|place| *place as usize)
            }
            (Some(several), end) => {
                let fits = |at: &usize| several.contains(&(self.labels[*at] as usize));
                match end {
                    End::First => (0..self.labels.len()).filter(fits).nth(skip),
                    End::Last => (0..until).rev().filter(fits).nth(skip),
                }
            }
        }
    }
}

/// A way not tried yet.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// The next instruction.
    pub(super) at: u32,
    /// The next row.
    pub(super) row: usize,
    pub(super) excluding: bool,
    pub(super) marks: Box<[usize]>,
}

/// A search from one row.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) path: Path,
    /// Per row of the path: is it excluded?
    pub(super) excluded: Vec<bool>,
    pub(super) stack: Vec<Way>,
    pub(super) tried: usize,
    /// By label: aggregates that its condition reads.
    pub(super) running: Vec<Running>,
}

impl Search {
    /// With `marks` marks and `labels` labels.
    pub(super) fn new(marks: usize, labels: usize) -> Self {
        let first = Way { at: 0, row: 0, excluding: false, marks: vec![usize::MAX; marks].into_boxed_slice() };
        let mut running = Vec::new();
        running.resize_with(labels, Running::default);
        Search { path: Path::default(), excluded: Vec::new(), stack: vec![first], tried: 0, running }
    }

    /// Goes on with the way tried last, of those that are left.
    pub(super) fn next_way(&mut self) -> Option<Way> {
        let way = self.stack.pop()?;
        self.path.truncate(way.row);
        self.excluded.truncate(way.row);
        self.running.iter_mut().for_each(|running| running.truncate(way.row));
        self.tried += 1;
        Some(way)
    }

    /// Memory, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        let marks = self.stack.first().map_or(0, |way| way.marks.len() * size_of::<usize>());
        self.path.len() * (2 * size_of::<u32>()) + self.stack.len() * (size_of::<Way>() + marks)
    }
}

/// Aggregates over the rows of a path as far as it is certain, so that each row is added once.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// By binding: how many rows of the path are in it, and the states; of the last row tried, and without it.
    levels: Vec<Vec<(usize, Vec<ArrayRef>)>>,
}

impl Running {
    /// The states of binding `at` that most rows of a path of `rows` rows are in already.
    pub(super) fn best(&self, at: usize, rows: usize) -> Option<&(usize, Vec<ArrayRef>)> {
        self.levels.get(at)?.iter().filter(|level| level.0 <= rows).max_by_key(|level| level.0)
    }

    /// Keeps the states of binding `at` over the first `rows` rows, and of those before the longest.
    pub(super) fn keep(&mut self, at: usize, rows: usize, states: Vec<ArrayRef>) {
        if self.levels.len() <= at {
            self.levels.resize_with(at + 1, Vec::new);
        }
        let levels = &mut self.levels[at];
        levels.retain(|level| level.0 != rows);
        if levels.len() > 1 {
            levels.remove(0);
        }
        levels.push((rows, states));
    }

    fn truncate(&mut self, rows: usize) {
        self.levels.iter_mut().for_each(|levels| levels.retain(|level| level.0 <= rows));
    }
}

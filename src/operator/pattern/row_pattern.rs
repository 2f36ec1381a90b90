//! MATCH_RECOGNIZE as a spec: a regular expression over the rows of a partition, what its variables must be, and what is
//! said of a match; and its compilation to a program for `row_matches.rs`.
//!
//! ```text
//!  A B+? | C   ─▶   0 split 1 5    1 label A    2 label B    3 split 6 2 (reluctant: out first)    5 label C    6 accept
//! ```

use crate::error::{Error, Result};
use crate::operator::pattern::binding::Condition;

/// Most variables in one PERMUTE: all their orders are spelled out.
pub const MAX_PERMUTED: usize = 6;
/// Most instructions of a program: `{n,m}` are spelled out.
pub const MAX_PROGRAM: usize = 100_000;

/// Most rows that PREV and NEXT go: so many of every partition are kept, whatever matches.
pub const MAX_DISTANCE: i64 = 10_000;

/// Most variables of a pattern: a row's are bits of one word.
pub const MAX_VARIABLES: usize = 64;

/// MATCH_RECOGNIZE. Measures are the rule's [`Emission`](super::binding::Emission): one row per match, or per row of it.
#[derive(Debug, Clone)]
pub struct RowPattern {
    /// The primary variables; labels are positions in here. A union variable (SUBSET) is several labels.
    pub variables: Vec<String>,
    /// PATTERN.
    pub regex: Regex,
    /// DEFINE, by label; none: always true. Bindings see the tried row under its label.
    pub define: Vec<Option<Condition>>,
    /// AFTER MATCH SKIP.
    pub skip: RowSkip,
    /// ROWS PER MATCH.
    pub rows: RowsPerMatch,
    /// WITHIN: last - first < this, microseconds.
    pub within: Option<i64>,
    /// Does what is emitted carry the time of a match's last row as event time? The watermark then waits for rows that may
    /// still turn out to be one.
    pub timed: bool,
}

/// A regular expression over rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Regex {
    /// A row of this label.
    Label(usize),
    /// `^`: the start of the partition.
    Start,
    /// `$`: the end of the partition.
    End,
    /// `()`: no row.
    Empty,
    /// One after the other.
    Seq(Vec<Regex>),
    /// One of them, earlier ones preferred.
    Alt(Vec<Regex>),
    /// All of them in any order, lexicographically earlier orders preferred.
    Permute(Vec<Regex>),
    /// `{- … -}`: matched, but not among ALL ROWS.
    Exclude(Box<Regex>),
    /// Repeated.
    Repeat {
        /// What.
        inner: Box<Regex>,
        /// At least.
        from: u32,
        /// At most; none: without end.
        to: Option<u32>,
        /// Rather more than less often.
        greedy: bool,
    },
}

/// Where the next match may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowSkip {
    /// At the row after the first of the match.
    ToNext,
    /// After its last row.
    PastLast,
    /// At the first row of one of these labels; an error where there is none or it is the first of the match.
    ToFirst(Vec<usize>),
    /// At the last such row; errors as above.
    ToLast(Vec<usize>),
}

/// Which rows are emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsPerMatch {
    /// One: measures are final, the event's columns are those of the last row. An empty match shows its starting row.
    One,
    /// Every row that is not excluded.
    All {
        /// Emit a row for an empty match (SHOW EMPTY MATCHES).
        empty: bool,
        /// Emit rows that are in no match, bindings NULL (WITH UNMATCHED ROWS).
        unmatched: bool,
    },
}

/// An instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Label(u16),
    /// Try the first, then the second.
    Split(u32, u32),
    Jump(u32),
    Start,
    End,
    Exclude(bool),
    /// Notes where an iteration begins.
    Mark(u16),
    /// An iteration has ended: on if it took a row, else out of the loop.
    Again(u16, u32, u32),
    Accept,
}

/// A compiled regular expression.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) ops: Vec<Op>,
    /// How many marks it uses.
    pub(super) marks: u16,
    /// Does it ask for the start of the partition?
    pub(super) anchored: bool,
}

impl RowPattern {
    /// What gives its state a meaning.
    pub(super) fn identity(&self) -> String {
        let define: Vec<String> = self.define.iter().map(|define| define.as_ref().map(Condition::identity).unwrap_or_default()).collect();
        format!("rows {:?} {} {:?} {:?} {:?}", self.regex, define.join(", "), self.skip, self.rows, self.within)
    }
}

impl Regex {
    /// Says whether it is too long to be spelled out.
    pub fn check(&self) -> Result<()> {
        Program::new(self).map(drop)
    }

    /// Rows that a match has at least.
    pub(super) fn shortest(&self) -> usize {
        match self {
            Regex::Label(_) => 1,
            Regex::Start | Regex::End | Regex::Empty => 0,
            Regex::Seq(parts) | Regex::Permute(parts) => parts.iter().map(Regex::shortest).sum(),
            Regex::Alt(parts) => parts.iter().map(Regex::shortest).min().unwrap_or(0),
            Regex::Exclude(inner) => inner.shortest(),
            Regex::Repeat { inner, from, .. } => inner.shortest().saturating_mul(*from as usize),
        }
    }

    /// The labels that the last row of a match may have, as bits.
    pub(super) fn last(&self) -> u64 {
        match self {
            Regex::Label(label) => 1 << label,
            Regex::Start | Regex::End | Regex::Empty => 0,
            Regex::Seq(parts) => {
                let optional = parts.iter().rev().take_while(|part| part.shortest() == 0).count();
                parts.iter().rev().take(optional + 1).fold(0, |all, part| all | part.last())
            }
            Regex::Alt(parts) | Regex::Permute(parts) => parts.iter().fold(0, |all, part| all | part.last()),
            Regex::Exclude(inner) | Regex::Repeat { inner, .. } => inner.last(),
        }
    }
}

impl Program {
    /// Compiles an expression.
    pub(super) fn new(regex: &Regex) -> Result<Self> {
        let mut program = Program { ops: Vec::new(), marks: 0, anchored: false };
        program.add(regex)?;
        program.ops.push(Op::Accept);
        Ok(program)
    }

    fn here(&self) -> u32 {
        self.ops.len() as u32
    }

    /// Sets the targets of the split at `at`.
    fn split(&mut self, at: u32, inside: u32, out: u32, greedy: bool) {
        self.ops[at as usize] = if greedy { Op::Split(inside, out) } else { Op::Split(out, inside) };
    }

    fn add(&mut self, regex: &Regex) -> Result<()> {
        if self.ops.len() > MAX_PROGRAM {
            return Err(Error::input(format!(
                "the pattern is too long when its repetitions are spelled out: more than {MAX_PROGRAM} steps"
            )));
        }
        match regex {
            Regex::Label(label) => self.ops.push(Op::Label(*label as u16)),
            Regex::Start => {
                self.anchored = true;
                self.ops.push(Op::Start);
            }
            Regex::End => self.ops.push(Op::End),
            Regex::Empty => {}
            Regex::Seq(parts) => parts.iter().try_for_each(|part| self.add(part))?,
            Regex::Alt(parts) => self.alternatives(parts)?,
            Regex::Permute(parts) if parts.len() > MAX_PERMUTED => {
                return Err(Error::input(format!("PERMUTE of {} parts; at most {MAX_PERMUTED} can be spelled out", parts.len())));
            }
            Regex::Permute(parts) => self.alternatives(&orders(parts))?,
            Regex::Exclude(inner) => {
                self.ops.push(Op::Exclude(true));
                let inside = self.ops.len();
                self.add(inner)?;
                // The end of an exclusion within is not the end of this one.
                for op in &mut self.ops[inside..] {
                    if let Op::Exclude(on) = op {
                        *on = true;
                    }
                }
                self.ops.push(Op::Exclude(false));
            }
            Regex::Repeat { inner, from, to, greedy } => {
                for _ in 0..*from {
                    let before = self.ops.len();
                    self.add(inner)?;
                    if self.ops.len() == before {
                        // Nothing, however often.
                        break;
                    }
                }
                match to {
                    None => {
                        let mark = self.marks;
                        self.marks += 1;
                        let split = self.here();
                        self.ops.extend([Op::Accept, Op::Mark(mark)]);
                        self.add(inner)?;
                        let again = self.here();
                        self.ops.push(Op::Again(mark, split, again + 1));
                        self.split(split, split + 1, again + 1, *greedy);
                    }
                    Some(to) => {
                        let mut splits = Vec::new();
                        for _ in *from..*to {
                            splits.push(self.here());
                            self.ops.push(Op::Accept);
                            self.add(inner)?;
                        }
                        let out = self.here();
                        splits.into_iter().for_each(|split| self.split(split, split + 1, out, *greedy));
                    }
                }
            }
        }
        Ok(())
    }

    fn alternatives(&mut self, parts: &[Regex]) -> Result<()> {
        let Some((last, others)) = parts.split_last() else { return Ok(()) };
        let mut ends = Vec::new();
        for part in others {
            let split = self.here();
            self.ops.push(Op::Accept);
            self.add(part)?;
            ends.push(self.here());
            self.ops.push(Op::Accept);
            let next = self.here();
            self.split(split, split + 1, next, true);
        }
        self.add(last)?;
        let out = self.here();
        ends.into_iter().for_each(|end| self.ops[end as usize] = Op::Jump(out));
        Ok(())
    }
}

/// All orders of `parts`, lexicographically.
fn orders(parts: &[Regex]) -> Vec<Regex> {
    fn add(left: &[Regex], taken: &mut Vec<Regex>, all: &mut Vec<Regex>) {
        if left.is_empty() {
            all.push(Regex::Seq(taken.clone()));
        }
        for at in 0..left.len() {
            taken.push(left[at].clone());
            let rest = [&left[..at], &left[at + 1..]].concat();
            add(&rest, taken, all);
            taken.pop();
        }
    }
    let mut all = Vec::new();
    add(parts, &mut Vec::new(), &mut all);
    all
}

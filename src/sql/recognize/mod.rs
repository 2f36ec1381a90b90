//! MATCH_RECOGNIZE: from text to the pattern operator.
//!
//! ```text
//!  tokens ─ lift.rs ─▶ t MATCH_RECOGNIZE (…)  as a call of a table function ─ sqlparser ─▶ its body, read by syntax.rs
//!         ─ relation.rs ─▶ plan.rs: regex.rs (PATTERN), names.rs (expressions) ─▶ RecognizeNode (node.rs) under a projection
//!         ─ lower/recognize.rs (pipelines), bounded/recognize_exec.rs (queries) ─▶ compile.rs ─▶ the operator's spec
//! ```
//! Comes in: the body of the clause. Goes out: a [`RecognizeNode`] whose rows are what the measures are computed from, and
//! the measures as a projection over it: they are typed, coerced and refused like any other expression. Always holds: both
//! ways to run it use the one matcher of `operator/pattern/`. Read `syntax.rs` first.

pub(super) mod compile;
pub(super) mod lift;
mod names;
pub mod node;
pub(super) mod plan;
mod regex;
pub(super) mod syntax;

pub use self::node::RecognizeNode;
pub(super) use self::syntax::is_semantics;

/// The name of the clause, and of the call that it is turned into.
pub(super) const CLAUSE: &str = "MATCH_RECOGNIZE";

//! The pattern operator: against cases from public test suites, and against a matcher that enumerates selections.

mod cases;
mod driver;
mod expression;
mod naive;
pub mod random;
mod row_cases;
mod row_random;
mod sql_random;
mod translate;
mod windows;

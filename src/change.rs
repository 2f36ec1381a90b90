//! Changes: what a row of a changelog does to the row that was there before it.
//!
//! ```text
//!  $change   row            said of a table with key id
//!  +I        1, 'a'         is new
//!  -U        1, 'a'         was so …
//!  +U        1, 'b'         … and is so now
//!  -D        1, 'b'         is gone
//! ```
//! A batch without the column [`CHANGE_COLUMN`] holds inserts only.

use arrow::array::{Array, AsArray, Int8Array, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Int8Type, Schema};

use crate::error::{Error, Result};

/// Name of the hidden column that tells the [`Kind`] of each row, as its number (Int8, never NULL).
pub const CHANGE_COLUMN: &str = "$change";

/// What a row does. The numbers are Flink's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum Kind {
    /// `+I`: a new row.
    Insert = 0,
    /// `-U`: what a row was before its update.
    UpdateBefore = 1,
    /// `+U`: what a row is after its update.
    UpdateAfter = 2,
    /// `-D`: a row that is gone.
    Delete = 3,
}

impl Kind {
    /// The kind with this number.
    pub fn of(number: i8) -> Result<Kind> {
        match number {
            0 => Ok(Kind::Insert),
            1 => Ok(Kind::UpdateBefore),
            2 => Ok(Kind::UpdateAfter),
            3 => Ok(Kind::Delete),
            other => Err(Error::bug(format!("{other} is the number of no change"))),
        }
    }

    /// As Flink shows it: `+I`, `-U`, `+U`, `-D`.
    pub fn sign(self) -> &'static str {
        match self {
            Kind::Insert => "+I",
            Kind::UpdateBefore => "-U",
            Kind::UpdateAfter => "+U",
            Kind::Delete => "-D",
        }
    }

    /// Does the row hold after the change (`+I`, `+U`)?
    pub fn adds(self) -> bool {
        matches!(self, Kind::Insert | Kind::UpdateAfter)
    }
}

/// The kinds of changes that a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Changes {
    /// New rows only (`+I`).
    #[default]
    Inserts,
    /// By key: what a row is now (`+I`, `+U`), or that it is gone (`-D`, of which only the key is sure). What it was
    /// before is not told.
    Upserts,
    /// All four, each with the whole row.
    All,
}

impl Changes {
    /// The kinds as a message shows them.
    pub fn describe(self) -> &'static str {
        match self {
            Changes::Inserts => "inserts only",
            Changes::Upserts => "changes by key (+I, +U, -D)",
            Changes::All => "changes (+I, -U, +U, -D)",
        }
    }
}

/// The field of [`CHANGE_COLUMN`].
pub fn field() -> FieldRef {
    std::sync::Arc::new(Field::new(CHANGE_COLUMN, DataType::Int8, false))
}

/// Where `schema` has [`CHANGE_COLUMN`].
pub fn column_of(schema: &Schema) -> Option<usize> {
    schema.fields().iter().position(|field| field.name() == CHANGE_COLUMN)
}

/// The changes of `batch`; `None` = inserts only.
pub fn of(batch: &RecordBatch) -> Result<Option<&Int8Array>> {
    let Some(column) = batch.column_by_name(CHANGE_COLUMN) else { return Ok(None) };
    let kinds = column.as_primitive_opt::<Int8Type>().filter(|kinds| kinds.null_count() == 0);
    kinds.map(Some).ok_or_else(|| Error::bug(format!("{CHANGE_COLUMN} is {} with NULLs or of another type than Int8", column.data_type())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_signs_are_flinks() {
        let kinds = [Kind::Insert, Kind::UpdateBefore, Kind::UpdateAfter, Kind::Delete];
        assert_eq!(kinds.map(Kind::sign), ["+I", "-U", "+U", "-D"]);
        for kind in kinds {
            assert_eq!(Kind::of(kind as i8).unwrap(), kind);
        }
        assert!(Kind::of(4).is_err());
        assert_eq!(kinds.map(Kind::adds), [true, false, true, false]);
    }
}

//! The statements of Flink SQL that mean something here.
//!
//! [`parse`] reads a whole text: it splits the tokens at `;`, reads each statement by itself (`parse.rs`, `ddl.rs`) and
//! reports every statement that it cannot read, not only the first. Queries and expressions stay sqlparser's, with
//! Flink's forms already turned into those that DataFusion plans (`forms.rs`).

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast;

use super::catalog::{TableDef, TableOption};
use crate::error::Place;

pub use super::parse::{Parsed, parse, parse_each, parse_query};

/// Something of a text, and where it begins.
#[derive(Debug, Clone)]
pub struct Spanned<T> {
    /// The thing.
    pub value: T,
    /// Where it begins; the name is that of the file.
    pub place: Place,
}

/// A name as written (without its backticks).
pub type Name = Spanned<String>;

/// A query and where it begins.
pub type Query = Spanned<Box<ast::Query>>;

/// One statement.
#[derive(Debug, Clone)]
pub enum Statement {
    /// `CREATE [TEMPORARY] TABLE`.
    CreateTable {
        /// What it declares.
        table: TableDef,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// `CREATE [TEMPORARY] VIEW`.
    CreateView(ViewDef),
    /// `CREATE MATERIALIZED VIEW`.
    CreateMaterializedView(MaterializedViewDef),
    /// `INSERT INTO t [(a, b)] query`.
    Insert(Insert),
    /// `EXECUTE STATEMENT SET BEGIN … END`.
    StatementSet(Vec<Insert>),
    /// `SET 'key' = 'value'`.
    Set {
        /// The option.
        key: Name,
        /// Its value.
        value: String,
    },
    /// `SET` alone: shows what is set.
    ShowSet,
    /// `RESET ['key']`.
    Reset {
        /// The option; all of them when missing.
        key: Option<Name>,
    },
    /// `EXPLAIN …`.
    Explain(Box<Spanned<Statement>>),
    /// `DESCRIBE t`, `DESC t`.
    Describe(Name),
    /// `SHOW TABLES`: tables, views and materialized views.
    ShowTables,
    /// `SHOW VIEWS`.
    ShowViews,
    /// `DROP [TEMPORARY] TABLE | VIEW | MATERIALIZED VIEW`.
    Drop {
        /// What kind of thing.
        kind: DropKind,
        /// Its name.
        name: Name,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// A bare query.
    Query(Query),
}

/// A declared view.
#[derive(Debug, Clone)]
pub struct ViewDef {
    /// Its name.
    pub name: Name,
    /// `(a, b)`: new names of the columns; empty = those of the query.
    pub columns: Vec<String>,
    /// Its query.
    pub query: Query,
    /// `TEMPORARY`.
    pub temporary: bool,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
}

/// A declared materialized view.
#[derive(Debug, Clone)]
pub struct MaterializedViewDef {
    /// Its name.
    pub name: Name,
    /// `PRIMARY KEY (…) NOT ENFORCED`; empty: rows are appended.
    pub primary_key: Vec<Name>,
    /// `WITH (…)`.
    pub options: BTreeMap<String, TableOption>,
    /// Its query.
    pub query: Query,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
}

/// `INSERT INTO table [(columns)] query`.
#[derive(Debug, Clone)]
pub struct Insert {
    /// The sink.
    pub table: Name,
    /// Named columns; `None`: all of the sink, in order.
    pub columns: Option<Vec<Name>>,
    /// The rows.
    pub query: Query,
}

/// What DROP drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropKind {
    /// `DROP TABLE`.
    Table,
    /// `DROP VIEW`.
    View,
    /// `DROP MATERIALIZED VIEW`.
    MaterializedView,
}

//! What CREATE TABLE, CREATE VIEW and CREATE MATERIALIZED VIEW declared, by name.
//!
//! Names are case-sensitive; tables, views and materialized views share one space of names. What is in the catalog has
//! been checked: types, computed columns, watermark, the queries of views.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::sql::sqlparser::ast;

use super::declared::DeclaredTable;
use super::functions::Functions;
use super::plan::Planner;
use super::resolve;
use super::statement::{DropKind, MaterializedViewDef, Name, Query, Spanned, Statement, ViewDef};
use crate::error::{Error, Place, Result, did_you_mean};

/// Tables, views and materialized views by name, and the functions that their texts may call.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    entries: BTreeMap<String, Entry>,
    functions: Functions,
}

/// Something with a name that a query can read.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A table.
    Table(Arc<DeclaredTable>),
    /// A view.
    View(Arc<ViewDef>),
    /// A materialized view and the columns of its rows.
    MaterializedView(Arc<MaterializedViewDef>, SchemaRef),
}

impl Entry {
    /// "table", "view", "materialized view".
    pub fn kind(&self) -> &'static str {
        match self {
            Entry::Table(_) => "table",
            Entry::View(_) => "view",
            Entry::MaterializedView(..) => "materialized view",
        }
    }

    fn drop_kind(&self) -> DropKind {
        match self {
            Entry::Table(_) => DropKind::Table,
            Entry::View(_) => DropKind::View,
            Entry::MaterializedView(..) => DropKind::MaterializedView,
        }
    }
}

impl Catalog {
    /// An empty catalog with DataFusion's and Flink's functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out a CREATE or DROP; `false`: the statement is of another kind and nothing was done.
    pub fn apply(&mut self, statement: &Spanned<Statement>) -> Result<bool> {
        match &statement.value {
            Statement::CreateTable { table, if_not_exists } => self.create_table(table.clone(), *if_not_exists)?,
            Statement::CreateView(view) => self.create_view(view.clone())?,
            Statement::CreateMaterializedView(view) => self.create_materialized_view(view.clone())?,
            Statement::Drop { kind, name, if_exists } => self.drop(*kind, name, *if_exists)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Adds a table: resolves its computed columns and its watermark.
    pub fn create_table(&mut self, def: TableDef, if_not_exists: bool) -> Result<()> {
        if self.is_taken(&def.name, &def.place, if_not_exists)? {
            return Ok(());
        }
        let table = resolve::table(def, &self.functions)?;
        self.entries.insert(table.def.name.clone(), Entry::Table(Arc::new(table)));
        Ok(())
    }

    /// Adds a view: its query is planned once, so that its errors are told where it is declared.
    pub fn create_view(&mut self, def: ViewDef) -> Result<()> {
        if self.is_taken(&def.name.value, &def.name.place, def.if_not_exists)? {
            return Ok(());
        }
        Planner::new(self).view(&def)?;
        self.entries.insert(def.name.value.clone(), Entry::View(Arc::new(def)));
        Ok(())
    }

    /// Adds a query under a name, to be read like a view. It is not planned: it may read what only a running engine has.
    pub fn name_query(&mut self, name: Name, query: Query) -> Result<()> {
        self.is_taken(&name.value, &name.place, false)?;
        let def = ViewDef { name: name.clone(), columns: Vec::new(), query, temporary: false, if_not_exists: false };
        self.entries.insert(name.value, Entry::View(Arc::new(def)));
        Ok(())
    }

    /// Adds a materialized view: its query is planned, its key must be among its columns.
    pub fn create_materialized_view(&mut self, def: MaterializedViewDef) -> Result<()> {
        if self.is_taken(&def.name.value, &def.name.place, def.if_not_exists)? {
            return Ok(());
        }
        let plan = Planner::new(self).plan_query(&def.query)?;
        let schema: SchemaRef = Arc::new(plan.schema().as_arrow().clone());
        for key in &def.primary_key {
            if schema.column_with_name(&key.value).is_none() {
                let hint = did_you_mean(&key.value, schema.fields().iter().map(|f| f.name().as_str()));
                let text = format!("PRIMARY KEY: no column '{}' in '{}'{hint}", key.value, def.name.value);
                return Err(Error::input(text).at(key.place.clone()));
            }
        }
        self.entries.insert(def.name.value.clone(), Entry::MaterializedView(Arc::new(def), schema));
        Ok(())
    }

    /// Drops what is named.
    pub fn drop(&mut self, kind: DropKind, name: &Name, if_exists: bool) -> Result<()> {
        match self.entries.get(&name.value) {
            Some(entry) if entry.drop_kind() == kind => {
                self.entries.remove(&name.value);
                Ok(())
            }
            Some(entry) => Err(Error::input(format!("'{}' is a {}; drop it as such", name.value, entry.kind())).at(name.place.clone())),
            None if if_exists => Ok(()),
            None => Err(self.unknown(&name.value).at(name.place.clone())),
        }
    }

    /// What has that name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// What has that name, or an error with the nearest match.
    pub fn find(&self, name: &str) -> Result<&Entry> {
        self.get(name).ok_or_else(|| self.unknown(name))
    }

    /// All names in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The functions that texts may call.
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// To add functions of one's own, before the texts that call them.
    pub fn functions_mut(&mut self) -> &mut Functions {
        &mut self.functions
    }

    fn unknown(&self, name: &str) -> Error {
        let hint = did_you_mean(name, self.entries.keys().map(String::as_str));
        Error::input(format!("no table or view '{name}'{hint}"))
    }

    fn is_taken(&self, name: &str, place: &Place, if_not_exists: bool) -> Result<bool> {
        match self.entries.get(name) {
            None => Ok(false),
            Some(_) if if_not_exists => Ok(true),
            Some(entry) => Err(Error::input(format!("'{name}' is there already: a {}", entry.kind())).at(place.clone())),
        }
    }
}

/// A table as declared.
#[derive(Debug, Clone)]
pub struct TableDef {
    /// Its name, case-sensitive.
    pub name: String,
    /// Columns in declared order.
    pub columns: Vec<ColumnDef>,
    /// `WATERMARK FOR column AS expr`.
    pub watermark: Option<WatermarkDef>,
    /// `PRIMARY KEY (…) NOT ENFORCED`; empty = none.
    pub primary_key: Vec<String>,
    /// `WITH (…)`, as written, with the place of each key.
    pub options: BTreeMap<String, TableOption>,
    /// Where the statement stands.
    pub place: Place,
}

/// An option of a table.
#[derive(Debug, Clone)]
pub struct TableOption {
    /// Its value.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// A column as declared.
#[derive(Debug, Clone)]
pub struct ColumnDef {
    /// Its name.
    pub name: String,
    /// Its Arrow type: `STRING` is `Utf8View`, `TIMESTAMP(p)` is `Timestamp(Millisecond)` for p <= 3 and
    /// `Timestamp(Microsecond)` above, `TIMESTAMP_LTZ(p)` the same with zone `+00:00`, `DECIMAL(p, s)` is `Decimal128`,
    /// `ROW<…>` `Struct`, `ARRAY<…>` `List`, `MAP<…>` `Map`, `BYTES` `Binary`. `None` for computed columns: follows from the expression.
    pub data_type: Option<DataType>,
    /// NOT NULL was declared.
    pub not_null: bool,
    /// Where its value comes from.
    pub kind: ColumnKind,
    /// Where it stands.
    pub place: Place,
}

/// Where the value of a column comes from.
#[derive(Debug, Clone)]
pub enum ColumnKind {
    /// From the record.
    Physical,
    /// `METADATA [FROM 'key'] [VIRTUAL]`.
    Metadata {
        /// The key; the column's name where FROM is missing.
        key: String,
        /// Read only: not written by sinks.
        is_virtual: bool,
    },
    /// `name AS expr`.
    Computed(Box<ast::Expr>),
}

/// A declared watermark.
#[derive(Debug, Clone)]
pub struct WatermarkDef {
    /// The event-time column.
    pub column: String,
    /// The watermark expression (inclusive, as in Flink).
    pub expr: ast::Expr,
    /// Where it stands.
    pub place: Place,
}

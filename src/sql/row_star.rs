//! `SELECT r.*` of a column `r` that is a ROW: a column per field, as in Flink.
//!
//! DataFusion knows `t.*` of a table only. What a row holds is asked of the planner: `SELECT r FROM …` over the same FROM.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, ObjectName, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, VisitMut as _,
    VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::types;

/// Spreads the rows in `query`; `type_of` plans a query of one column.
pub(super) fn expand(query: &mut Query, type_of: &dyn Fn(Query) -> DfResult<DataType>) -> DfResult<()> {
    match query.visit(&mut RowStars { type_of, ctes: Vec::new(), open: Vec::new() }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct RowStars<'a> {
    type_of: &'a dyn Fn(Query) -> DfResult<DataType>,
    /// What WITH names where the visit is, and how much of it each query around it added.
    ctes: Vec<ast::Cte>,
    open: Vec<usize>,
}

impl VisitorMut for RowStars<'_> {
    type Break = Box<DataFusionError>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        self.open.push(self.ctes.len());
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            cte.query.visit(self)?;
            self.ctes.push(cte.clone());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        if let Some(before) = self.open.pop() {
            self.ctes.truncate(before);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        if !select.projection.iter().any(|item| row_of(item, select).is_some()) {
            return ControlFlow::Continue(());
        }
        let mut spread = Vec::with_capacity(select.projection.len());
        for item in &select.projection {
            match row_of(item, select) {
                Some(row) => match self.fields(row, select) {
                    Ok(fields) => spread.extend(fields),
                    Err(error) => return ControlFlow::Break(Box::new(error)),
                },
                None => spread.push(item.clone()),
            }
        }
        select.projection = spread;
        ControlFlow::Continue(())
    }
}

impl RowStars<'_> {
    /// `row.a AS a, row.b AS b`.
    fn fields(&self, row: Vec<Ident>, select: &Select) -> DfResult<Vec<SelectItem>> {
        let mut probe = Select { projection: vec![SelectItem::UnnamedExpr(named(row.clone()))], ..select.clone() };
        probe.distinct = None;
        probe.selection = None;
        probe.group_by = ast::GroupByExpr::Expressions(Vec::new(), Vec::new());
        probe.having = None;
        let mut query = Query {
            with: None,
            body: Box::new(SetExpr::Select(Box::new(probe))),
            order_by: None,
            limit_clause: None,
            fetch: None,
            locks: Vec::new(),
            for_clause: None,
            settings: None,
            format_clause: None,
            pipe_operators: Vec::new(),
        };
        if !self.ctes.is_empty() {
            let token = ast::helpers::attached_token::AttachedToken::empty();
            query.with = Some(ast::With { with_token: token, recursive: false, cte_tables: self.ctes.clone() });
        }
        match (self.type_of)(query)? {
            DataType::Struct(fields) => {
                let item = |name: &str| {
                    let name = Ident {
                        value: name.to_owned(),
                        quote_style: Some('`'),
                        span: row.last().map_or_else(Span::empty, |last| last.span),
                    };
                    let expr = named(row.iter().cloned().chain([name.clone()]).collect());
                    SelectItem::ExprWithAlias { expr, alias: name }
                };
                Ok(fields.iter().map(|field| item(field.name())).collect())
            }
            other => {
                let row: Vec<_> = row.iter().map(|part| part.value.as_str()).collect();
                let row = row.join(".");
                Err(DataFusionError::Plan(format!("'{row}.*' needs a ROW or a table, '{row}' is {}", types::name(&other))))
            }
        }
    }
}

/// What stands before the `*` of `item`, unless it is a table of the FROM.
fn row_of(item: &SelectItem, select: &Select) -> Option<Vec<Ident>> {
    let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(ObjectName(parts)), _) = item else { return None };
    let row = parts.iter().map(|part| part.as_ident().cloned()).collect::<Option<Vec<_>>>()?;
    let is_table = |name: &Ident| {
        let mut tables =
            select.from.iter().flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
        tables.any(|table| is_named(table, name))
    };
    match &row[..] {
        [name] if is_table(name) => None,
        _ => Some(row),
    }
}

fn is_named(table: &TableFactor, name: &Ident) -> bool {
    let alias = match table {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. } => alias,
        TableFactor::NestedJoin { table_with_joins, alias: None } => {
            let inside = std::iter::once(&table_with_joins.relation).chain(table_with_joins.joins.iter().map(|join| &join.relation));
            return inside.into_iter().any(|table| is_named(table, name));
        }
        _ => &None,
    };
    match (alias, table) {
        (Some(alias), _) => alias.name.value == name.value,
        (None, TableFactor::Table { name: table, .. }) => {
            table.0.last().and_then(|part| part.as_ident()).is_some_and(|table| table.value == name.value)
        }
        _ => false,
    }
}

fn named(parts: Vec<Ident>) -> Expr {
    match <[Ident; 1]>::try_from(parts) {
        Ok([name]) => Expr::Identifier(name),
        Err(parts) => Expr::CompoundIdentifier(parts),
    }
}

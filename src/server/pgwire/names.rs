//! Columns of one name: a query of PostgreSQL may have them, a plan may not. And a cast has the name of what it casts.
//!
//! | text | planned as | the client sees |
//! |---|---|---|
//! | `SELECT total, total` | `SELECT total, total AS "total·1"` | `total`, `total` |
//! | `SELECT total::text, total::float8` | `SELECT total::text AS "total·0", total::float8 AS "total·1"` | `total`, `total` |
//! | `SELECT t::time … ORDER BY t` | `SELECT t::time AS "t·0" … ORDER BY "t·0"` | `t` |
//!
//! The dot is [`MARK`], which nobody types.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, OrderByKind, Query, SelectItem, SetExpr, Statement, VisitMut as _, VisitorMut};

/// Ends the name that a client sees. It has no width, so that a plan that is shown reads well.
const MARK: char = '\u{2063}';

/// The name of a column as the client sees it.
pub(super) fn shown(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(shown, _)| shown)
}

/// Gives the columns of a query, and of the queries inside it, names of their own.
pub(super) fn set_apart(statement: &mut Statement) {
    match statement {
        Statement::Explain { statement, .. } => set_apart(statement),
        Statement::Query(query) => {
            outermost(query);
            _ = query.visit(&mut Inner);
        }
        _ => {}
    }
}

/// The query whose columns the client gets: what it orders by goes on meaning those columns.
fn outermost(query: &mut Query) {
    let columns = of_body(&mut query.body, Place::Outermost);
    let Some(OrderByKind::Expressions(order)) = query.order_by.as_mut().map(|order| &mut order.kind) else { return };
    for by in order {
        if let Expr::Identifier(ident) = &by.expr
            && let Some(Column { marked: Some(marked), .. }) = columns.iter().find(|column| column.name == ident.value)
        {
            by.expr = Expr::Identifier(marked.clone());
        }
    }
}

/// The queries inside.
struct Inner;

impl VisitorMut for Inner {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let ordered = query.order_by.is_some();
        of_body(&mut query.body, Place::Inside { ordered });
        ControlFlow::Continue(())
    }
}

/// Where a list of columns stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// The client gets them.
    Outermost,
    /// Another query reads them, by their names.
    Inside { ordered: bool },
}

/// A column that is chosen.
struct Column {
    /// As PostgreSQL names it.
    name: String,
    /// What stands before its name.
    qualifier: Option<String>,
    /// The plan knows it by its name, not by its text.
    named: bool,
    /// Without casts.
    text: String,
    /// The name that the plan got.
    marked: Option<Ident>,
}

impl Column {
    fn clashes(&self, other: &Column) -> bool {
        let one_table = || self.qualifier.is_none() || other.qualifier.is_none() || self.qualifier == other.qualifier;
        match self.named && other.named {
            true => self.name == other.name && one_table(),
            false => !self.named && !other.named && self.text == other.text,
        }
    }
}

/// The columns of a query, those of its first part where it is a UNION.
fn of_body(body: &mut SetExpr, place: Place) -> Vec<Column> {
    match body {
        SetExpr::Select(select) => of_items(&mut select.projection, place),
        SetExpr::SetOperation { left, right, .. } => {
            let columns = of_body(left, place);
            of_body(right, place);
            columns
        }
        SetExpr::Query(query) if place == Place::Outermost => {
            outermost(query);
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn of_items(items: &mut [SelectItem], place: Place) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::with_capacity(items.len());
    for (at, item) in items.iter_mut().enumerate() {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            _ => continue,
        };
        let (inner, is_cast) = peeled(expr);
        let given = figure(inner);
        // Beside `*` the parser has named the column so.
        let beside_all =
            alias.as_ref().is_some_and(|alias| alias.value.strip_prefix("__alias_").is_some_and(|name| name.trim_matches('"') == given));
        let alias = alias.filter(|_| !beside_all).map(|alias| alias.value.clone());
        let qualifier = match inner {
            Expr::CompoundIdentifier(parts) if !is_cast && alias.is_none() => {
                Some(parts[..parts.len() - 1].iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join("."))
            }
            _ => None,
        };
        let is_column = matches!(inner, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        let mut column = Column {
            named: is_column || alias.is_some(),
            qualifier,
            text: inner.to_string(),
            marked: None,
            name: alias.clone().unwrap_or(given),
        };
        let casts = is_cast && alias.is_none() && !matches!(inner, Expr::Value(_));
        let clashes = columns.iter().any(|other| column.clashes(other));
        let name = match place {
            _ if clashes || beside_all => Some(format!("{}{MARK}{at}", column.name)),
            Place::Outermost if casts => Some(format!("{}{MARK}{at}", column.name)),
            Place::Inside { ordered: true } if casts && is_column => Some(column.name.clone()),
            _ => None,
        };
        if let Some(name) = name {
            let name = Ident::with_quote('"', name);
            column.marked = Some(name.clone());
            let expr = std::mem::replace(expr, Expr::Identifier(name.clone()));
            *item = SelectItem::ExprWithAlias { expr, alias: name };
        }
        columns.push(column);
    }
    columns
}

/// An expression without its casts and brackets; whether there was a cast.
fn peeled(expr: &Expr) -> (&Expr, bool) {
    match expr {
        Expr::Cast { expr, .. } => (peeled(expr).0, true),
        Expr::Nested(expr) => peeled(expr),
        _ => (expr, false),
    }
}

/// What PostgreSQL calls a column without an alias.
fn figure(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => parts.last().map_or_else(String::new, |part| part.value.clone()),
        Expr::Function(function) => function.name.0.last().map_or_else(String::new, |part| part.to_string().to_lowercase()),
        Expr::Case { .. } => "case".to_owned(),
        _ => "?column?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn apart(sql: &str) -> String {
        let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0);
        set_apart(&mut statement);
        statement.to_string().replace(MARK, "·")
    }

    #[test]
    fn columns_of_one_name_are_set_apart() {
        for (sql, planned) in [
            ("SELECT a, b FROM t ORDER BY a", "SELECT a, b FROM t ORDER BY a"),
            ("SELECT a, a FROM t ORDER BY a", r#"SELECT a, a AS "a·1" FROM t ORDER BY a"#),
            ("SELECT t.a, u.a FROM t, u", "SELECT t.a, u.a FROM t, u"),
            ("SELECT t.a, a FROM t", r#"SELECT t.a, a AS "a·1" FROM t"#),
            ("SELECT a AS x, b AS x FROM t", r#"SELECT a AS x, b AS "x·1" FROM t"#),
            ("SELECT count(*), count(*)::int FROM t", r#"SELECT count(*), count(*)::INT AS "count·1" FROM t"#),
            ("SELECT a::text, a::int FROM t ORDER BY a DESC", r#"SELECT a::TEXT AS "a·0", a::INT AS "a·1" FROM t ORDER BY "a·0" DESC"#),
            ("SELECT a::text FROM t UNION SELECT b::text FROM t", r#"SELECT a::TEXT AS "a·0" FROM t UNION SELECT b::TEXT AS "b·0" FROM t"#),
            ("SELECT a FROM (SELECT a::text FROM t) s", "SELECT a FROM (SELECT a::TEXT FROM t) s"),
            ("SELECT a FROM (SELECT a::text FROM t ORDER BY a) s", r#"SELECT a FROM (SELECT a::TEXT AS "a" FROM t ORDER BY a) s"#),
            ("SELECT * FROM (SELECT a, a FROM t) s", r#"SELECT * FROM (SELECT a, a AS "a·1" FROM t) s"#),
            ("SELECT '1'::int", "SELECT '1'::INT"),
        ] {
            assert_eq!(apart(sql), planned, "{sql}");
        }
        assert_eq!((shown("a\u{2063}1"), shown("a")), ("a", "a"));
    }
}

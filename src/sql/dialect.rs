//! Flink's dialect: what sqlparser is told about the spelling of Flink SQL.
//!
//! Names are quoted with backticks. Some forms that sqlparser does not know enter through the prefix hook:
//!
//! | text | becomes |
//! |---|---|
//! | `TABLE t`, `TABLE (SELECT …)`, `TABLE t PARTITION BY (a, b)` as an argument | [`TableArgument`] in an expression's clothes |
//! | `CAST(x AS ROW<a INT>)`, `TRY_CAST(…)` | a cast to a type read by `types.rs` |
//! | `MAP['k', v, …]` | a call of `make_map` |
//! | `JSON_VALUE(j, p RETURNING INT DEFAULT 0 ON EMPTY)` | `CAST(json_value(j, p, '0', NULL) AS INT)` |
//! | `JSON_QUERY(j, p WITH WRAPPER EMPTY ARRAY ON ERROR)` | `json_query(j, p, 'UNCONDITIONAL', NULL, '[]')` |
//! | `JSON_EXISTS(j, p TRUE ON ERROR)` | `json_exists(j, p, 'TRUE')` |
//! | `JSON_OBJECT('a' VALUE x, 'b' VALUE JSON_ARRAY(y))` | `json_object('Nvj', 'a', x, 'b', json_array('Av', y))`: are NULLs written (`N`) or left out (`A`), and what is a value (`v`) or JSON (`j`) |
//! | the body of MATCH_RECOGNIZE, `FINAL f(x)`, `RUNNING f(x)` | a tree of names and expressions (`recognize/syntax.rs`) |
//! | `j IS [NOT] JSON [VALUE \| SCALAR \| ARRAY \| OBJECT]` | `is_json(j, 'VALUE')` |

use datafusion::sql::sqlparser::ast::{self, CastKind, Expr, FunctionArg, FunctionArgExpr, Ident};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{recognize, types};

/// Flink SQL.
#[derive(Debug, Default, Clone, Copy)]
pub struct FlinkDialect;

impl Dialect for FlinkDialect {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('`')
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    /// Read so that it can be refused by name, not silently taken for an alias.
    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    fn supports_string_literal_concatenation_with_newline(&self) -> bool {
        true
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, _precedence: u8) -> Option<Result<Expr, ParserError>> {
        let [first, second, third] = parser.peek_tokens_ref().map(|t| match &t.token {
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        });
        let is_json = first == Keyword::IS && (second == Keyword::JSON || second == Keyword::NOT && third == Keyword::JSON);
        is_json.then(|| parse_is_json(expr, parser))
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let [first, second, third] = parser.peek_tokens_ref();
        let Token::Word(word) = &first.token else { return None };
        if word.quote_style.is_some() {
            return None;
        }
        match (word.keyword, &second.token) {
            (Keyword::TABLE, _) => Some(TableArgument::parse(parser)),
            (Keyword::CAST | Keyword::TRY_CAST, Token::LParen) => Some(parse_cast(parser)),
            (Keyword::MAP, Token::LBracket) => Some(parse_map(parser)),
            (_, Token::LParen) if word.value.eq_ignore_ascii_case("JSON_VALUE") => Some(parse_json_value(parser)),
            (_, Token::LParen) if word.value.eq_ignore_ascii_case("JSON_QUERY") => Some(parse_json_query(parser)),
            (_, Token::LParen) if word.value.eq_ignore_ascii_case("JSON_EXISTS") => Some(parse_json_exists(parser)),
            (_, Token::LParen) if word.value.eq_ignore_ascii_case("JSON_OBJECT") => Some(parse_json_object(parser)),
            (_, Token::LParen) if word.value.eq_ignore_ascii_case("JSON_ARRAY") => Some(parse_json_array(parser)),
            (Keyword::MATCH_RECOGNIZE, Token::SingleQuotedString(_)) => Some(recognize::syntax::parse(parser)),
            (_, Token::Word(_))
                if third.token == Token::LParen && ["FINAL", "RUNNING"].iter().any(|w| word.value.eq_ignore_ascii_case(w)) =>
            {
                Some(recognize::syntax::parse_semantics(parser))
            }
            _ => None,
        }
    }
}

/// `IS [NOT] JSON [kind]` behind an expression.
fn parse_is_json(expr: &Expr, parser: &mut Parser) -> Result<Expr, ParserError> {
    let is = parser.next_token();
    let negated = parser.parse_keyword(Keyword::NOT);
    parser.expect_keyword_is(Keyword::JSON)?;
    const KINDS: [&str; 4] = ["VALUE", "SCALAR", "ARRAY", "OBJECT"];
    let word = parser.peek_token_ref().to_string();
    let kind = KINDS.into_iter().find(|kind| kind.eq_ignore_ascii_case(&word));
    if kind.is_some() {
        parser.next_token();
    }
    let kind = Expr::Value(ast::Value::SingleQuotedString(kind.unwrap_or("VALUE").to_owned()).with_empty_span());
    let test = call(Ident::with_span(is.span, "is_json"), vec![expr.clone(), kind]);
    Ok(if negated { Expr::UnaryOp { op: ast::UnaryOperator::Not, expr: Box::new(test) } } else { test })
}

fn parse_cast(parser: &mut Parser) -> Result<Expr, ParserError> {
    let kind = if parser.parse_keyword(Keyword::TRY_CAST) {
        CastKind::TryCast
    } else {
        parser.expect_keyword_is(Keyword::CAST)?;
        CastKind::Cast
    };
    parser.expect_token(&Token::LParen)?;
    let expr = Box::new(parser.parse_expr()?);
    parser.expect_keyword_is(Keyword::AS)?;
    let (data_type, _) = types::parse(parser)?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Cast { kind, expr, data_type, array: false, format: None })
}

fn parse_map(parser: &mut Parser) -> Result<Expr, ParserError> {
    let name = parser.next_token();
    parser.expect_token(&Token::LBracket)?;
    let entries = parser.parse_comma_separated0(Parser::parse_expr, Token::RBracket)?;
    parser.expect_token(&Token::RBracket)?;
    Ok(call(Ident::with_span(name.span, "make_map"), entries))
}

/// `JSON_VALUE(json, path [RETURNING type] [{NULL | DEFAULT x} ON EMPTY] [{NULL | DEFAULT x} ON ERROR])`.
fn parse_json_value(parser: &mut Parser) -> Result<Expr, ParserError> {
    let name = parser.parse_identifier()?;
    parser.expect_token(&Token::LParen)?;
    let mut args = parser.parse_comma_separated(Parser::parse_expr)?;
    let returning = if parser.parse_keyword(Keyword::RETURNING) { Some(types::parse(parser)?.0) } else { None };
    // What there is in place of nothing, and of what cannot be read.
    let mut instead: [Option<Expr>; 2] = [None, None];
    while parser.peek_token_ref().token != Token::RParen {
        let clause = parser.peek_token();
        let default = if parser.parse_keyword(Keyword::DEFAULT) {
            Some(parser.parse_expr()?)
        } else if parser.parse_keyword(Keyword::NULL) {
            None
        } else {
            return parser.expected("NULL or DEFAULT, ON EMPTY or ON ERROR (ERROR ON … is not supported)", clause);
        };
        parser.expect_keyword_is(Keyword::ON)?;
        let on_empty = parser.expect_one_of_keywords(&[Keyword::EMPTY, Keyword::ERROR])? == Keyword::EMPTY;
        instead[usize::from(!on_empty)] = default;
    }
    parser.expect_token(&Token::RParen)?;
    let cast = |expr: Expr, data_type| Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None };
    if instead.iter().any(Option::is_some) {
        args.extend(instead.map(|expr| cast(expr.unwrap_or_else(null), ast::DataType::String(None))));
    }
    let value = call(name, args);
    Ok(match returning {
        Some(data_type) => cast(value, data_type),
        None => value,
    })
}

/// `JSON_QUERY(json, path [{WITHOUT | WITH [CONDITIONAL | UNCONDITIONAL]} [ARRAY] WRAPPER] [{NULL | EMPTY ARRAY | EMPTY OBJECT}
/// ON {EMPTY | ERROR}]…)`.
fn parse_json_query(parser: &mut Parser) -> Result<Expr, ParserError> {
    let name = parser.parse_identifier()?;
    parser.expect_token(&Token::LParen)?;
    let mut args = parser.parse_comma_separated(Parser::parse_expr)?;
    let wrapper = if parser.parse_keyword(Keyword::WITHOUT) {
        parse_wrapper(parser)?;
        "WITHOUT"
    } else if parser.parse_keyword(Keyword::WITH) {
        let kind = if is_next(parser, "CONDITIONAL") { "CONDITIONAL" } else { "UNCONDITIONAL" };
        is_next(parser, "UNCONDITIONAL");
        parse_wrapper(parser)?;
        kind
    } else {
        "WITHOUT"
    };
    let mut instead = [null(), null()];
    while parser.peek_token_ref().token != Token::RParen {
        let clause = parser.peek_token();
        let json = if parser.parse_keyword(Keyword::NULL) {
            null()
        } else if parser.parse_keywords(&[Keyword::EMPTY, Keyword::ARRAY]) {
            text("[]")
        } else if parser.parse_keywords(&[Keyword::EMPTY, Keyword::OBJECT]) {
            text("{}")
        } else {
            let wanted = "WRAPPER, or NULL, EMPTY ARRAY or EMPTY OBJECT, ON EMPTY or ON ERROR (RETURNING and ERROR ON … are not supported)";
            return parser.expected(wanted, clause);
        };
        parser.expect_keyword_is(Keyword::ON)?;
        let on_empty = parser.expect_one_of_keywords(&[Keyword::EMPTY, Keyword::ERROR])? == Keyword::EMPTY;
        instead[usize::from(!on_empty)] = json;
    }
    parser.expect_token(&Token::RParen)?;
    args.push(text(wrapper));
    args.extend(instead);
    Ok(call(name, args))
}

fn parse_wrapper(parser: &mut Parser) -> Result<(), ParserError> {
    _ = parser.parse_keyword(Keyword::ARRAY);
    if is_next(parser, "WRAPPER") { Ok(()) } else { parser.expected_ref("WRAPPER", parser.peek_token_ref()) }
}

/// `JSON_EXISTS(json, path [{TRUE | FALSE | UNKNOWN} ON ERROR])`.
fn parse_json_exists(parser: &mut Parser) -> Result<Expr, ParserError> {
    let name = parser.parse_identifier()?;
    parser.expect_token(&Token::LParen)?;
    let mut args = parser.parse_comma_separated(Parser::parse_expr)?;
    if let Some(word) = ["TRUE", "FALSE", "UNKNOWN"].into_iter().find(|word| is_next(parser, word)) {
        parser.expect_keywords(&[Keyword::ON, Keyword::ERROR])?;
        args.push(text(word));
    }
    parser.expect_token(&Token::RParen)?;
    Ok(call(name, args))
}

/// `JSON_OBJECT([[KEY] key {VALUE | :} value, …] [{NULL | ABSENT} ON NULL])`.
fn parse_json_object(parser: &mut Parser) -> Result<Expr, ParserError> {
    let name = parser.parse_identifier()?;
    parser.expect_token(&Token::LParen)?;
    let (mut kinds, mut entries) = (String::new(), Vec::new());
    let nulls = loop {
        if let Some(nulls) = parse_json_end(parser, !entries.is_empty())? {
            break nulls.unwrap_or(true);
        }
        let [_, second, _] = parser.peek_tokens_ref();
        let is_key =
            !matches!(&second.token, Token::Colon) && !matches!(&second.token, Token::Word(word) if word.keyword == Keyword::VALUE);
        if is_key {
            is_next(parser, "KEY");
        }
        // Not a whole expression: a colon behind it would belong to that.
        entries.push(parser.parse_prefix()?);
        if !parser.consume_token(&Token::Colon) {
            parser.expect_keyword_is(Keyword::VALUE)?;
        }
        entries.push(parse_json_part(parser, &mut kinds)?);
    };
    Ok(json_call(name, nulls, &kinds, entries))
}

/// `JSON_ARRAY([value, …] [{NULL | ABSENT} ON NULL])`.
fn parse_json_array(parser: &mut Parser) -> Result<Expr, ParserError> {
    let name = parser.parse_identifier()?;
    parser.expect_token(&Token::LParen)?;
    let (mut kinds, mut values) = (String::new(), Vec::new());
    let nulls = loop {
        if let Some(nulls) = parse_json_end(parser, !values.is_empty())? {
            break nulls.unwrap_or(false);
        }
        values.push(parse_json_part(parser, &mut kinds)?);
    };
    Ok(json_call(name, nulls, &kinds, values))
}

/// The end of JSON_OBJECT and JSON_ARRAY, or the comma before the next part: `Some` at the end, in it what is said of NULLs.
fn parse_json_end(parser: &mut Parser, more: bool) -> Result<Option<Option<bool>>, ParserError> {
    if more && parser.consume_token(&Token::Comma) {
        return Ok(None);
    }
    let nulls = if parser.parse_keywords(&[Keyword::NULL, Keyword::ON, Keyword::NULL]) {
        Some(true)
    } else if parser.parse_keywords(&[Keyword::ABSENT, Keyword::ON, Keyword::NULL]) {
        Some(false)
    } else {
        None
    };
    if more || nulls.is_some() {
        parser.expect_token(&Token::RParen)?;
        return Ok(Some(nulls));
    }
    Ok(parser.consume_token(&Token::RParen).then_some(nulls))
}

/// A value in JSON_OBJECT or JSON_ARRAY: one of these itself stands there as JSON, not as a text.
fn parse_json_part(parser: &mut Parser, kinds: &mut String) -> Result<Expr, ParserError> {
    let value = parser.parse_expr()?;
    let is_json = match &value {
        Expr::Function(function) => {
            let name = function.name.to_string();
            ["JSON_OBJECT", "JSON_ARRAY"].iter().any(|json| name.eq_ignore_ascii_case(json))
        }
        _ => false,
    };
    kinds.push(if is_json { 'j' } else { 'v' });
    Ok(value)
}

fn json_call(name: Ident, nulls: bool, kinds: &str, parts: Vec<Expr>) -> Expr {
    let mut args = vec![text(&format!("{}{kinds}", if nulls { 'N' } else { 'A' }))];
    args.extend(parts);
    call(name, args)
}

/// Takes the next word if it is this one.
fn is_next(parser: &mut Parser, word: &str) -> bool {
    let is_it = matches!(&parser.peek_token_ref().token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word));
    if is_it {
        parser.next_token();
    }
    is_it
}

fn null() -> Expr {
    Expr::Value(ast::Value::Null.with_empty_span())
}

fn text(value: &str) -> Expr {
    Expr::Value(ast::Value::SingleQuotedString(value.to_owned()).with_empty_span())
}

/// A call of `name` with positional arguments.
pub fn call(name: Ident, args: Vec<Expr>) -> Expr {
    Expr::Function(ast::Function {
        name: ast::ObjectName(vec![ast::ObjectNamePart::Identifier(name)]),
        uses_odbc_syntax: false,
        parameters: ast::FunctionArguments::None,
        args: ast::FunctionArguments::List(ast::FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `TABLE t [PARTITION BY …]` as the argument of a table-valued function.
///
/// sqlparser has no expression for it. It travels as `TABLE <row of (table, keys…)>`: an [`Expr::Prefixed`], which no
/// other text can produce in this dialect.
#[derive(Debug, Clone, PartialEq)]
pub struct TableArgument {
    /// A name ([`Expr::Identifier`], [`Expr::CompoundIdentifier`]) or a query ([`Expr::Subquery`]).
    pub table: Expr,
    /// Columns of PARTITION BY.
    pub partition_by: Vec<Ident>,
}

impl TableArgument {
    fn parse(parser: &mut Parser) -> Result<Expr, ParserError> {
        let prefix = parser.next_token();
        let table = if parser.consume_token(&Token::LParen) {
            let query = parser.parse_query()?;
            parser.expect_token(&Token::RParen)?;
            Expr::Subquery(query)
        } else {
            Expr::CompoundIdentifier(identifiers(parser.parse_object_name(false)?))
        };
        let mut row = vec![table];
        if parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
            // As in Calcite: one column, or a list in parentheses; a bare list would run into the next argument.
            let keys = if parser.consume_token(&Token::LParen) {
                let keys = parser.parse_comma_separated(Parser::parse_identifier)?;
                parser.expect_token(&Token::RParen)?;
                keys
            } else {
                vec![parser.parse_identifier()?]
            };
            row.extend(keys.into_iter().map(Expr::Identifier));
        }
        Ok(Expr::Prefixed { prefix: Ident::with_span(prefix.span, "TABLE"), value: Box::new(Expr::Tuple(row)) })
    }

    /// Reads back what the prefix hook made; a bare name or a subquery also stands for a table.
    pub fn from_expr(expr: Expr) -> Option<TableArgument> {
        match expr {
            Expr::Prefixed { prefix, value } if prefix.value == "TABLE" => {
                let Expr::Tuple(row) = *value else { return None };
                let mut row = row.into_iter();
                let table = row.next()?;
                let partition_by = row
                    .map(|key| match key {
                        Expr::Identifier(ident) => Some(ident),
                        _ => None,
                    })
                    .collect::<Option<_>>()?;
                Some(TableArgument { table, partition_by })
            }
            Expr::Identifier(ident) => Some(TableArgument { table: Expr::CompoundIdentifier(vec![ident]), partition_by: Vec::new() }),
            table @ (Expr::CompoundIdentifier(_) | Expr::Subquery(_)) => Some(TableArgument { table, partition_by: Vec::new() }),
            _ => None,
        }
    }
}

fn identifiers(name: ast::ObjectName) -> Vec<Ident> {
    name.0.into_iter().filter_map(|part| part.as_ident().cloned()).collect()
}

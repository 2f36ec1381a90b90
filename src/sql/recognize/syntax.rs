//! The body of MATCH_RECOGNIZE as written.
//!
//! ```text
//! [PARTITION BY column, …]
//! ORDER BY time [ASC] [, column …]
//! [MEASURES [FINAL | RUNNING] expression AS name, …]
//! [ONE ROW PER MATCH | ALL ROWS PER MATCH [SHOW EMPTY MATCHES | OMIT EMPTY MATCHES | WITH UNMATCHED ROWS]]
//! [AFTER MATCH SKIP {PAST LAST ROW | TO NEXT ROW | TO [FIRST | LAST] variable}]
//! PATTERN ( … ) [WITHIN INTERVAL …]
//! [SUBSET name = (variable, …), …]
//! [DEFINE variable AS condition, …]
//! ```
//! sqlparser has no expression for it: it travels as a tree of [`Expr::Prefixed`], each with the name of its clause, so that
//! what walks through a query sees the expressions in it. [`Recognition::from_expr`] reads it back.

use datafusion::sql::sqlparser::ast::{self, Expr, Ident};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::CLAUSE;

/// The body of the clause.
#[derive(Debug)]
pub(super) struct Recognition {
    /// The file it stands in.
    pub(super) file: String,
    /// Where it begins.
    pub(super) span: Span,
    pub(super) partition_by: Vec<Expr>,
    pub(super) order_by: Vec<OrderBy>,
    /// Name and expression.
    pub(super) measures: Vec<(Ident, Expr)>,
    pub(super) rows: Rows,
    /// AFTER MATCH; none: nothing is said.
    pub(super) skip: Option<Skip>,
    /// The tokens of PATTERN: variables as they are, signs and numbers with [`SIGN`] as their quotes.
    pub(super) pattern: Vec<Ident>,
    pub(super) within: Option<Expr>,
    /// Name and members.
    pub(super) subsets: Vec<(Ident, Vec<Ident>)>,
    /// Variable and condition.
    pub(super) define: Vec<(Ident, Expr)>,
}

/// An element of ORDER BY.
#[derive(Debug)]
pub(super) struct OrderBy {
    pub(super) expr: Expr,
    pub(super) ascending: bool,
    /// Where NULLs are; none: as in Flink, lowest.
    pub(super) nulls_first: Option<bool>,
}

/// ROWS PER MATCH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    One,
    All,
    AllOmitEmpty,
    AllWithUnmatched,
}

/// AFTER MATCH SKIP.
#[derive(Debug)]
pub(super) enum Skip {
    PastLast,
    ToNext,
    ToFirst(Ident),
    ToLast(Ident),
}

/// "Quotes" of the signs among the tokens of PATTERN; the dialect knows no such quotes.
pub(super) const SIGN: char = '[';

const ORDER: &str = "the clauses come in the order PARTITION BY, ORDER BY, MEASURES, ONE ROW PER MATCH, AFTER MATCH SKIP, PATTERN, WITHIN, \
                     SUBSET, DEFINE";

type Read<T> = Result<T, ParserError>;

/// Reads `MATCH_RECOGNIZE 'file' body` up to the parenthesis that closes it.
pub(in crate::sql) fn parse(parser: &mut Parser) -> Read<Expr> {
    let span = parser.next_token().span;
    let file = match parser.next_token().token {
        Token::SingleQuotedString(file) => file,
        _ => String::new(),
    };
    let mut parts = vec![node("file", vec![name(Ident::new(file))])];
    if parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
        parts.push(node("partition", parser.parse_comma_separated(Parser::parse_expr)?));
    }
    if parser.parse_keywords(&[Keyword::ORDER, Keyword::BY]) {
        for order in parser.parse_comma_separated(Parser::parse_order_by_expr)? {
            let ascending = flag(order.options.asc.unwrap_or(true));
            parts.push(node("order", [order.expr, ascending].into_iter().chain(order.options.nulls_first.map(flag)).collect()));
        }
    }
    if parser.parse_keyword(Keyword::MEASURES) {
        for (alias, expr) in parser.parse_comma_separated(measure)? {
            parts.push(node("measure", vec![name(alias), expr]));
        }
    }
    if let Some(rows) = rows_per_match(parser)? {
        parts.push(node("rows", vec![name(Ident::new(rows))]));
    }
    if parser.parse_keywords(&[Keyword::AFTER, Keyword::MATCH]) {
        parts.push(after_match(parser)?);
    }
    let next = parser.peek_token();
    if !parser.parse_keyword(Keyword::PATTERN) {
        return parser.expected(&format!("PATTERN or a clause before it; {ORDER}"), next);
    }
    parts.push(node("pattern", pattern(parser)?));
    if parser.parse_keyword(Keyword::WITHIN) {
        parts.push(node("within", vec![parser.parse_expr()?]));
    }
    if is_word(parser.peek_token_ref(), "SUBSET") {
        parser.next_token();
        for (union, members) in parser.parse_comma_separated(subset)? {
            parts.push(node("subset", std::iter::once(union).chain(members).map(name).collect()));
        }
    }
    if parser.parse_keyword(Keyword::DEFINE) {
        for (variable, condition) in parser.parse_comma_separated(definition)? {
            parts.push(node("define", vec![name(variable), condition]));
        }
    }
    let next = parser.peek_token();
    if next.token != Token::RParen {
        return parser.expected(&format!("WITHIN, SUBSET, DEFINE or ')'; {ORDER}"), next);
    }
    Ok(Expr::Prefixed { prefix: Ident::with_span(span, CLAUSE), value: Box::new(Expr::Tuple(parts)) })
}

/// Reads `FINAL f(…)` and `RUNNING f(…)`.
pub(in crate::sql) fn parse_semantics(parser: &mut Parser) -> Read<Expr> {
    let prefix = parser.parse_identifier()?;
    Ok(Expr::Prefixed { prefix, value: Box::new(parser.parse_prefix()?) })
}

/// FINAL or RUNNING before what it is said of: which one, and of what.
pub(super) fn semantics(expr: &Expr) -> Option<(bool, &Ident, &Expr)> {
    let Expr::Prefixed { prefix, value } = expr else { return None };
    is_semantics(prefix).then(|| (prefix.value.eq_ignore_ascii_case("RUNNING"), prefix, value.as_ref()))
}

/// Is it FINAL or RUNNING?
pub(in crate::sql) fn is_semantics(word: &Ident) -> bool {
    ["FINAL", "RUNNING"].iter().any(|semantics| word.value.eq_ignore_ascii_case(semantics))
}

/// sqlparser knows some of the words as keywords, others not.
fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

fn measure(parser: &mut Parser) -> Read<(Ident, Expr)> {
    let expr = parser.parse_expr()?;
    parser.expect_keyword_is(Keyword::AS)?;
    Ok((parser.parse_identifier()?, expr))
}

fn definition(parser: &mut Parser) -> Read<(Ident, Expr)> {
    let variable = parser.parse_identifier()?;
    parser.expect_keyword_is(Keyword::AS)?;
    Ok((variable, parser.parse_expr()?))
}

fn subset(parser: &mut Parser) -> Read<(Ident, Vec<Ident>)> {
    let union = parser.parse_identifier()?;
    parser.expect_token(&Token::Eq)?;
    parser.expect_token(&Token::LParen)?;
    let members = parser.parse_comma_separated(Parser::parse_identifier)?;
    parser.expect_token(&Token::RParen)?;
    Ok((union, members))
}

fn rows_per_match(parser: &mut Parser) -> Read<Option<&'static str>> {
    if parser.parse_keywords(&[Keyword::ONE, Keyword::ROW, Keyword::PER, Keyword::MATCH]) {
        let more = parser.peek_token();
        if parser.parse_keywords(&[Keyword::SHOW, Keyword::EMPTY, Keyword::MATCHES]) {
            return Ok(Some("one"));
        }
        return match &more.token {
            Token::Word(word) if matches!(word.keyword, Keyword::OMIT | Keyword::WITH) => {
                parser.expected("another clause: OMIT EMPTY MATCHES and WITH UNMATCHED ROWS belong to ALL ROWS PER MATCH", more)
            }
            _ => Ok(Some("one")),
        };
    }
    if !parser.parse_keywords(&[Keyword::ALL, Keyword::ROWS, Keyword::PER, Keyword::MATCH]) {
        return Ok(None);
    }
    Ok(Some(if parser.parse_keywords(&[Keyword::OMIT, Keyword::EMPTY, Keyword::MATCHES]) {
        "omit"
    } else if parser.parse_keywords(&[Keyword::WITH, Keyword::UNMATCHED, Keyword::ROWS]) {
        "unmatched"
    } else {
        // What is so anyway.
        _ = parser.parse_keywords(&[Keyword::SHOW, Keyword::EMPTY, Keyword::MATCHES]);
        "all"
    }))
}

fn after_match(parser: &mut Parser) -> Read<Expr> {
    parser.expect_keyword_is(Keyword::SKIP)?;
    let mode = |mode: &str| name(Ident::new(mode));
    if parser.parse_keywords(&[Keyword::PAST, Keyword::LAST, Keyword::ROW]) {
        return Ok(node("skip", vec![mode("past")]));
    }
    let next = parser.peek_token();
    if !parser.parse_keyword(Keyword::TO) {
        return parser.expected("PAST LAST ROW, TO NEXT ROW, TO FIRST variable or TO LAST variable", next);
    }
    if parser.parse_keywords(&[Keyword::NEXT, Keyword::ROW]) {
        return Ok(node("skip", vec![mode("next")]));
    }
    // A variable may have the name FIRST: then nothing that could be a variable follows.
    let follows = matches!(&parser.peek_nth_token_ref(1).token, Token::Word(word) if word.keyword != Keyword::PATTERN);
    let end = if follows { parser.parse_one_of_keywords(&[Keyword::FIRST, Keyword::LAST]) } else { None };
    let first = end == Some(Keyword::FIRST);
    Ok(node("skip", vec![mode(if first { "first" } else { "last" }), name(parser.parse_identifier()?)]))
}

/// The tokens between the parentheses.
fn pattern(parser: &mut Parser) -> Read<Vec<Expr>> {
    parser.expect_token(&Token::LParen)?;
    let mut depth = 0_usize;
    let mut tokens = Vec::new();
    loop {
        let next = parser.next_token();
        match &next.token {
            Token::RParen if depth == 0 => return Ok(tokens),
            Token::EOF => return parser.expected("')' at the end of PATTERN", next),
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        let signs: Vec<String> = match &next.token {
            Token::Word(word) => {
                tokens.push(name(Ident { value: word.value.clone(), quote_style: word.quote_style, span: next.span }));
                continue;
            }
            Token::Placeholder(text) | Token::Number(text, _) => vec![text.clone()],
            // Two signs that are one elsewhere.
            Token::StringConcat => vec!["|".to_owned(), "|".to_owned()],
            other => vec![other.to_string()],
        };
        tokens.extend(signs.into_iter().map(|value| name(Ident { value, quote_style: Some(SIGN), span: next.span })));
    }
}

fn node(clause: &str, parts: Vec<Expr>) -> Expr {
    Expr::Prefixed { prefix: Ident::new(clause), value: Box::new(Expr::Tuple(parts)) }
}

fn name(ident: Ident) -> Expr {
    Expr::Identifier(ident)
}

fn flag(on: bool) -> Expr {
    Expr::value(ast::Value::Boolean(on))
}

fn is_on(expr: Expr) -> Option<bool> {
    match expr {
        Expr::Value(ast::ValueWithSpan { value: ast::Value::Boolean(on), .. }) => Some(on),
        _ => None,
    }
}

fn ident(expr: Expr) -> Option<Ident> {
    match expr {
        Expr::Identifier(ident) => Some(ident),
        _ => None,
    }
}

impl Recognition {
    /// Reads back what [`parse`] made; none: it is something else.
    pub(super) fn from_expr(expr: Expr) -> Option<Self> {
        let Expr::Prefixed { prefix, value } = expr else { return None };
        let (true, Expr::Tuple(parts)) = (prefix.value == CLAUSE, *value) else { return None };
        let mut read = Recognition {
            file: String::new(),
            span: prefix.span,
            partition_by: Vec::new(),
            order_by: Vec::new(),
            measures: Vec::new(),
            rows: Rows::One,
            skip: None,
            pattern: Vec::new(),
            within: None,
            subsets: Vec::new(),
            define: Vec::new(),
        };
        for part in parts {
            let Expr::Prefixed { prefix, value } = part else { return None };
            let Expr::Tuple(parts) = *value else { return None };
            read.add(&prefix.value, parts)?;
        }
        Some(read)
    }

    fn add(&mut self, clause: &str, parts: Vec<Expr>) -> Option<()> {
        let mut parts = parts.into_iter();
        match clause {
            "file" => self.file = ident(parts.next()?)?.value,
            "partition" => self.partition_by = parts.collect(),
            "order" => {
                let (expr, ascending) = (parts.next()?, is_on(parts.next()?)?);
                self.order_by.push(OrderBy { expr, ascending, nulls_first: parts.next().and_then(is_on) });
            }
            "measure" => self.measures.push((ident(parts.next()?)?, parts.next()?)),
            "rows" => {
                self.rows = match ident(parts.next()?)?.value.as_str() {
                    "one" => Rows::One,
                    "omit" => Rows::AllOmitEmpty,
                    "unmatched" => Rows::AllWithUnmatched,
                    _ => Rows::All,
                }
            }
            "skip" => {
                self.skip = Some(match ident(parts.next()?)?.value.as_str() {
                    "past" => Skip::PastLast,
                    "next" => Skip::ToNext,
                    "first" => Skip::ToFirst(ident(parts.next()?)?),
                    _ => Skip::ToLast(ident(parts.next()?)?),
                });
            }
            "pattern" => self.pattern = parts.map(ident).collect::<Option<_>>()?,
            "within" => self.within = parts.next(),
            "subset" => self.subsets.push((ident(parts.next()?)?, parts.map(ident).collect::<Option<_>>()?)),
            "define" => self.define.push((ident(parts.next()?)?, parts.next()?)),
            _ => return None,
        }
        Some(())
    }
}

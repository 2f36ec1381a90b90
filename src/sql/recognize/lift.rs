//! `t MATCH_RECOGNIZE ( body )` as a call that sqlparser reads, among the tokens.
//!
//! ```text
//!  FROM t                  MATCH_RECOGNIZE ( PARTITION BY … ) AS m
//!  FROM MATCH_RECOGNIZE ( TABLE ( SELECT * FROM t ), MATCH_RECOGNIZE 'file.sql' PARTITION BY … ) AS m
//! ```
//! sqlparser reads the clause behind a name only and without WITHIN, SUBSET and more. As an argument of a call the body
//! comes to the dialect's prefix hook instead, which reads it all (`syntax.rs`). The name of the file travels along: what
//! is wrong may be found only when the query is planned, from another file.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::CLAUSE;
use crate::error::{Error, Result};
use crate::sql::place;

/// Turns each such clause of a statement into a call; the tokens are without comments.
pub(in crate::sql) fn lift(tokens: Vec<TokenWithSpan>, file: &str) -> Result<Vec<TokenWithSpan>> {
    if !tokens.iter().any(is_clause) {
        return Ok(tokens);
    }
    let mut lifted: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 16);
    let mut rest = tokens.into_iter();
    while let Some(token) = rest.next() {
        let opened = rest.as_slice().iter().position(|next| !is_space(&next.token));
        let Some(opened) = opened.filter(|at| is_clause(&token) && rest.as_slice()[*at].token == Token::LParen) else {
            lifted.push(token);
            continue;
        };
        rest.nth(opened);
        let at = token.span;
        let Some(begin) = begin_of_table(&lifted) else {
            let text = "MATCH_RECOGNIZE stands right behind a table or a query in parentheses; a name for its rows comes after it: \
                        FROM t MATCH_RECOGNIZE (…) AS m";
            return Err(Error::input(text).at(place::of_span(file, at)));
        };
        let word = Token::make_keyword;
        let before = [word(CLAUSE), Token::LParen, word("TABLE"), Token::LParen, word("SELECT"), Token::Mul, word("FROM")];
        lifted.splice(begin..begin, before.map(|token| TokenWithSpan::new(token, at)));
        let behind = [Token::RParen, Token::Comma, word(CLAUSE), Token::SingleQuotedString(file.to_owned())];
        lifted.extend(behind.map(|token| TokenWithSpan::new(token, at)));
    }
    Ok(lifted)
}

fn is_space(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

fn plain_word(token: &Token) -> Option<&Word> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word),
        _ => None,
    }
}

fn is_clause(token: &TokenWithSpan) -> bool {
    plain_word(&token.token).is_some_and(|word| word.value.eq_ignore_ascii_case(CLAUSE))
}

/// Where the table at the end of `tokens` begins: a name with its dots, or something in parentheses with the name before
/// it (`TABLE(…)`, `TUMBLE(…)`).
fn begin_of_table(tokens: &[TokenWithSpan]) -> Option<usize> {
    let before = |at: usize| tokens[..at].iter().rposition(|token| !is_space(&token.token));
    let mut at = before(tokens.len())?;
    if tokens[at].token == Token::RParen {
        let mut depth = 0_usize;
        loop {
            match tokens[at].token {
                Token::RParen => depth += 1,
                Token::LParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            at = before(at)?;
        }
        let name = before(at)?;
        if follows_from(&tokens[name].token) {
            return Some(at);
        }
        at = name;
    }
    loop {
        let Token::Word(_) = tokens[at].token else { return None };
        let dot = before(at)?;
        match &tokens[dot].token {
            Token::Period => at = before(dot)?,
            token if follows_from(token) => return Some(at),
            _ => return None,
        }
    }
}

/// Can a table stand right behind it?
fn follows_from(token: &Token) -> bool {
    match token {
        Token::Comma | Token::LParen => true,
        token => plain_word(token).is_some_and(|word| ["FROM", "JOIN"].iter().any(|from| word.value.eq_ignore_ascii_case(from))),
    }
}

//! Text to statements.
//!
//! ```text
//! text ─ tokens ─ cut at ';' ─▶ piece ─ first words say which ─▶ Statement
//!                                 └─ BEGIN STATEMENT SET; … END; joins its pieces
//! ```
//! A piece that cannot be read is one error; the others are read all the same.

use datafusion::sql::sqlparser::ast::{Ident, Spanned as _};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer, Whitespace};

use super::dialect::FlinkDialect;
use super::recognize::lift;
use super::statement::{DropKind, Insert, MaterializedViewDef, Name, Query, Spanned, Statement, ViewDef};
use super::{ddl, forms, place};
use crate::error::{Error, Place, Result, did_you_mean};

/// Reads all statements of `text`; `file` is its name in messages. Every statement that cannot be read is reported.
pub fn parse(text: &str, file: &str) -> Result<Vec<Spanned<Statement>>> {
    let read = parse_each(text, file);
    Error::all(read.faults).map_or(Ok(read.statements), Err)
}

/// A text with faults, as far as it can be read.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The statements that can be read.
    pub statements: Vec<Spanned<Statement>>,
    /// What is wrong with the others.
    pub faults: Vec<Error>,
    /// Names that the others would have declared: that they are missing is no fault of who uses them.
    pub undeclared: Vec<String>,
}

/// Reads what can be read of `text`, so that everything else that is wrong can be told in the same go.
pub fn parse_each(text: &str, file: &str) -> Parsed {
    let dialect = FlinkDialect;
    let tokens = match Tokenizer::new(&dialect, text).tokenize_with_location() {
        Ok(tokens) => tokens,
        Err(e) => {
            let fault = Error::input(e.message).at(place::of_location(file, e.location));
            return Parsed { faults: vec![fault], ..Parsed::default() };
        }
    };
    let mut parsed = Parsed::default();
    let Parsed { statements, faults: errors, undeclared } = &mut parsed;
    // INSERTs of an open statement set, and where it was opened.
    let mut set: Option<(Vec<Insert>, Place)> = None;
    for piece in tokens.split_inclusive(|t| t.token == Token::SemiColon) {
        errors.extend(hint(piece, file));
        let tokens = piece;
        let read = Piece::new(&dialect, tokens, file).and_then(|piece| {
            let Some(mut piece) = piece else { return Ok(None) };
            let read = if set.is_some() { piece.inside_set(&mut set)? } else { piece.statement(&mut set)? };
            Ok(read.map(|value| Spanned { value, place: piece.begin }))
        });
        match read {
            Ok(statement) => statements.extend(statement),
            Err(error) => {
                errors.push(error);
                undeclared.extend(declares(tokens));
            }
        }
    }
    if let Some((_, opened)) = set {
        errors.push(Error::input("this statement set has no END").at(opened));
    }
    parsed
}

/// The name that a statement declares, if it begins as one that does: `CREATE … TABLE | VIEW [IF NOT EXISTS] name`.
fn declares(tokens: &[TokenWithSpan]) -> Option<String> {
    let mut words = tokens.iter().filter_map(|token| match &token.token {
        Token::Word(word) => Some(word),
        _ => None,
    });
    words.next().filter(|word| word.keyword == Keyword::CREATE)?;
    words.by_ref().take(3).find(|word| matches!(word.keyword, Keyword::TABLE | Keyword::VIEW))?;
    let mut rest = words.skip_while(|word| matches!(word.keyword, Keyword::IF | Keyword::NOT | Keyword::EXISTS));
    rest.next().map(|name| name.value.clone())
}

/// A hint is a comment to the parser: it would be passed over in silence.
fn hint(tokens: &[TokenWithSpan], file: &str) -> Option<Error> {
    let is_hint = |t: &&TokenWithSpan| matches!(&t.token, Token::Whitespace(Whitespace::MultiLineComment(text)) if text.starts_with('+'));
    let hint = tokens.iter().find(is_hint)?;
    Some(Error::input("hints (/*+ … */) are not supported").at(place::of_span(file, hint.span)))
}

/// Reads one query, as `eagre sql` and views need it.
pub fn parse_query(text: &str, file: &str) -> Result<Query> {
    match parse(text, file)?.as_slice() {
        [Spanned { value: Statement::Query(query), .. }] => Ok(query.clone()),
        _ => Err(Error::input("expected one query").at(Place::text(file, 1, 1))),
    }
}

/// The tokens of one statement.
pub(super) struct Piece<'a> {
    pub(super) parser: Parser<'a>,
    pub(super) file: &'a str,
    /// First token.
    begin: Place,
    /// The `;`, or the last token.
    pub(super) end: Place,
}

impl<'a> Piece<'a> {
    /// `None` when there is nothing but space, comments and `;`.
    fn new(dialect: &'a FlinkDialect, tokens: &[TokenWithSpan], file: &'a str) -> Result<Option<Self>> {
        let is_text = |t: &&TokenWithSpan| !matches!(t.token, Token::Whitespace(_) | Token::SemiColon | Token::EOF);
        let last = tokens.iter().rfind(|t| !matches!(t.token, Token::Whitespace(_)));
        let (Some(first), Some(last)) = (tokens.iter().find(is_text), last) else { return Ok(None) };
        let begin = place::of_span(file, first.span);
        let end = place::of_span(file, last.span);
        // Comments are dropped here; the `;` too, so that the parser sees the end of its input.
        let tokens = tokens
            .iter()
            .filter(|t| {
                !matches!(
                    t.token,
                    Token::SemiColon | Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_))
                )
            })
            .cloned()
            .collect();
        let tokens = lift::lift(tokens, file)?;
        Ok(Some(Piece { parser: Parser::new(dialect).with_tokens_with_locations(tokens), file, begin, end }))
    }

    /// A piece between BEGIN and END of a statement set.
    fn inside_set(&mut self, set: &mut Option<(Vec<Insert>, Place)>) -> Result<Option<Statement>> {
        if self.parser.parse_keyword(Keyword::END) {
            self.nothing_more()?;
            return Ok(set.take().map(|(inserts, _)| Statement::StatementSet(inserts)));
        }
        let insert = self.insert()?;
        if let Some((inserts, _)) = set {
            inserts.push(insert);
        }
        Ok(None)
    }

    fn statement(&mut self, set: &mut Option<(Vec<Insert>, Place)>) -> Result<Option<Statement>> {
        if self.words(&["BEGIN", "STATEMENT", "SET"]) {
            *set = Some((Vec::new(), self.begin.clone()));
            self.nothing_more()?;
            return Ok(None);
        }
        if self.words(&["EXECUTE", "STATEMENT", "SET", "BEGIN"]) {
            *set = Some((Vec::new(), self.begin.clone()));
            return self.inside_set(set);
        }
        let statement = self.plain_statement()?;
        self.nothing_more()?;
        Ok(Some(statement))
    }

    fn plain_statement(&mut self) -> Result<Statement> {
        const KNOWN: [&str; 12] =
            ["CREATE", "INSERT", "SET", "RESET", "EXPLAIN", "DESCRIBE", "DESC", "SHOW", "DROP", "SELECT", "WITH", "EXECUTE"];
        let first = self.parser.peek_token();
        let word = match &first.token {
            Token::Word(word) => word.value.to_uppercase(),
            Token::LParen => return Ok(Statement::Query(self.query()?)),
            _ => return Err(self.expected("a statement", &first)),
        };
        match word.as_str() {
            "CREATE" => {
                self.parser.next_token();
                self.create()
            }
            "INSERT" => Ok(Statement::Insert(self.insert()?)),
            "SET" => {
                self.parser.next_token();
                self.set()
            }
            "RESET" => {
                self.parser.next_token();
                let key = if self.at_end() { None } else { Some(self.string_or_words("an option's name")?) };
                Ok(Statement::Reset { key })
            }
            "EXPLAIN" => {
                self.parser.next_token();
                self.words(&["PLAN", "FOR"]);
                let place = self.here();
                let value = if self.words(&["STATEMENT", "SET", "BEGIN"]) {
                    return Err(Error::input("EXPLAIN STATEMENT SET is not supported; explain its INSERTs one by one").at(place));
                } else {
                    self.plain_statement()?
                };
                Ok(Statement::Explain(Box::new(Spanned { value, place })))
            }
            "DESCRIBE" | "DESC" => {
                self.parser.next_token();
                self.words(&["TABLE"]);
                Ok(Statement::Describe(self.described()?))
            }
            "SHOW" => {
                self.parser.next_token();
                self.show()
            }
            "DROP" => {
                self.parser.next_token();
                self.drop()
            }
            "SELECT" | "WITH" | "VALUES" | "TABLE" => Ok(Statement::Query(self.query()?)),
            "ALTER" | "USE" | "LOAD" | "UNLOAD" | "ANALYZE" | "UPDATE" | "DELETE" | "TRUNCATE" | "CALL" | "ADD" | "REMOVE" | "COMPILE"
            | "STOP" | "EXECUTE" | "COPY" | "GRANT" | "BEGIN" | "COMMIT" => {
                Err(Error::input(format!("{word} is not supported")).at(place::of_span(self.file, first.span)))
            }
            _ => Err(Error::input(format!("no statement begins with '{word}'{}", did_you_mean(&word, KNOWN)))
                .at(place::of_span(self.file, first.span))),
        }
    }

    fn create(&mut self) -> Result<Statement> {
        let place = self.here();
        let temporary = self.words(&["TEMPORARY"]);
        if self.words(&["TABLE"]) {
            let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
            let table = ddl::table(self)?;
            return Ok(Statement::CreateTable { table, if_not_exists });
        }
        if self.words(&["VIEW"]) {
            let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
            let name = self.name()?;
            let columns = match self.parser.consume_token(&Token::LParen) {
                true => self.rest_of_name_list()?.into_iter().map(|n| n.value).collect(),
                false => Vec::new(),
            };
            ddl::comment(self)?;
            self.keyword(Keyword::AS)?;
            let query = self.query()?;
            return Ok(Statement::CreateView(ViewDef { name, columns, query, temporary, if_not_exists }));
        }
        if !temporary && self.words(&["MATERIALIZED", "VIEW"]) {
            let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
            let name = self.name()?;
            let mut primary_key = Vec::new();
            if self.parser.consume_token(&Token::LParen) {
                self.keyword(Keyword::PRIMARY)?;
                primary_key = ddl::primary_key(self)?;
                self.token(&Token::RParen)?;
            }
            ddl::comment(self)?;
            let options = ddl::options(self)?;
            self.keyword(Keyword::AS)?;
            let query = self.query()?;
            return Ok(Statement::CreateMaterializedView(MaterializedViewDef { name, primary_key, options, query, if_not_exists }));
        }
        for what in ["FUNCTION", "CATALOG", "DATABASE", "MODEL", "MATERIALIZED", "SYSTEM", "OR"] {
            if self.words(&[what]) {
                let what = match what {
                    "MATERIALIZED" => "MATERIALIZED TABLE",
                    "SYSTEM" => "SYSTEM FUNCTION",
                    "OR" => "OR",
                    other => other,
                };
                return Err(Error::input(format!("CREATE {what} is not supported")).at(place));
            }
        }
        let token = self.parser.peek_token();
        Err(self.expected("TABLE, VIEW or MATERIALIZED VIEW", &token))
    }

    fn drop(&mut self) -> Result<Statement> {
        let kind = if self.words(&["MATERIALIZED", "VIEW"]) {
            DropKind::MaterializedView
        } else {
            self.words(&["TEMPORARY"]);
            if self.words(&["TABLE"]) {
                DropKind::Table
            } else if self.words(&["VIEW"]) {
                DropKind::View
            } else {
                let token = self.parser.peek_token();
                return Err(self.expected("TABLE, VIEW or MATERIALIZED VIEW", &token));
            }
        };
        let if_exists = self.words(&["IF", "EXISTS"]);
        Ok(Statement::Drop { kind, name: self.name()?, if_exists })
    }

    fn show(&mut self) -> Result<Statement> {
        let token = self.parser.peek_token();
        if self.words(&["TABLES"]) {
            Ok(Statement::ShowTables)
        } else if self.words(&["VIEWS"]) {
            Ok(Statement::ShowViews)
        } else {
            Err(self.expected("TABLES or VIEWS", &token))
        }
    }

    fn insert(&mut self) -> Result<Insert> {
        let first = self.parser.peek_token();
        if self.words(&["INSERT", "OVERWRITE"]) {
            return Err(Error::input("INSERT OVERWRITE is not supported; a table or file sink begins empty when a pipeline starts afresh")
                .at(place::of_span(self.file, first.span)));
        }
        if !self.words(&["INSERT", "INTO"]) {
            return Err(self.expected("INSERT INTO", &first));
        }
        let table = self.name()?;
        let partition = self.here();
        if self.words(&["PARTITION"]) {
            return Err(Error::input("INSERT INTO … PARTITION is not supported").at(partition));
        }
        let columns = match self.parser.peek_tokens_ref() {
            [open, word] if open.token == Token::LParen && !is_query_word(&word.token) => {
                self.parser.next_token();
                Some(self.rest_of_name_list()?)
            }
            _ => None,
        };
        let query = self.query()?;
        self.nothing_more()?;
        Ok(Insert { table, columns, query })
    }

    fn set(&mut self) -> Result<Statement> {
        if self.at_end() {
            return Ok(Statement::ShowSet);
        }
        let key = self.string_or_words("an option's name")?;
        self.token(&Token::Eq)?;
        let value = self.string_or_words("a value in quotes")?.value;
        Ok(Statement::Set { key, value })
    }

    /// A query with Flink's forms turned into those that DataFusion plans.
    pub(super) fn query(&mut self) -> Result<Query> {
        let place = self.here();
        let query = self.parser.parse_query();
        let mut query = self.said(query)?;
        forms::rewrite(query.as_mut(), self.file)?;
        Ok(Query { value: query, place })
    }

    /// An identifier.
    pub(super) fn name(&mut self) -> Result<Name> {
        let ident = self.parser.parse_identifier();
        let ident = self.said(ident)?;
        if self.parser.peek_token_ref().token == Token::Period {
            let place = place::of_span(self.file, ident.span);
            return Err(
                Error::input(format!("'{}.…': catalogs and databases are not supported, name the table alone", ident.value)).at(place)
            );
        }
        Ok(self.named(ident))
    }

    /// A table's name, or `schema.table` (system tables have a schema).
    fn described(&mut self) -> Result<Name> {
        let name = self.parser.parse_object_name(false);
        let name = self.said(name)?;
        let place = self.place(name.span());
        let parts: Vec<&str> = name.0.iter().filter_map(|p| p.as_ident()).map(|i| i.value.as_str()).collect();
        Ok(Name { value: parts.join("."), place })
    }

    pub(super) fn named(&self, ident: Ident) -> Name {
        Name { place: place::of_span(self.file, ident.span), value: ident.value }
    }

    /// `a, b)`.
    pub(super) fn rest_of_name_list(&mut self) -> Result<Vec<Name>> {
        let names = self.parser.parse_comma_separated(Parser::parse_identifier);
        let names = self.said(names)?;
        self.token(&Token::RParen)?;
        Ok(names.into_iter().map(|ident| self.named(ident)).collect())
    }

    /// Consumes the words if all of them follow (sqlparser knows some of them as keywords, others not).
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let all = words.iter().enumerate().all(|(at, word)| match &self.parser.peek_nth_token_ref(at).token {
            Token::Word(w) => w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word),
            _ => false,
        });
        if all {
            for _ in words {
                self.parser.next_token();
            }
        }
        all
    }

    /// `'text'`, or the older form without quotes: `a.b-c`, a number, TRUE.
    fn string_or_words(&mut self, wanted: &str) -> Result<Name> {
        let first = self.parser.next_token();
        let place = place::of_span(self.file, first.span);
        match first.token {
            Token::SingleQuotedString(value) => Ok(Name { value, place }),
            Token::Word(_) | Token::Number(..) => {
                let mut value = first.token.to_string();
                let mut end = first.span.end;
                // Only what stands close together is one value.
                loop {
                    let next = self.parser.peek_token();
                    let belongs = matches!(next.token, Token::Word(_) | Token::Period | Token::Minus | Token::Number(..));
                    if !belongs || next.span.start != end {
                        break;
                    }
                    value.push_str(&next.token.to_string());
                    end = next.span.end;
                    self.parser.next_token();
                }
                Ok(Name { value, place })
            }
            _ => Err(self.expected(wanted, &first)),
        }
    }

    /// `'text'`.
    pub(super) fn string(&mut self, wanted: &str) -> Result<Name> {
        let token = self.parser.next_token();
        match token.token {
            Token::SingleQuotedString(value) => Ok(Name { value, place: place::of_span(self.file, token.span) }),
            _ => Err(self.expected(wanted, &token)),
        }
    }

    pub(super) fn keyword(&mut self, keyword: Keyword) -> Result<()> {
        let read = self.parser.expect_keyword_is(keyword);
        self.said(read)
    }

    pub(super) fn token(&mut self, token: &Token) -> Result<()> {
        let read = self.parser.expect_token(token);
        self.said(read).map(|_| ())
    }

    /// Where the next token is.
    pub(super) fn here(&self) -> Place {
        match self.parser.peek_token_ref() {
            TokenWithSpan { token: Token::EOF, .. } => self.end.clone(),
            token => place::of_span(self.file, token.span),
        }
    }

    pub(super) fn at_end(&self) -> bool {
        self.parser.peek_token_ref().token == Token::EOF
    }

    fn nothing_more(&self) -> Result<()> {
        match self.parser.peek_token_ref() {
            TokenWithSpan { token: Token::EOF, .. } => Ok(()),
            token => Err(self.expected("';' or the end", token)),
        }
    }

    /// "expected …, found …" at `found`.
    pub(super) fn expected(&self, wanted: &str, found: &TokenWithSpan) -> Error {
        match &found.token {
            Token::EOF => Error::input(format!("expected {wanted}, but the statement ends here")).at(self.end.clone()),
            token => Error::input(format!("expected {wanted}, found {token}")).at(place::of_span(self.file, found.span)),
        }
    }

    /// The parser's answer with our kind of error.
    pub(super) fn said<T>(&self, read: Result<T, ParserError>) -> Result<T> {
        read.map_err(|e| place::of_parser(self.file, e, &self.end))
    }

    pub(super) fn place(&self, span: Span) -> Place {
        place::of_span(self.file, span)
    }
}

fn is_query_word(token: &Token) -> bool {
    matches!(token, Token::LParen)
        || matches!(token, Token::Word(w) if w.quote_style.is_none() && matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::TABLE))
}

//! PATTERN: its tokens to a regular expression over the variables that it names.
//!
//! ```text
//! choice   := row ('|' row)*
//! row      := (element quantifier?)*            none at all: an empty match
//! element  := variable | '^' | '$' | '(' choice ')' | '{-' choice '-}' | PERMUTE '(' choice (',' choice)* ')'
//! quantifier := ('*' | '+' | '?' | '{n}' | '{n,}' | '{n,m}' | '{,m}' | '{,}') '?'?      the second '?': rather less often
//! ```

use datafusion::sql::sqlparser::ast::Ident;

use super::syntax::{Recognition, SIGN};
use crate::error::{Error, Place, Result};
use crate::operator::pattern::row_pattern::{MAX_VARIABLES, Regex};
use crate::sql::place;

/// The names that stand for rows of a match.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// Those of PATTERN: position = label.
    pub(super) names: Vec<String>,
    /// Those of SUBSET, with their labels.
    unions: Vec<(String, Vec<usize>)>,
}

impl Variables {
    /// The labels of a name.
    pub(super) fn labels(&self, name: &str) -> Option<Vec<usize>> {
        let one = self.names.iter().position(|other| other == name).map(|label| vec![label]);
        one.or_else(|| self.unions.iter().find(|(union, _)| union == name).map(|(_, labels)| labels.clone()))
    }

    /// The labels, or who is meant perhaps.
    pub(super) fn known(&self, name: &Ident, file: &str) -> Result<Vec<usize>> {
        self.labels(&name.value).ok_or_else(|| {
            let text = format!("PATTERN has no variable '{}'{}", name.value, self.near(&name.value));
            Error::input(text).at(place::of_span(file, name.span))
        })
    }

    /// The nearest name, or all.
    pub(super) fn near(&self, name: &str) -> String {
        let all: Vec<&str> = self.names.iter().chain(self.unions.iter().map(|(union, _)| union)).map(String::as_str).collect();
        place::near_or_all(name, &all)
    }

    /// Reads SUBSET.
    pub(super) fn add_unions(&mut self, text: &Recognition) -> Result<()> {
        for (union, members) in &text.subsets {
            let at = || place::of_span(&text.file, union.span);
            if self.labels(&union.value).is_some() {
                return Err(Error::input(format!("SUBSET {}: there is a variable of this name already", union.value)).at(at()));
            }
            let mut labels = Vec::new();
            for member in members {
                if self.unions.iter().any(|(other, _)| *other == member.value) {
                    let what = format!("SUBSET {}: '{}' is a SUBSET itself; name the variables of PATTERN", union.value, member.value);
                    return Err(Error::input(what).at(place::of_span(&text.file, member.span)));
                }
                labels.extend(self.known(member, &text.file)?);
            }
            labels.sort_unstable();
            labels.dedup();
            self.unions.push((union.value.clone(), labels));
        }
        Ok(())
    }
}

/// Reads PATTERN.
pub(super) fn read(text: &Recognition) -> Result<(Regex, Variables)> {
    let mut reading = Reading { tokens: &text.pattern, at: 0, depth: 0, text, variables: Variables::default() };
    let regex = reading.choice()?;
    if let Some(more) = reading.tokens.get(reading.at) {
        return Err(reading.fault(format!("'{}' is not expected here", more.value)));
    }
    let variables = reading.variables;
    if variables.names.is_empty() {
        return Err(Error::input("PATTERN names no variable").at(place::of_span(&text.file, text.span)));
    }
    if variables.names.len() > MAX_VARIABLES {
        let what = format!("PATTERN names {} variables; at most {MAX_VARIABLES} can be told apart", variables.names.len());
        return Err(Error::input(what).at(place::of_span(&text.file, text.span)));
    }
    regex.check().map_err(|error| error.at(place::of_span(&text.file, text.span)))?;
    Ok((regex, variables))
}

/// Groups within groups, at most.
const DEEPEST: usize = 100;

struct Reading<'a> {
    tokens: &'a [Ident],
    at: usize,
    /// How many groups it is in.
    depth: usize,
    text: &'a Recognition,
    variables: Variables,
}

impl<'a> Reading<'a> {
    fn sign(&self, ahead: usize) -> Option<&'a str> {
        self.tokens.get(self.at + ahead).filter(|token| token.quote_style == Some(SIGN)).map(|token| token.value.as_str())
    }

    fn take(&mut self, sign: &str) -> bool {
        let is = self.sign(0) == Some(sign);
        self.at += usize::from(is);
        is
    }

    fn need(&mut self, sign: &str) -> Result<()> {
        if self.take(sign) {
            return Ok(());
        }
        let found = self.tokens.get(self.at).map_or_else(|| "the end".to_owned(), |token| format!("'{}'", token.value));
        Err(self.fault(format!("expected '{sign}', found {found}")))
    }

    /// What is wrong with the token at hand.
    fn fault(&self, what: String) -> Error {
        let token = self.tokens.get(self.at).or(self.tokens.last());
        let at: Place = place::of_span(&self.text.file, token.map_or(self.text.span, |token| token.span));
        Error::input(format!("PATTERN: {what}")).at(at)
    }

    fn choice(&mut self) -> Result<Regex> {
        if self.depth == DEEPEST {
            return Err(self.fault(format!("groups lie more than {DEEPEST} deep in each other")));
        }
        self.depth += 1;
        let mut ways = vec![self.row()?];
        while self.take("|") {
            ways.push(self.row()?);
        }
        if ways.len() > 1 && ways.contains(&Regex::Seq(Vec::new())) {
            return Err(self.fault("one side of '|' is missing; write () for no row".to_owned()));
        }
        self.depth -= 1;
        Ok(one_of(ways, Regex::Alt))
    }

    fn row(&mut self) -> Result<Regex> {
        let mut parts = Vec::new();
        while let Some(element) = self.element()? {
            parts.push(self.quantified(element)?);
        }
        Ok(one_of(parts, Regex::Seq))
    }

    fn element(&mut self) -> Result<Option<Regex>> {
        let tokens: &'a [Ident] = self.tokens;
        let Some(token) = tokens.get(self.at) else { return Ok(None) };
        if token.quote_style != Some(SIGN) {
            let permutes = token.quote_style.is_none() && token.value.eq_ignore_ascii_case("PERMUTE") && self.sign(1) == Some("(");
            self.at += 1;
            if permutes {
                self.need("(")?;
                let mut parts = vec![self.choice()?];
                while self.take(",") {
                    parts.push(self.choice()?);
                }
                self.need(")")?;
                return Ok(Some(Regex::Permute(parts)));
            }
            let known = self.variables.names.iter().position(|name| *name == token.value);
            let label = known.unwrap_or_else(|| {
                self.variables.names.push(token.value.clone());
                self.variables.names.len() - 1
            });
            return Ok(Some(Regex::Label(label)));
        }
        let element = match token.value.as_str() {
            "^" => Regex::Start,
            "$" => Regex::End,
            "(" => {
                self.at += 1;
                let inner = self.choice()?;
                self.need(")")?;
                return Ok(Some(if inner == Regex::Seq(Vec::new()) { Regex::Empty } else { inner }));
            }
            "{" if self.sign(1) == Some("-") => {
                self.at += 2;
                let inner = self.choice()?;
                self.need("-")?;
                self.need("}")?;
                return Ok(Some(Regex::Exclude(Box::new(inner))));
            }
            "|" | ")" | "," | "-" => return Ok(None),
            sign => return Err(self.fault(format!("'{sign}' follows nothing that it could be said of"))),
        };
        self.at += 1;
        Ok(Some(element))
    }

    fn quantified(&mut self, inner: Regex) -> Result<Regex> {
        let (from, to) = match self.sign(0) {
            Some("*") => (0, None),
            Some("+") => (1, None),
            Some("?") => (0, Some(1)),
            Some("{") if self.sign(1) != Some("-") => self.range()?,
            _ => return Ok(inner),
        };
        self.at += 1;
        let greedy = !self.take("?");
        Ok(Regex::Repeat { inner: Box::new(inner), from, to, greedy })
    }

    /// `{n`, `{n,`, `{n,m`, `{,m`, `{,`: all but the brace at the end.
    fn range(&mut self) -> Result<(u32, Option<u32>)> {
        self.need("{")?;
        let from = self.number()?;
        let comma = self.take(",");
        let to = if comma { self.number()? } else { from };
        if self.sign(0) != Some("}") || (from.is_none() && !comma) {
            return Err(self.fault("a quantifier is {n}, {n,}, {n,m}, {,m} or {,}".to_owned()));
        }
        if to == Some(0) || to.is_some_and(|to| to < from.unwrap_or(0)) {
            return Err(self.fault("the quantifier ends below its beginning, or allows no row at all".to_owned()));
        }
        Ok((from.unwrap_or(0), to))
    }

    fn number(&mut self) -> Result<Option<u32>> {
        let Some(digits) = self.sign(0).filter(|sign| sign.starts_with(|c: char| c.is_ascii_digit())) else { return Ok(None) };
        let number = digits.parse().map_err(|_| self.fault(format!("'{digits}' is no number of rows")))?;
        self.at += 1;
        Ok(Some(number))
    }
}

fn one_of(mut parts: Vec<Regex>, several: fn(Vec<Regex>) -> Regex) -> Regex {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            several(parts)
        }
    }
}

/// Says of DEFINE what PATTERN makes of its variables.
pub(super) fn check_defined(text: &Recognition, variables: &Variables) -> Result<()> {
    for (at, (name, _)) in text.define.iter().enumerate() {
        let place = || place::of_span(&text.file, name.span);
        if !variables.names.contains(&name.value) {
            let subset = variables.labels(&name.value).is_some();
            let why = if subset { " (it is a SUBSET: define its members)" } else { "" };
            let names: Vec<&str> = variables.names.iter().map(String::as_str).collect();
            let near = place::near_or_all(&name.value, &names);
            return Err(Error::input(format!("DEFINE {}: PATTERN has no such variable{why}{near}", name.value)).at(place()));
        }
        if text.define[..at].iter().any(|(other, _)| other.value == name.value) {
            return Err(Error::input(format!("DEFINE {}: it is defined twice", name.value)).at(place()));
        }
    }
    Ok(())
}

//! The one error type: its kind tells the caller what to do, its place where to look.
//!
//! Words floor: knows nothing of the rest of the house.

use std::fmt;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller is to do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The query, rule or configuration is wrong: fix it. Exit code 2.
    Input,
    /// One row cannot be handled: dead-letter it, or fail where that was asked for. Exit code 1.
    Row,
    /// The run failed in a way that trying again may mend (a full disk, a slow peer). Exit code 1.
    Failed,
    /// A broker, a file or a port cannot be reached. Exit code 3.
    Unreachable,
    /// Whether something became visible outside is not known, or what was under way is lost there: stop, and go on from
    /// what the outside confirms. Exit code 1 where nobody starts again.
    Restart,
    /// Another instance took over: stop at once. Exit code 1.
    Fenced,
    /// Stored data is damaged: stop, touch nothing. Exit code 4.
    Corrupt,
    /// The user or a signal ended it. Exit code 130.
    Interrupted,
    /// A promise inside this program was broken. Exit code 1.
    Bug,
}

impl Kind {
    /// The process exit code of design "Exit codes".
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Input => 2,
            Kind::Row | Kind::Failed | Kind::Restart | Kind::Fenced | Kind::Bug => 1,
            Kind::Unreachable => 3,
            Kind::Corrupt => 4,
            Kind::Interrupted => 130,
        }
    }
}

/// Where a fault is: a spot in a text, or a spot in the data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// File (or topic, or operator) as the user knows it.
    pub name: String,
    /// One-based line and column in a text file.
    pub line_col: Option<(u64, u64)>,
    /// Partition and offset in a stream of records.
    pub offset: Option<(u32, i64)>,
}

impl Place {
    /// A spot in a text file, one-based.
    pub fn text(name: impl Into<String>, line: u64, col: u64) -> Self {
        Place { name: name.into(), line_col: Some((line, col)), offset: None }
    }

    /// A record of a partition.
    pub fn record(name: impl Into<String>, partition: u32, offset: i64) -> Self {
        Place { name: name.into(), line_col: None, offset: Some((partition, offset)) }
    }

    /// A thing as a whole: an operator, a file, a listener.
    pub fn thing(name: impl Into<String>) -> Self {
        Place { name: name.into(), ..Place::default() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some((line, col)) = self.line_col {
            write!(f, ":{line}:{col}")?;
        }
        if let Some((partition, offset)) = self.offset {
            write!(f, "[{partition}]@{offset}")?;
        }
        Ok(())
    }
}

/// An error with its kind, its text, its place and its cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    /// Boxed, so that a `Result` stays small.
    place: Option<Box<Place>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// Further errors found in the same go (`eagre check` reports all of them).
    also: Vec<Error>,
}

impl Error {
    /// An error of `kind`; `message` names the thing, the value and what was expected.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), place: None, source: None, also: Vec::new() }
    }

    /// [`Kind::Input`].
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Kind::Input, message)
    }

    /// [`Kind::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// [`Kind::Unreachable`].
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, message)
    }

    /// [`Kind::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, message)
    }

    /// [`Kind::Bug`].
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message)
    }

    /// Says where; an inner place already set is kept, being the more exact one.
    pub fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert_with(|| Box::new(place));
        self
    }

    /// Names the file of a place that has only line and column yet.
    pub fn in_file(mut self, file: &str) -> Self {
        if let Some(place) = self.place.as_mut().filter(|p| p.name.is_empty()) {
            file.clone_into(&mut place.name);
        }
        self
    }

    /// Names the cause.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds another error found in the same go.
    pub fn and(mut self, mut other: Error) -> Self {
        let further = std::mem::take(&mut other.also);
        self.also.push(other);
        self.also.extend(further);
        self
    }

    /// Joins errors found in one go into one; `None` when there are none.
    pub fn all(errors: Vec<Error>) -> Option<Error> {
        let mut errors = errors.into_iter();
        let first = errors.next()?;
        Some(errors.fold(first, Error::and))
    }

    /// The same errors in the order of their places: what belongs to one file stands together, from its first line on.
    pub fn in_order(mut self) -> Error {
        let mut all = std::mem::take(&mut self.also);
        all.push(self);
        all.sort_by_key(|error| {
            let place = error.place.as_deref();
            (place.is_none(), place.map(|p| p.name.clone()), place.and_then(|p| p.line_col))
        });
        all.dedup_by(|a, b| a.place == b.place && a.message == b.message);
        let mut all = all.into_iter();
        match all.next() {
            Some(first) => all.fold(first, Error::and),
            None => Error::bug("an error was lost"),
        }
    }

    /// What the caller is to do.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The text without place and cause.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where the fault is, if known.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_deref()
    }

    /// Place, text and causes of this error alone.
    pub fn line(&self) -> String {
        let mut line = self.place.as_ref().map_or_else(String::new, |place| format!("{place}: "));
        line.push_str(&self.message);
        let mut cause = self.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(error) = cause {
            let text = error.to_string();
            // Some tell their cause themselves, or are nothing but it.
            if !line.ends_with(&text) {
                line.push_str(&format!(": {text}"));
            }
            cause = error.source();
        }
        line
    }

    /// This error and those found in the same go, in order.
    pub fn each(&self) -> impl Iterator<Item = &Error> {
        std::iter::once(self).chain(self.also.iter())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())?;
        for other in &self.also {
            write!(f, "\n{other}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn std::error::Error + 'static))
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError as D;
        match error {
            // An error of ours that travelled through DataFusion comes out whole.
            D::External(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(inner) => Error::failed(inner.to_string()),
            },
            D::Context(text, inner) => {
                let inner = Error::from(*inner);
                // What is wrong with a query needs no name of the planning step that found it.
                let is_clear = inner.place.is_some() || inner.kind == Kind::Input;
                if is_clear { inner } else { Error::new(inner.kind, format!("{text}: {inner}")) }
            }
            D::Diagnostic(_, inner) => Error::from(*inner),
            D::ArrowError(inner, _) => Error::from(*inner),
            D::Plan(text) => Error::input(text),
            D::SchemaError(inner, _) => Error::input(inner.to_string()),
            D::SQL(inner, _) => Error::input(inner.to_string()),
            D::NotImplemented(text) => Error::input(format!("not supported: {text}")),
            D::IoError(inner) => Error::from(inner),
            D::ObjectStore(inner) => Error::unreachable(inner.to_string()),
            D::Internal(text) => Error::bug(text),
            D::Execution(text) => Error::new(Kind::Row, text),
            other => Error::failed(other.to_string()),
        }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        use arrow::error::ArrowError as A;
        match error {
            A::IoError(text, inner) => Error::failed(text).because(inner),
            A::ComputeError(_) | A::DivideByZero | A::CastError(_) | A::ArithmeticOverflow(_) | A::ParseError(_) => {
                Error::new(Kind::Row, error.to_string())
            }
            A::ExternalError(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(inner) => Error::failed(inner.to_string()),
            },
            other => Error::failed(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        match error.kind() {
            K::NotFound | K::PermissionDenied | K::ConnectionRefused | K::AddrInUse => Error::unreachable(error.to_string()),
            _ => Error::failed(error.to_string()),
        }
    }
}

impl From<Error> for datafusion::error::DataFusionError {
    fn from(error: Error) -> Self {
        datafusion::error::DataFusionError::External(Box::new(error))
    }
}

/// ` Did you mean 'x'?` for the candidate nearest to `wanted`, or an empty text when none is near.
pub fn did_you_mean<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(&wanted.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| format!("; did you mean '{c}'?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        assert_eq!(did_you_mean("usr", ["user", "amount"]), "; did you mean 'user'?");
        assert_eq!(did_you_mean("zzz", ["user", "amount"]), "");
    }

    #[test]
    fn errors_stand_in_the_order_of_their_places() {
        let at = |text: &str, line: u64| Error::input(text).at(Place::text("f.sql", line, 1));
        let error = at("c", 9).and(Error::input("d")).and(at("a", 1)).and(at("b", 2)).and(at("b", 2));
        assert_eq!(error.in_order().to_string(), "f.sql:1:1: a\nf.sql:2:1: b\nf.sql:9:1: c\nd");
    }

    #[test]
    fn a_cause_is_told_once() {
        let deep = Error::input("no queue 'q'").because(Error::input("NOT_FOUND"));
        assert_eq!(Error::input("table 't'").because(deep).to_string(), "table 't': no queue 'q': NOT_FOUND");
    }

    #[test]
    fn the_inner_place_wins_and_all_errors_are_told() {
        let error = Error::input("a").at(Place::text("f.sql", 1, 2)).at(Place::thing("x")).and(Error::input("b"));
        assert_eq!(error.to_string(), "f.sql:1:2: a\nb");
    }
}

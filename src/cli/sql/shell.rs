//! The interactive shell: lines until `;`, history, completion, a few commands of psql.

use std::path::{Path, PathBuf};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::hint::HistoryHinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor, Helper, Highlighter, Hinter};

use super::session::Session;
use super::show::Show;
use crate::error::{Error, Result};

const HELP: &str = "\
\\d        tables and views        \\d NAME   columns of a table
\\q        leave (also Ctrl-D)     \\?        this text
Statements end with ';' and may go over several lines. Ctrl-C ends a running query, or drops the line.
";

/// Lines kept between sessions.
const HISTORY: usize = 1_000;

const KEYWORDS: [&str; 58] = [
    "AND",
    "AS",
    "ASC",
    "AVG",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COUNT",
    "CREATE",
    "CUMULATE",
    "DESC",
    "DESCRIBE",
    "DESCRIPTOR",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXISTS",
    "EXPLAIN",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "HOP",
    "HOUR",
    "IN",
    "INNER",
    "INTERVAL",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MAX",
    "MIN",
    "MINUTE",
    "NOT",
    "NULL",
    "ON",
    "OR",
    "ORDER",
    "OVER",
    "PARTITION",
    "RIGHT",
    "SECOND",
    "SELECT",
    "SESSION",
    "SHOW",
    "SUM",
    "TABLE",
    "TABLES",
    "THEN",
    "TUMBLE",
    "UNION",
    "VIEW",
    "WHEN",
    "WHERE",
];

/// Reads and runs statements until the user leaves.
pub async fn run(mut session: Session, mut show: Show, data_dir: &Path) -> Result<u8> {
    let config = Config::builder().max_history_size(HISTORY).map_err(fault)?.auto_add_history(true).build();
    let mut editor: Editor<Assist, DefaultHistory> = Editor::with_config(config).map_err(fault)?;
    editor.set_helper(Some(Assist { names: session.names().await?, hinter: HistoryHinter::new() }));
    let history = history_file(data_dir);
    if let Some(file) = &history {
        // There is none the first time.
        _ = editor.load_history(file);
    }
    show.timing = true;
    show.write("eagre sql: \\? for help\n")?;
    loop {
        // The prompt blocks its thread until a statement is whole.
        let read = tokio::task::block_in_place(|| editor.readline("eagre> "));
        let text = match read {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(fault(error)),
        };
        if let Some(file) = &history
            && let Err(error) = editor.append_history(file)
        {
            tracing::debug!("history: {error}");
        }
        match Typed::of(&text) {
            Typed::Nothing => {}
            Typed::Leave => break,
            Typed::Help => show.write(HELP)?,
            Typed::Statements(sql) => {
                if let Err(error) = session.run(&sql, "input", &mut show).await {
                    eprintln!("error: {error}");
                }
            }
            Typed::Unknown(command) => eprintln!("error: no command '{command}'; \\? shows what there is"),
        }
        if let (Some(helper), Ok(names)) = (editor.helper_mut(), session.names().await) {
            helper.names = names;
        }
    }
    Ok(0)
}

fn fault(error: ReadlineError) -> Error {
    Error::failed("the terminal cannot be used").because(error)
}

/// In the data directory, once there is one; else in the home directory.
fn history_file(data_dir: &Path) -> Option<PathBuf> {
    if data_dir.is_dir() {
        return Some(data_dir.join("sql_history"));
    }
    std::env::home_dir().map(|home| home.join(".eagre_history"))
}

/// What a text means to the shell.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Nothing,
    Leave,
    Help,
    Statements(String),
    Unknown(String),
}

impl Typed {
    fn of(text: &str) -> Typed {
        let text = text.trim();
        let (command, argument) = text.split_once(char::is_whitespace).map_or((text, ""), |(c, a)| (c, a.trim()));
        match command.trim_end_matches(';') {
            "" => Typed::Nothing,
            "\\q" | "quit" | "exit" => Typed::Leave,
            "\\?" | "help" => Typed::Help,
            "\\d" | "\\dt" if argument.is_empty() => Typed::Statements("SHOW TABLES".to_owned()),
            "\\d" => Typed::Statements(format!("DESCRIBE {}", argument.trim_end_matches(';'))),
            other if other.starts_with('\\') => Typed::Unknown(other.to_owned()),
            _ => Typed::Statements(text.to_owned()),
        }
    }
}

/// Is the last statement of `text` ended by `;` (outside quotes and comments)?
fn is_whole(text: &str) -> bool {
    let mut ended = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' | '`' => {
                ended = false;
                // A doubled quote closes and opens again: the same for this purpose.
                if !chars.any(|inner| inner == c) {
                    return false;
                }
            }
            '-' if chars.peek() == Some(&'-') => {
                chars.by_ref().find(|inner| *inner == '\n');
            }
            '/' if chars.peek() == Some(&'*') => {
                let mut last = ' ';
                if !chars.any(|inner| std::mem::replace(&mut last, inner) == '*' && inner == '/') {
                    return false;
                }
            }
            ';' => ended = true,
            c if c.is_whitespace() => {}
            _ => ended = false,
        }
    }
    ended
}

/// Helps with a line: knows when it is whole, what may follow, what was typed before.
#[derive(Helper, Highlighter, Hinter)]
struct Assist {
    names: Vec<String>,
    #[rustyline(Hinter)]
    hinter: HistoryHinter,
}

impl Validator for Assist {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input().trim();
        let whole = is_whole(text) || !matches!(Typed::of(text), Typed::Statements(sql) if sql == text);
        Ok(if whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Assist {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (from, found) = completions(&self.names, line, at);
        Ok((from, found.into_iter().map(|name| Pair { display: name.clone(), replacement: name }).collect()))
    }
}

/// Where the word at `at` begins, and what it may become: names first, then keywords.
fn completions(names: &[String], line: &str, at: usize) -> (usize, Vec<String>) {
    let before = &line[..at];
    let from = before
        .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
        .map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
    let word = &before[from..];
    if word.is_empty() {
        return (from, Vec::new());
    }
    let begins =
        |name: &&str| name.len() >= word.len() && name.is_char_boundary(word.len()) && name[..word.len()].eq_ignore_ascii_case(word);
    let mut found: Vec<String> = names.iter().map(String::as_str).filter(begins).map(str::to_owned).collect();
    // Keywords in the case that is being typed.
    let lower = word.chars().all(|c| !c.is_uppercase());
    found.extend(KEYWORDS.iter().copied().filter(begins).map(|keyword| if lower { keyword.to_lowercase() } else { keyword.to_owned() }));
    (from, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_whole_at_its_semicolon() {
        for (text, whole) in [
            ("SELECT 1;", true),
            ("SELECT 1; -- done", true),
            ("SELECT 1; SELECT 2", false),
            ("SELECT ';", false),
            ("SELECT 'it''s;';", true),
            ("SELECT 1 -- ;", false),
            ("SELECT 1 /* ; */", false),
            ("SELECT 1 /* ; */;", true),
            ("SELECT `a;", false),
        ] {
            assert_eq!(is_whole(text), whole, "{text}");
        }
    }

    #[test]
    fn commands_are_told_from_statements() {
        for (text, typed) in [
            ("  ", Typed::Nothing),
            ("\\q", Typed::Leave),
            ("exit;", Typed::Leave),
            ("\\d", Typed::Statements("SHOW TABLES".into())),
            ("\\d orders;", Typed::Statements("DESCRIBE orders".into())),
            ("\\x", Typed::Unknown("\\x".into())),
            ("SELECT 1;", Typed::Statements("SELECT 1;".into())),
        ] {
            assert_eq!(Typed::of(text), typed, "{text}");
        }
    }

    #[test]
    fn names_and_keywords_complete_the_word_at_the_cursor() {
        let names: Vec<String> = ["orders", "order_totals", "system.metrics", "straße"].map(String::from).to_vec();
        let of = |line: &str| completions(&names, line, line.len());
        assert_eq!(of("SELECT * FROM ord"), (14, vec!["orders".into(), "order_totals".into(), "order".into()]));
        assert_eq!(of("SEL"), (0, vec!["SELECT".into()]));
        assert_eq!(of("sel"), (0, vec!["select".into()]));
        assert_eq!(of("FROM system.m"), (5, vec!["system.metrics".into()]));
        assert_eq!(of("SUM(strß"), (4, vec![]));
        assert_eq!(of("FROM "), (5, vec![]));
    }
}

//! The outcome of fixtures as JUnit XML: a suite per file, a case per test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::Outcome;

/// The report.
pub fn report(outcomes: &[Outcome<'_>]) -> String {
    let mut suites: BTreeMap<&str, Vec<&Outcome<'_>>> = BTreeMap::new();
    for outcome in outcomes {
        suites.entry(outcome.fixture.place.name.as_str()).or_default().push(outcome);
    }
    let all: Vec<&Outcome<'_>> = outcomes.iter().collect();
    let mut xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"eagre test\" {}>\n", figures(&all));
    for (file, outcomes) in suites {
        _ = writeln!(xml, "  <testsuite name=\"{}\" {}>", escaped(file), figures(&outcomes));
        for outcome in outcomes {
            case(outcome, &mut xml);
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn case(outcome: &Outcome<'_>, xml: &mut String) {
    let (name, place) = (&outcome.fixture.name, &outcome.fixture.place);
    let line = place.line_col.map_or(1, |(line, _)| line);
    let (file, time) = (escaped(&place.name), seconds(outcome.took));
    _ = write!(xml, "    <testcase name=\"{}\" classname=\"{file}\" file=\"{file}\" line=\"{line}\" time=\"{time}\"", escaped(name));
    let lines = outcome.lines();
    match lines.first() {
        None => xml.push_str("/>\n"),
        Some(first) => {
            let kind = if outcome.failed.is_ok() { "failure" } else { "error" };
            _ = writeln!(xml, ">\n      <{kind} message=\"{}\">{}</{kind}>\n    </testcase>", escaped(first), escaped(&lines.join("\n")));
        }
    }
}

fn figures(outcomes: &[&Outcome<'_>]) -> String {
    let failures = outcomes.iter().filter(|outcome| outcome.failed.as_ref().is_ok_and(|mismatches| !mismatches.is_empty())).count();
    let errors = outcomes.iter().filter(|outcome| outcome.failed.is_err()).count();
    let time = seconds(outcomes.iter().map(|outcome| outcome.took).sum());
    format!("tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{time}\"", outcomes.len())
}

fn seconds(took: Duration) -> String {
    format!("{:.3}", took.as_secs_f64())
}

/// The text between tags or quotes. Characters that XML cannot hold at all become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c < ' ' || c == '\u{FFFE}' || c == '\u{FFFF}' => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Place};
    use crate::fixture::{Mismatch, read};

    #[test]
    fn a_suite_a_file_and_a_case_a_test() {
        let text = |name: &str| format!("test: {name}\ngiven: {{}}\nexpect: {{ t: 1 }}\n");
        let fixtures = |file: &str, name: &str| read::fixtures(&text(name), file).unwrap().remove(0);
        let (a, b, c) = (fixtures("tests/a.yaml", "'x < y & \"z\"'"), fixtures("tests/a.yaml", "two"), fixtures("tests/b.yaml", "three"));
        let mismatch =
            Mismatch { place: Place::text("tests/a.yaml", 3, 11), summary: "t: 1 row is missing".into(), lines: vec!["k: \u{1}<".into()] };
        let took = Duration::from_millis(5);
        let outcomes = [
            Outcome { fixture: &a, failed: Ok(vec![]), took },
            Outcome { fixture: &b, failed: Ok(vec![mismatch]), took },
            Outcome { fixture: &c, failed: Err(Error::failed("full")), took },
        ];
        let wanted = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites name=\"eagre test\" tests=\"3\" failures=\"1\" errors=\"1\" time=\"0.015\">
  <testsuite name=\"tests/a.yaml\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"0.010\">
    <testcase name=\"x &lt; y &amp; &quot;z&quot;\" classname=\"tests/a.yaml\" file=\"tests/a.yaml\" line=\"1\" time=\"0.005\"/>
    <testcase name=\"two\" classname=\"tests/a.yaml\" file=\"tests/a.yaml\" line=\"1\" time=\"0.005\">
      <failure message=\"tests/a.yaml:3:11: t: 1 row is missing\">tests/a.yaml:3:11: t: 1 row is missing
  k: \u{FFFD}&lt;</failure>
    </testcase>
  </testsuite>
  <testsuite name=\"tests/b.yaml\" tests=\"1\" failures=\"0\" errors=\"1\" time=\"0.005\">
    <testcase name=\"three\" classname=\"tests/b.yaml\" file=\"tests/b.yaml\" line=\"1\" time=\"0.005\">
      <error message=\"the pipeline stopped: full\">the pipeline stopped: full</error>
    </testcase>
  </testsuite>
</testsuites>
";
        assert_eq!(report(&outcomes), wanted);
    }
}

//! A rule inside the text of its file: found, replaced and taken out without touching the others.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::rules::form::RuleText;

/// Where the document of `rule` stands in the text of its file, without the lines `---` around it.
pub fn of(text: &str, rule: &RuleText) -> Result<Range<usize>> {
    let wanted = rule.name.place.line_col.map_or(1, |(line, _)| line);
    let mut start = 0;
    let mut at = 0;
    let mut found = false;
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        let divides = line.trim_end() == "---" || line.starts_with("--- ");
        if divides && found {
            return Ok(start..at);
        }
        at += line.len();
        if divides {
            start = at;
        }
        found |= number == wanted;
    }
    if found { Ok(start..at) } else { Err(Error::bug(format!("rule '{}' is not in its file", rule.name.text))) }
}

/// The text with `document` in the place of the rule.
pub fn replaced(text: &str, rule: &RuleText, document: &str) -> Result<String> {
    let place = of(text, rule)?;
    let end = if document.ends_with('\n') { "" } else { "\n" };
    Ok(format!("{}{document}{end}{}", &text[..place.start], &text[place.end..]))
}

/// The text without the rule; `None`: there was no other in it.
pub fn removed(text: &str, rule: &RuleText, rules: usize) -> Result<Option<String>> {
    if rules <= 1 {
        return Ok(None);
    }
    let place = of(text, rule)?;
    let (before, after) = (&text[..place.start], &text[place.end..]);
    // Of the two dividers around it one goes, too.
    let after = after.split_once('\n').map_or("", |(_, rest)| rest);
    let before = if after.is_empty() { before.trim_end().strip_suffix("---").unwrap_or(before) } else { before };
    Ok(Some(format!("{before}{after}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::read;

    fn rule(name: &str) -> String {
        format!("rule: {name}\non: t\nkey: none\nmatch: {{ count: {{ over: 1h, more_than: 5 }} }}\nemit: {{ type: t.A }}\n")
    }

    #[test]
    fn one_of_several_is_replaced_and_removed() {
        let text = format!("# first\n{}---\n{}---\n{}", rule("a"), rule("b"), rule("c"));
        let rules = read::rules(&text, "r.yaml").unwrap();
        let names = |text: &str| read::rules(text, "r.yaml").unwrap().iter().map(|rule| rule.name.text.clone()).collect::<Vec<_>>();
        for (number, (name, left)) in [("a", ["b", "c"]), ("b", ["a", "c"]), ("c", ["a", "b"])].into_iter().enumerate() {
            assert!(text[of(&text, &rules[number]).unwrap()].contains(&format!("rule: {name}\n")));
            assert_eq!(names(&removed(&text, &rules[number], 3).unwrap().unwrap()), left);
            let mut all = ["a", "b", "c"].map(str::to_owned);
            all[number] = "new".to_owned();
            assert_eq!(names(&replaced(&text, &rules[number], rule("new").trim_end()).unwrap()), all);
        }
        assert_eq!(removed(&rule("a"), &rules[0], 1).unwrap(), None);
    }
}

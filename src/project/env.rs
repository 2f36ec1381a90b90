//! `${NAME}` and `${NAME:-default}` in texts of the project.

use crate::error::{Error, Result};

/// Replaces what `lookup` knows. `$$` is a plain `$`. Errors: a variable that is not set and has no default, an open `${`.
pub fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = after.find('}').ok_or_else(|| Error::input(format!("'${{{after}' is not closed; expected '${{NAME}}'")))?;
            let (name, default) = match after[..end].split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (&after[..end], None),
            };
            let value = lookup(name).filter(|value| !value.is_empty() || default.is_none()).or_else(|| default.map(str::to_owned));
            out.push_str(&value.ok_or_else(|| {
                Error::input(format!("the environment variable {name} is not set; set it, or write ${{{name}:-default}}"))
            })?);
            rest = &after[end + 1..];
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_defaults_are_filled_in() {
        let lookup = |name: &str| (name == "HOST").then(|| "box".to_owned());
        let told = |text: &str| expand(text, &lookup).map_err(|e| e.to_string());
        assert_eq!(told("${HOST}:${PORT:-5433} $5 $${HOST}").unwrap(), "box:5433 $5 ${HOST}");
        assert!(told("${PORT}").unwrap_err().contains("PORT is not set"));
        assert!(told("${PORT").unwrap_err().contains("not closed"));
    }
}

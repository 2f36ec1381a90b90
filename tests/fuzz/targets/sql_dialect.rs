//! Any text as Flink SQL: it is read or refused, what is read is declared, planned or refused; nothing panics.
#![no_main]

use eagre::sql::catalog::Catalog;
use eagre::sql::plan::Planner;
use eagre::sql::statement::{Statement, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(statements) = parse(text, "fuzz.sql") else { return };
    let mut catalog = Catalog::new();
    for statement in statements {
        _ = catalog.apply(&statement);
        match &statement.value {
            Statement::Insert(insert) => _ = Planner::new(&catalog).plan_insert(insert),
            Statement::Query(query) => _ = Planner::new(&catalog).plan_query(query),
            _ => {}
        }
    }
});

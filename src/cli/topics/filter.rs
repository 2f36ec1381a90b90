//! `--where`: lines of JSON that a condition of SQL keeps.
//!
//! The fields of a record's value are columns, and so are `partition`, `offset`, `timestamp`, `key` and what else the
//! line says of the record; `value` is the whole value. A field that a record lacks is NULL.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::reader::infer_json_schema_from_iterator;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use serde_json::{Map, Value};

use crate::error::{Error, Result, did_you_mean};

/// A condition over records.
pub struct Filter {
    condition: String,
    /// Columns that the condition names.
    wanted: BTreeSet<String>,
    /// Of those, the ones that some record has had.
    met: BTreeSet<String>,
    /// All columns that there have been.
    known: BTreeSet<String>,
    session: SessionContext,
}

impl Filter {
    /// Reads a condition.
    pub fn new(condition: &str) -> Result<Self> {
        let fault = |e: &dyn std::fmt::Display| Error::input(format!("--where '{condition}': {e}"));
        let mut parser = datafusion::sql::sqlparser::parser::Parser::new(&datafusion::sql::sqlparser::dialect::GenericDialect {})
            .try_with_sql(condition)
            .map_err(|e| fault(&e))?;
        let parsed = parser.parse_expr().map_err(|e| fault(&e))?;
        if parser.peek_token().token != datafusion::sql::sqlparser::tokenizer::Token::EOF {
            return Err(fault(&format!("'{}' behind the condition", parser.peek_token())));
        }
        let mut wanted = BTreeSet::new();
        _ = datafusion::sql::sqlparser::ast::visit_expressions(&parsed, |expr| {
            use datafusion::sql::sqlparser::ast::Expr;
            match expr {
                Expr::Identifier(name) => _ = wanted.insert(name.value.clone()),
                Expr::CompoundIdentifier(names) => wanted.extend(names.first().map(|name| name.value.clone())),
                _ => {}
            }
            std::ops::ControlFlow::<()>::Continue(())
        });
        let mut config = SessionConfig::new().with_target_partitions(1);
        // Identifiers are what they are, as everywhere here.
        config.options_mut().sql_parser.enable_ident_normalization = false;
        let session = SessionContext::new_with_config(config);
        Ok(Filter { condition: condition.to_owned(), wanted, met: BTreeSet::new(), known: BTreeSet::new(), session })
    }

    /// The lines that it keeps.
    pub async fn keep(&mut self, lines: &str) -> Result<String> {
        let kept = self.judge(lines).await?;
        Ok(lines.lines().zip(kept).filter(|(_, kept)| *kept).map(|(line, _)| format!("{line}\n")).collect())
    }

    /// Per line: is it kept?
    pub async fn judge(&mut self, lines: &str) -> Result<Vec<bool>> {
        let rows: Vec<Value> = lines.lines().map(flat).collect::<Result<_>>()?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        for row in rows.iter().filter_map(Value::as_object) {
            self.known.extend(row.keys().cloned());
        }
        let rows_judged = rows.len();
        let rows = self.table(&rows)?;
        let schema = rows.schema();
        self.session.deregister_table("records")?;
        self.session.register_table("records", Arc::new(MemTable::try_new(schema, vec![vec![rows]])?))?;
        let query = format!("SELECT ({}) FROM records", self.condition);
        let judged = self.session.sql(&query).await?.collect().await;
        let judged = judged.map_err(|e| Error::input(format!("--where '{}'", self.condition)).because(e))?;
        let mut kept = Vec::with_capacity(rows_judged);
        for batch in judged {
            let Some(verdicts) = batch.column(0).as_boolean_opt() else {
                let found = batch.column(0).data_type();
                return Err(Error::input(format!("--where '{}' is {found}, no condition", self.condition)));
            };
            kept.extend(verdicts.iter().map(|verdict| verdict == Some(true)));
        }
        Ok(kept)
    }

    /// A name in the condition that no record has had, as a warning.
    pub fn never_met(&self) -> Option<String> {
        let name = self.wanted.difference(&self.met).next().filter(|_| !self.known.is_empty())?;
        let near = did_you_mean(name, self.known.iter().map(String::as_str));
        Some(format!("no record has had a field '{name}', which --where names{near}"))
    }

    /// The records as columns, those that the condition names among them.
    fn table(&mut self, rows: &[Value]) -> Result<RecordBatch> {
        // Only what is asked for: other fields may be of any kind.
        let asked = |row: &Value| -> Value {
            let fields = row.as_object().into_iter().flatten();
            fields
                .filter(|(name, _)| self.wanted.contains(*name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect::<Map<_, _>>()
                .into()
        };
        let rows: Vec<Value> = rows.iter().map(asked).collect();
        let inferred = infer_json_schema_from_iterator(rows.iter().map(|row| Ok(row.clone())))?;
        self.met.extend(inferred.fields().iter().map(|field| field.name().clone()));
        let mut decoder =
            arrow::json::ReaderBuilder::new(Arc::new(inferred)).with_batch_size(rows.len()).with_coerce_primitive(true).build_decoder()?;
        decoder.serialize(&rows)?;
        let read = decoder.flush()?;
        let (mut fields, mut columns): (Vec<Arc<Field>>, Vec<ArrayRef>) = match &read {
            Some(batch) => (batch.schema().fields().iter().cloned().collect(), batch.columns().to_vec()),
            None => Default::default(),
        };
        for name in &self.wanted {
            if !fields.iter().any(|field| field.name() == name) {
                fields.push(Arc::new(Field::new(name, DataType::Utf8, true)));
                columns.push(new_null_array(&DataType::Utf8, rows.len()));
            }
        }
        let sized = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &sized)?)
    }
}

/// A line with the fields of its value beside what is said of the record.
fn flat(line: &str) -> Result<Value> {
    let record: Map<String, Value> = serde_json::from_str(line).map_err(|e| Error::bug("a record is no line of JSON").because(e))?;
    let mut fields = record.get("value").and_then(Value::as_object).cloned().unwrap_or_default();
    fields.extend(record);
    Ok(fields.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "{\"offset\":1,\"key\":\"a\",\"value\":{\"user\":\"ann\",\"amount\":5}}\n\
                         {\"offset\":2,\"value\":{\"user\":\"bob\",\"amount\":50.5,\"tags\":{\"vip\":true}}}\n\
                         {\"offset\":3,\"value\":\"no object\"}\n";

    async fn offsets(condition: &str) -> Vec<i64> {
        let kept = Filter::new(condition).unwrap().keep(LINES).await.unwrap();
        kept.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["offset"].as_i64().unwrap()).collect()
    }

    #[tokio::test]
    async fn records_are_kept_by_fields_of_their_values_and_by_what_is_around_them() {
        assert_eq!(offsets("amount > 10").await, [2]);
        assert_eq!(offsets("\"user\" LIKE '%n%' OR \"offset\" = 3").await, [1, 3]);
        assert_eq!(offsets("key IS NULL").await, [2, 3]);
        assert_eq!(offsets("tags['vip']").await, [2]);
        assert_eq!(offsets("nothing IS NULL").await, [1, 2, 3]);
        assert_eq!(offsets("1 = 1").await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn what_is_no_condition_and_what_no_record_has_is_told() {
        assert!(Filter::new("amount >").err().unwrap().to_string().starts_with("--where 'amount >': "));
        assert!(Filter::new("a = 1 b").err().unwrap().to_string().contains("'b' behind the condition"));
        let mut filter = Filter::new("amout > 1").unwrap();
        filter.keep(LINES).await.unwrap();
        assert_eq!(filter.never_met().unwrap(), "no record has had a field 'amout', which --where names; did you mean 'amount'?");
        assert!(Filter::new("amount").unwrap().keep(LINES).await.unwrap_err().to_string().contains("no condition"));
    }
}

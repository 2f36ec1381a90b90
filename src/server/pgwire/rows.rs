//! Rows as the client gets them: columns by the names that PostgreSQL gives them, and the text form of ROWs.
//!
//! In text a ROW is `(1,"a b",)`: nothing between commas is NULL, `""` is an empty text. Whatever stands in a ROW is written
//! as outside of one, and then quoted.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Buf;
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use datafusion_postgres::pgwire::api::Type;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{FieldFormat, FieldInfo};
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::data::DataRow;
use datafusion_postgres::pgwire::types::format::FormatOptions;

use super::{names, to_wire};
use crate::error::Error;

/// What the client is told of the columns.
pub(super) fn described(schema: &Schema, format: &Format, options: Option<Arc<FormatOptions>>) -> PgWireResult<Vec<FieldInfo>> {
    let named = schema.fields().iter().map(|field| match names::shown(field.name()) {
        shown if shown == field.name() => field.clone(),
        shown => Arc::new(field.as_ref().clone().with_name(shown)),
    });
    arrow_schema_to_pg_fields(&Schema::new(named.collect::<Vec<_>>()), format, options)
}

/// Writes the rows of one answer.
pub(super) struct Written {
    /// How each column is written.
    fields: Arc<Vec<FieldInfo>>,
    /// Columns that are made texts first.
    composite: Vec<usize>,
}

impl Written {
    /// Rows of `schema`, as `described` says.
    pub(super) fn new(schema: &Schema, described: &[FieldInfo]) -> Self {
        let is_text = |at: &usize| is_composite(schema.field(*at).data_type()) && described[*at].format() == FieldFormat::Text;
        let composite: Vec<usize> = (0..described.len()).filter(is_text).collect();
        let mut fields = described.to_vec();
        for at in &composite {
            fields[*at] = text_field(&described[*at]);
        }
        Written { fields: Arc::new(fields), composite }
    }

    /// The rows of a batch.
    pub(super) fn rows(&self, batch: RecordBatch) -> PgWireResult<Box<dyn Iterator<Item = PgWireResult<DataRow>> + Send>> {
        if self.composite.is_empty() {
            return Ok(Box::new(encode_recordbatch(self.fields.clone(), batch)));
        }
        let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
        let mut columns = batch.columns().to_vec();
        for at in &self.composite {
            let texts: StringArray = texts(&columns[*at], self.fields[*at].format_options())?.into_iter().collect();
            columns[*at] = Arc::new(texts);
            fields[*at] = Arc::new(Field::new(fields[*at].name(), DataType::Utf8, true));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options);
        Ok(Box::new(encode_recordbatch(self.fields.clone(), batch.map_err(|error| to_wire(error.into()))?)))
    }
}

fn text_field(of: &FieldInfo) -> FieldInfo {
    FieldInfo::new(of.name().to_owned(), None, None, Type::TEXT, FieldFormat::Text).with_format_options(of.format_options().clone())
}

/// Is it a ROW, or an array of them?
fn is_composite(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(_) => true,
        DataType::List(element) | DataType::LargeList(element) => is_composite(element.data_type()),
        _ => false,
    }
}

/// The text form of each value.
fn texts(values: &ArrayRef, options: &Arc<FormatOptions>) -> PgWireResult<Vec<Option<String>>> {
    match values.data_type() {
        DataType::Struct(_) => {
            let rows = values.as_struct();
            let columns = rows.columns().iter().map(|column| texts(column, options)).collect::<PgWireResult<Vec<_>>>()?;
            let row = |at: usize| {
                let fields: Vec<String> = columns.iter().map(|column| column[at].as_deref().map_or_else(String::new, in_row)).collect();
                format!("({})", fields.join(","))
            };
            Ok((0..rows.len()).map(|at| rows.is_valid(at).then(|| row(at))).collect())
        }
        DataType::List(element) if is_composite(element.data_type()) => of_lists::<i32>(values, options),
        DataType::LargeList(element) if is_composite(element.data_type()) => of_lists::<i64>(values, options),
        _ => plain(values, options),
    }
}

fn of_lists<O: OffsetSizeTrait>(values: &ArrayRef, options: &Arc<FormatOptions>) -> PgWireResult<Vec<Option<String>>> {
    let lists = values.as_list::<O>();
    let offsets: Vec<usize> = lists.value_offsets().iter().map(|offset| offset.as_usize()).collect();
    let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
    let elements = texts(&lists.values().slice(first, last - first), options)?;
    let list = |at: usize| {
        let elements = &elements[offsets[at] - first..offsets[at + 1] - first];
        let elements: Vec<String> = elements.iter().map(|text| text.as_deref().map_or_else(|| "NULL".to_owned(), in_array)).collect();
        format!("{{{}}}", elements.join(","))
    };
    Ok((0..lists.len()).map(|at| lists.is_valid(at).then(|| list(at))).collect())
}

/// Values that are no ROWs, as they are written outside of one.
fn plain(values: &ArrayRef, options: &Arc<FormatOptions>) -> PgWireResult<Vec<Option<String>>> {
    let schema = Arc::new(Schema::new(vec![Field::new("", values.data_type().clone(), true)]));
    let fields = arrow_schema_to_pg_fields(&schema, &Format::UnifiedText, Some(options.clone()))?;
    let batch = RecordBatch::try_new(schema, vec![values.clone()]).map_err(|error| to_wire(error.into()))?;
    let text = |row: PgWireResult<DataRow>| {
        // The length, -1 for NULL, and the text.
        let mut data = row?.data;
        match data.get_i32() {
            -1 => Ok(None),
            _ => String::from_utf8(data.to_vec()).map(Some).map_err(|error| to_wire(Error::bug(format!("a value as text: {error}")))),
        }
    };
    encode_recordbatch(Arc::new(fields), batch).map(text).collect()
}

fn in_row(text: &str) -> String {
    let quoted = text.is_empty() || text.contains(|c: char| matches!(c, '"' | '\\' | '(' | ')' | ',') || c.is_ascii_whitespace());
    if quoted { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\"")) } else { text.to_owned() }
}

fn in_array(text: &str) -> String {
    let special = text.contains(|c: char| matches!(c, '"' | '\\' | '{' | '}' | ',') || c.is_ascii_whitespace());
    let quoted = special || text.is_empty() || text.eq_ignore_ascii_case("null");
    if quoted { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray, StructArray};
    use arrow::buffer::{NullBuffer, OffsetBuffer};
    use arrow::datatypes::Fields;

    use super::*;

    #[test]
    fn rows_read_as_those_of_postgresql() {
        let fields: Fields = vec![Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8, true)].into();
        let numbers = Int64Array::from(vec![Some(1), None, Some(3), Some(4)]);
        let words = StringArray::from(vec![Some("a \"b\""), Some(""), None, Some("\\(")]);
        let nulls = NullBuffer::from(vec![true, true, true, true]);
        let rows = StructArray::new(fields, vec![Arc::new(numbers), Arc::new(words)], Some(nulls));
        let element = Arc::new(Field::new_list_field(rows.data_type().clone(), true));
        let lists = ListArray::new(element, OffsetBuffer::from_lengths([2, 0, 2]), Arc::new(rows.clone()), None);
        let options = Arc::new(FormatOptions::default());
        let of = |values: ArrayRef| texts(&values, &options).unwrap().into_iter().map(Option::unwrap).collect::<Vec<_>>();
        assert_eq!(of(Arc::new(rows)), [r#"(1,"a ""b""")"#, r#"(,"")"#, "(3,)", r#"(4,"\\(")"#]);
        let last = lists.slice(2, 1);
        assert_eq!(of(Arc::new(lists)), [r#"{"(1,\"a \"\"b\"\"\")","(,\"\")"}"#, "{}", r#"{"(3,)","(4,\"\\\\(\")"}"#]);
        assert_eq!(of(Arc::new(last)), [r#"{"(3,)","(4,\"\\\\(\")"}"#]);
    }
}

//! `datagen`: made-up rows for trying things out, with Flink's options and some of our own.
//!
//! Always holds: a value is a pure function of (seed, field, row number), so that runs, restarts and machines agree;
//! only timestamps that follow the wall clock do not. Read `field.rs` for what each kind of field makes.

mod field;
mod options;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};

use self::field::Field;
use self::options::DatagenOptions;
use super::generated::{GeneratedSource, Maker, Rate, Schedule, parse_start_time};
use super::options as read;
use super::table::{ConfiguredSource, TableRequest};
use crate::error::{Error, Result, did_you_mean};
use crate::format::FormatConfig;

/// Its name in `'connector'`.
pub const NAME: &str = "datagen";

/// The source of a table.
pub fn source(request: &TableRequest<'_>) -> Result<ConfiguredSource> {
    let (of_fields, of_table): (BTreeMap<_, _>, BTreeMap<_, _>) =
        request.options.clone().into_iter().partition(|(key, _)| key.starts_with(FIELDS));
    let options: DatagenOptions = read::parse(NAME, &of_table)?;
    if options.per_second == 0 || options.partitions == 0 {
        return Err(Error::input(format!("connector '{NAME}': 'rows-per-second' and 'partitions' must be above zero")));
    }
    let mut per_field = per_field(of_fields)?;
    let fields = request
        .columns
        .iter()
        .map(|column| Field::new(column.name(), column.data_type(), options.seed, &mut per_field))
        .collect::<Result<Vec<_>>>()?;
    if let Some((path, _)) = per_field.first_key_value() {
        let near = did_you_mean(path, request.columns.iter().map(|column| column.name().as_str()));
        return Err(Error::input(format!("connector '{NAME}': option '{FIELDS}{path}.…': the table has no such column{near}")));
    }
    let schedule = Schedule {
        partitions: options.partitions,
        // A sequence that ends, ends the table.
        total: fields.iter().filter_map(Field::rows).chain(options.rows).min(),
        rate: Rate::per_second(options.per_second),
        start_micros: options.start_time.as_deref().map(parse_start_time).transpose()?,
    };
    let what: Vec<String> = request.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let maker = DatagenMaker { schema: Arc::new(Schema::new(request.columns.to_vec())), fields, rate: schedule.rate };
    // The options make the rows: together they are what the source is.
    let what = if what.is_empty() { String::new() } else { format!("{} ", what.join(" ")) };
    let source = GeneratedSource::new(NAME, what, Arc::new(maker), schedule);
    Ok(ConfiguredSource::new(Arc::new(source), FormatConfig::Rows))
}

/// What options of fields begin with.
const FIELDS: &str = "fields.";

/// Options by column: `fields.a.b.kind` is option `kind` of the field `b` of the ROW `a`.
fn per_field(options: BTreeMap<String, String>) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut fields: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (key, value) in options {
        let (path, option) = key[FIELDS.len()..]
            .rsplit_once('.')
            .ok_or_else(|| Error::input(format!("connector '{NAME}': unknown option '{key}'; expected {FIELDS}<column>.<option>")))?;
        fields.entry(path.to_owned()).or_default().insert(option.to_owned(), value);
    }
    Ok(fields)
}

/// Makes the rows of a table.
#[derive(Debug)]
struct DatagenMaker {
    schema: SchemaRef,
    fields: Vec<Field>,
    /// How often rows happen.
    rate: Rate,
}

impl Maker for DatagenMaker {
    fn make(&self, numbers: &[u64], first_micros: i64) -> Result<RecordBatch> {
        let times: Vec<i64> = numbers.iter().map(|number| first_micros + self.rate.after(*number)).collect();
        let columns = self.fields.iter().map(|field| field.make(numbers, &times)).collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::contract::{check_source, columns, request};
    use arrow::datatypes::{DataType, Field as ArrowField, TimeUnit};

    fn told(options: &[(&str, &str)]) -> String {
        source(&request(options, &columns())).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn rows_are_the_same_however_they_are_read() {
        let options = [
            ("number-of-rows", "10000"),
            ("start-time", "2024-01-01"),
            ("partitions", "2"),
            ("fields.name.values", "created*3|shipped"),
            ("fields.n.min", "1"),
            ("fields.n.max", "3"),
        ];
        let rows = check_source(&*source(&request(&options, &columns())).unwrap().source).await.concat();
        assert_eq!(rows.len(), 10_000);
        let share = |text: &str| rows.iter().filter(|row| row.contains(text)).count();
        assert!((7300..7700).contains(&share("created")), "{}", share("created"));
        for n in [",1", ",2", ",3"] {
            assert!((3100..3600).contains(&share(n)), "{n}: {}", share(n));
        }
    }

    #[tokio::test]
    async fn sequences_patterns_and_times_follow_the_row_number() {
        let columns = [
            Arc::new(ArrowField::new("id", DataType::Utf8View, true)),
            Arc::new(ArrowField::new("n", DataType::Int32, true)),
            Arc::new(ArrowField::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true)),
        ];
        let options = [
            ("start-time", "2024-01-01"),
            ("rows-per-second", "2"),
            ("fields.id.kind", "sequence"),
            ("fields.id.pattern", "O-####"),
            ("fields.id.start", "7"),
            ("fields.id.end", "9"),
            ("fields.n.null-rate", "1"),
        ];
        let rows = check_source(&*source(&request(&options, &columns)).unwrap().source).await.concat();
        assert_eq!(rows, ["O-0007,NULL,2024-01-01T00:00:00", "O-0008,NULL,2024-01-01T00:00:00.500", "O-0009,NULL,2024-01-01T00:00:01"]);
    }

    #[test]
    fn faults_name_the_option() {
        assert!(told(&[("fields.nme.kind", "random")]).ends_with("did you mean 'name'?"));
        assert!(told(&[("fields.n.kind", "randm")]).ends_with("did you mean 'random'?"));
        assert!(told(&[("fields.n.min", "5"), ("fields.n.max", "1")]).contains("'min' is above 'max'"));
        assert!(told(&[("fields.n.values", "1|x")]).contains("'x'"));
        assert!(told(&[("rows-per-secnd", "5")]).ends_with("did you mean 'rows-per-second'?"));
        assert!(told(&[("fields.n.pattern", "x#")]).contains("STRING"));
    }
}

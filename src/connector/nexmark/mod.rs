//! `nexmark`: the events of an auction site, the field's usual measure for streaming queries.
//!
//! `event.rs` says what happens, `columns.rs` puts it into the columns that the table asks for.

mod columns;
mod event;
mod options;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use self::columns::Column;
use self::options::NexmarkOptions;

use super::generated::{GeneratedSource, Maker, Rate, Schedule, parse_start_time};
use super::options as read;
use super::table::{ConfiguredSource, TableRequest};
use crate::error::{Error, Result};
use crate::format::FormatConfig;

pub use self::event::Event;
pub use self::options::Kind;

/// Its name in `'connector'`.
pub const NAME: &str = "nexmark";

/// The source of a table.
pub fn source(request: &TableRequest<'_>) -> Result<ConfiguredSource> {
    let options: NexmarkOptions = read::parse(NAME, &request.options)?;
    if options.rate == 0 || options.partitions == 0 {
        return Err(Error::input(format!("connector '{NAME}': 'first-event.rate' and 'partitions' must be above zero")));
    }
    let columns = request.columns.iter().map(|column| Column::new(column, options.table)).collect::<Result<_>>()?;
    let (some, all) = options.table.map_or((1, 1), Kind::share);
    let among = |events| options.table.map_or(events, |kind| kind.among(events));
    let schedule = Schedule {
        partitions: options.partitions,
        total: (options.events > 0).then(|| among(options.events)),
        rate: Rate { rows: options.rate * some, micros: Rate::per_second(1).micros * all },
        start_micros: options.start_time.as_deref().map(parse_start_time).transpose()?,
    };
    let what: Vec<String> = request.options.iter().map(|(key, value)| format!("{key}={value} ")).collect();
    let maker = NexmarkMaker {
        schema: Arc::new(Schema::new(request.columns.to_vec())),
        columns,
        table: options.table,
        seed: options.seed,
        rate: Rate::per_second(options.rate),
    };
    let source = GeneratedSource::new(NAME, what.concat(), Arc::new(maker), schedule);
    Ok(ConfiguredSource::new(Arc::new(source), FormatConfig::Rows))
}

/// Makes the rows of a table.
#[derive(Debug)]
struct NexmarkMaker {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// Only events of this kind.
    table: Option<Kind>,
    seed: u64,
    /// How often events of all kinds happen.
    rate: Rate,
}

impl Maker for NexmarkMaker {
    fn make(&self, numbers: &[u64], first_micros: i64) -> Result<RecordBatch> {
        let number = |index: &u64| self.table.map_or(*index, |kind| kind.number(*index));
        let events: Vec<Event> = numbers.iter().map(|index| Event::new(self.seed, number(index))).collect();
        let times: Vec<i64> = events.iter().map(|event| first_micros + self.rate.after(event.number()) - event.late_micros()).collect();
        let columns = self.columns.iter().map(|column| column.make(&events, &times)).collect::<Result<_>>()?;
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::contract::{check_source, request};
    use arrow::datatypes::{DataType, Field};

    fn columns(columns: &[(&str, DataType)]) -> Vec<Arc<Field>> {
        columns.iter().map(|(name, data_type)| Arc::new(Field::new(*name, data_type.clone(), true))).collect()
    }

    #[tokio::test]
    async fn a_kind_of_its_own_is_plain_columns() {
        let columns = columns(&[("auction", DataType::Int64), ("channel", DataType::Utf8View), ("dateTime", DataType::Int64)]);
        let options = [("table", "bid"), ("events.num", "1000"), ("first-event.rate", "1000"), ("start-time", "2023-11-14 22:14:00")];
        let rows = check_source(&*source(&request(&options, &columns)).unwrap().source).await.concat();
        assert_eq!(rows.len(), 920);
        assert_eq!(rows[0], "0,channel-3359,1700000035221");
    }

    #[tokio::test]
    async fn all_kinds_together_are_rows_of_which_one_is_there() {
        let person = DataType::Struct(columns(&[("id", DataType::Int64), ("name", DataType::Utf8View)]).into());
        let bid = DataType::Struct(columns(&[("price", DataType::Int64)]).into());
        let columns = columns(&[("event_type", DataType::Int32), ("person", person), ("bid", bid)]);
        let options = [("events.num", "50"), ("start-time", "2024-01-01")];
        let rows = check_source(&*source(&request(&options, &columns)).unwrap().source).await.concat();
        assert_eq!(rows[0], "0,{id: 0, name: person 0},NULL");
        assert_eq!(rows[1], "1,NULL,NULL");
        assert!(rows[4].starts_with("2,NULL,{price: "), "{}", rows[4]);
    }

    #[test]
    fn a_column_that_no_event_has_is_named() {
        let told = |table: &[(&str, &str)], name: &str| {
            let columns = columns(&[(name, DataType::Int64)]);
            source(&request(table, &columns)).unwrap_err().to_string()
        };
        assert!(told(&[("table", "bid")], "prize").ends_with("did you mean 'price'?"));
        assert!(told(&[], "prson").ends_with("did you mean 'person'?"));
        assert!(told(&[("table", "bids")], "price").ends_with("did you mean 'bid'?"));
    }
}

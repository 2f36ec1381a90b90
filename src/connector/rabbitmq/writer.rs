//! Writes rows of one task: makes messages of them and stages these.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};

use super::consume::short;
use super::stage::{Head, StageWriter, Stages};
use crate::connector::{Prepared, Writer};
use crate::error::{Error, Result};
use crate::format::{Encoder, FormatConfig, METADATA_FROM};

/// The columns of a sink: those of the message itself, and those around it.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// What the format writes.
    format: Vec<usize>,
    routing_key: Option<usize>,
    message_id: Option<usize>,
    correlation_id: Option<usize>,
    content_type: Option<usize>,
    timestamp: Option<usize>,
}

impl Columns {
    /// Sorts the columns of `schema` by their metadata keys; those of an envelope are the format's.
    pub fn of(schema: &SchemaRef) -> Result<Self> {
        let mut columns = Columns::default();
        for (at, field) in schema.fields().iter().enumerate() {
            let place = match field.metadata().get(METADATA_FROM).map(String::as_str) {
                Some("routing_key") => &mut columns.routing_key,
                Some("message_id") => &mut columns.message_id,
                Some("correlation_id") => &mut columns.correlation_id,
                Some("content_type") => &mut columns.content_type,
                Some("timestamp") => &mut columns.timestamp,
                Some(key @ ("exchange" | "redelivered" | "delivery_tag" | "headers" | "offset" | "partition" | "key")) => {
                    let name = field.name();
                    let text =
                        format!("column '{name}': the metadata '{key}' is read, not written: METADATA FROM '{key}' VIRTUAL leaves it out");
                    return Err(Error::input(text));
                }
                _ => {
                    columns.format.push(at);
                    continue;
                }
            };
            let wanted = match field.data_type() {
                DataType::Timestamp(..) => "TIMESTAMP_LTZ(3)",
                DataType::Utf8 | DataType::Utf8View => "STRING",
                _ => "something else",
            };
            let is_time = field.metadata().get(METADATA_FROM).is_some_and(|key| key == "timestamp");
            if wanted != if is_time { "TIMESTAMP_LTZ(3)" } else { "STRING" } {
                let expected = if is_time { "TIMESTAMP_LTZ(3)" } else { "STRING" };
                return Err(Error::input(format!("column '{}': this metadata is {expected}, not {}", field.name(), field.data_type())));
            }
            *place = Some(at);
        }
        Ok(columns)
    }
}

/// Writes for one task.
#[derive(Debug)]
pub struct RabbitWriter {
    task: usize,
    stages: Stages,
    encoder: Box<dyn Encoder>,
    columns: Columns,
    /// The routing key of rows that bring none.
    routing_key: String,
    /// What the format's payloads are, for rows that do not say.
    content_type: Option<&'static str>,
    /// Messages of the coming epoch.
    stage: Option<StageWriter>,
    payload: Vec<u8>,
}

impl RabbitWriter {
    /// A writer of rows of `schema`.
    pub fn new(
        task: usize,
        stages: Stages,
        format: &FormatConfig,
        schema: &SchemaRef,
        columns: Columns,
        routing_key: String,
    ) -> Result<Self> {
        let encoder = format.encoder(&std::sync::Arc::new(schema.project(&columns.format)?))?;
        let content_type = match format.name() {
            "json" => Some("application/json"),
            "cloudevents" => Some("application/cloudevents+json; charset=UTF-8"),
            "csv" => Some("text/csv"),
            _ => None,
        };
        Ok(RabbitWriter { task, stages, encoder, columns, routing_key, content_type, stage: None, payload: Vec::new() })
    }
}

impl Writer for RabbitWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let columns = &self.columns;
        let text = |at: Option<usize>| at.map(|at| cast(batch.column(at), &DataType::Utf8View)).transpose();
        let (keys, ids) = (text(columns.routing_key)?, text(columns.message_id)?);
        let (correlations, kinds) = (text(columns.correlation_id)?, text(columns.content_type)?);
        let seconds = columns.timestamp.map(|at| seconds(batch.column(at))).transpose()?;
        let stage = match &mut self.stage {
            Some(stage) => stage,
            none => none.insert(self.stages.begin(self.task)?),
        };
        let rows = batch.project(&columns.format)?;
        for row in 0..batch.num_rows() {
            // A record at a time: only the encoder knows where one ends.
            self.payload.clear();
            self.encoder.encode(&rows.slice(row, 1), &mut self.payload)?;
            let payload = self.payload.strip_suffix(b"\n").unwrap_or(&self.payload);
            let of_row = |column: &Option<ArrayRef>| {
                let column = column.as_ref().map(|column| column.as_string_view()).filter(|column| column.is_valid(row));
                column.map(|column| column.value(row).to_owned())
            };
            let head = Head {
                routing_key: of_row(&keys).unwrap_or_else(|| self.routing_key.clone()),
                message_id: of_row(&ids).unwrap_or_default(),
                correlation_id: of_row(&correlations),
                content_type: of_row(&kinds).or(self.content_type.map(str::to_owned)),
                timestamp: seconds.as_ref().and_then(|seconds| seconds[row]),
            };
            // Told now, not when the message is durable and cannot be published.
            let texts = [Some(&head.routing_key), Some(&head.message_id), head.correlation_id.as_ref(), head.content_type.as_ref()];
            texts.into_iter().flatten().try_for_each(|text| short(text).map(|_| ()))?;
            stage.push(head, payload)?;
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: u64) -> Result<Option<Prepared>> {
        let Some(stage) = self.stage.take() else { return Ok(None) };
        let (name, messages) = stage.finish(epoch)?;
        Ok(Some(Prepared(serde_json::json!({ "stage": name, "messages": messages }))))
    }
}

/// Whole seconds since 1970, where a row has them.
fn seconds(column: &ArrayRef) -> Result<Vec<Option<u64>>> {
    let DataType::Timestamp(_, zone) = column.data_type() else { return Err(Error::bug("a timestamp column of another type")) };
    let seconds = cast(&cast(column, &DataType::Timestamp(TimeUnit::Second, zone.clone()))?, &DataType::Int64)?;
    Ok(seconds.as_primitive::<Int64Type>().iter().map(|seconds| seconds.and_then(|seconds| u64::try_from(seconds).ok())).collect())
}

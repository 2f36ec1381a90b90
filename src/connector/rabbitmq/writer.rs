//! Writes rows of one task: makes messages of them and stages these.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};

use super::consume::short;
use super::outbox;
use super::stage::{Head, StageWriter, Stages};
use crate::connector::{Prepared, Writer};
use crate::error::{Error, Result};
use crate::format::{Binding, CONTENT_TYPE, EncodedRecords, FormatConfig, METADATA_FROM, RecordEncoder, RecordSpec, headers_text};
use crate::time::MICROS_PER_SECOND;

/// The columns of a sink: those of the message itself, and those around it.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// What the format writes, and the headers and the timestamp of messages.
    format: Vec<usize>,
    routing_key: Option<usize>,
    message_id: Option<usize>,
    correlation_id: Option<usize>,
    content_type: Option<usize>,
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
                Some(key @ ("exchange" | "redelivered" | "delivery_tag" | "offset" | "partition" | "key")) => {
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
            if !matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View) {
                return Err(Error::input(format!("column '{}': this metadata is STRING, not {}", field.name(), field.data_type())));
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
    encoder: RecordEncoder,
    /// What the encoder made of the last batch.
    records: EncodedRecords,
    columns: Columns,
    /// The routing key of rows that bring none.
    routing_key: String,
    /// What the format's payloads are, for rows that do not say.
    content_type: Option<&'static str>,
    /// Messages of the coming epoch.
    stage: Option<StageWriter>,
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
        let spec =
            RecordSpec { schema: schema.clone(), columns: columns.format.clone(), key: None, binding: Binding::Amqp, upserts: false };
        let encoder = format.record_encoder(&spec)?;
        let content_type = match format.name() {
            "json" => Some("application/json"),
            "csv" => Some("text/csv"),
            _ => None,
        };
        Ok(RabbitWriter { task, stages, encoder, records: EncodedRecords::default(), columns, routing_key, content_type, stage: None })
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
        let stage = match &mut self.stage {
            Some(stage) => stage,
            none => none.insert(self.stages.begin(self.task)?),
        };
        self.encoder.encode(batch, &mut self.records)?;
        for record in self.records.iter() {
            let of_row = |column: &Option<ArrayRef>| {
                let column = column.as_ref().map(|column| column.as_string_view()).filter(|column| column.is_valid(record.row));
                column.map(|column| column.value(record.row).to_owned())
            };
            // AMQP has a property for it.
            let (kind, headers): (Vec<_>, Vec<_>) = record.headers.iter().cloned().partition(|(name, _)| name == CONTENT_TYPE);
            let kind = kind.last().map(|(_, kind)| String::from_utf8_lossy(kind).into_owned());
            let head = Head {
                routing_key: of_row(&keys).unwrap_or_else(|| self.routing_key.clone()),
                message_id: of_row(&ids).unwrap_or_default(),
                correlation_id: of_row(&correlations),
                content_type: of_row(&kinds).or(kind).or(self.content_type.map(str::to_owned)),
                timestamp: record.timestamp_micros.and_then(|micros| u64::try_from(micros.div_euclid(MICROS_PER_SECOND)).ok()),
                headers: if headers.is_empty() { String::new() } else { headers_text(&headers) },
            };
            // Told now, not when the message is durable and cannot be published.
            let texts = [Some(&head.routing_key), Some(&head.message_id), head.correlation_id.as_ref(), head.content_type.as_ref()];
            texts.into_iter().flatten().chain(headers.iter().map(|(name, _)| name)).try_for_each(|text| short(text).map(|_| ()))?;
            stage.push(head, record.value.unwrap_or_default())?;
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: u64) -> Result<Option<Prepared>> {
        outbox::prepare(&mut self.stage, epoch)
    }
}

//! Rows that stand in the query itself (`VALUES`): a source of one partition that hands them over once.

use arrow::array::RecordBatch;
use async_trait::async_trait;

use super::{Partition, Position, Read, Reader, Source};
use crate::error::{Error, Result};
use crate::format::{Chunk, Records};

/// The rows of a VALUES.
#[derive(Debug)]
pub struct Values {
    rows: RecordBatch,
}

impl Values {
    /// A source of these rows.
    pub fn new(rows: RecordBatch) -> Values {
        Values { rows }
    }
}

#[async_trait]
impl Source for Values {
    fn describe(&self) -> String {
        format!("{} rows of the query", self.rows.num_rows())
    }

    fn identity(&self) -> String {
        format!("values {:?}", self.rows)
    }

    fn bounded(&self) -> bool {
        true
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        Ok(vec![Partition { index: 0, name: "values".to_owned() }])
    }

    async fn open(&self, _: &Partition, position: Option<&Position>) -> Result<Box<dyn Reader>> {
        let read = match position {
            None => false,
            Some(Position(at)) => at.as_bool().ok_or_else(|| Error::corrupt(format!("'{at}' is no position of VALUES: true or false")))?,
        };
        Ok(Box::new(ValuesReader { rows: (!read).then(|| self.rows.clone()) }))
    }
}

struct ValuesReader {
    /// Taken by the one read there is.
    rows: Option<RecordBatch>,
}

#[async_trait]
impl Reader for ValuesReader {
    async fn read(&mut self) -> Result<Read> {
        Ok(match self.rows.take() {
            Some(rows) => Read::Chunk(Chunk { records: Records::Rows(rows), base_offset: 0, arrived_micros: 0 }),
            None => Read::End,
        })
    }

    fn position(&self) -> Position {
        Position(self.rows.is_none().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    #[tokio::test]
    async fn rows_are_handed_over_once_also_after_a_restart() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let source = Values::new(RecordBatch::try_from_iter([("n", column)]).unwrap());
        let partition = source.partitions().await.unwrap().remove(0);
        let mut reader = source.open(&partition, None).await.unwrap();
        let before = reader.position();
        assert!(matches!(reader.read().await.unwrap(), Read::Chunk(_)));
        let after = reader.position();
        assert!(matches!(reader.read().await.unwrap(), Read::End));
        assert!(matches!(source.open(&partition, Some(&before)).await.unwrap().read().await.unwrap(), Read::Chunk(_)));
        assert!(matches!(source.open(&partition, Some(&after)).await.unwrap().read().await.unwrap(), Read::End));
    }
}

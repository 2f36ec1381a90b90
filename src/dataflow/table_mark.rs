//! How far event time is for the operators behind a table: merged over its partitions, those left out that are idle.
//!
//! The operators merge by themselves, each task for its own inputs; this is the same for people (`/health`).

use std::sync::Arc;

use parking_lot::Mutex;

use crate::metrics::{Gauge, Metrics};
use crate::time::{Watermark, WatermarkMerge};

/// The gauge: microseconds since 1970; zero while there is none.
pub const TABLE_WATERMARK: &str = "eagre_table_watermark_micros";

/// The mark of one table.
#[derive(Debug, Clone)]
pub struct TableMark {
    merge: Arc<Mutex<WatermarkMerge>>,
    gauge: Gauge,
}

impl TableMark {
    /// Of a table with so many partitions.
    pub fn new(table: &str, partitions: usize, metrics: &Metrics) -> Self {
        let gauge = metrics.gauge(TABLE_WATERMARK, &[("table", table)]);
        TableMark { merge: Arc::new(Mutex::new(WatermarkMerge::new(partitions))), gauge }
    }

    /// What partition `number` tells it.
    pub fn of_partition(&self, number: usize) -> PartitionMark {
        PartitionMark { table: self.clone(), number }
    }
}

/// One partition's word to [`TableMark`].
#[derive(Debug)]
pub struct PartitionMark {
    table: TableMark,
    number: usize,
}

impl PartitionMark {
    /// Its watermark.
    pub fn reached(&self, mark: Watermark) {
        self.told(|merge| merge.on_mark(self.number, mark));
    }

    /// It has nothing to say for now.
    pub fn idle(&self) {
        self.told(|merge| merge.on_idle(self.number));
    }

    fn told(&self, tell: impl FnOnce(&mut WatermarkMerge) -> Option<Watermark>) {
        if let Some(mark) = tell(&mut self.table.merge.lock()) {
            self.table.gauge.set(mark.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_far_as_its_slowest_partition_that_is_not_idle() {
        let metrics = Metrics::default();
        let table = TableMark::new("orders", 2, &metrics);
        let shown = || metrics.gauge(TABLE_WATERMARK, &[("table", "orders")]).get();
        let (first, second) = (table.of_partition(0), table.of_partition(1));
        first.reached(Watermark(60));
        assert_eq!(shown(), 0, "nothing is known of the second");
        second.idle();
        assert_eq!(shown(), 60);
        second.reached(Watermark(30));
        first.reached(Watermark(90));
        assert_eq!(shown(), 60, "time does not go back");
        second.reached(Watermark(80));
        assert_eq!(shown(), 80);
    }
}

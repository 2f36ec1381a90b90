//! Throughput of the embedded log: `cargo bench --bench log`.
//!
//! Records of 200 bytes. Appending waits for the disk after each batch, so it is the disk that is measured there.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use eagre::log::{Batch, Log, Record, Topic};

const RECORD: [u8; 200] = [b'r'; 200];
const BATCH: usize = 1000;

fn batch(topic: &Topic, records: usize) -> Batch {
    let mut batch = Batch::default();
    for n in 0..records {
        batch.push(topic, n as u32 % topic.partitions(), &Record::new(&RECORD, n as i64)).unwrap();
    }
    batch
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("log append");
    group.sample_size(20);
    for (name, partitions) in [("1000 records to 1 partition", 1), ("1000 records to 4 partitions", 4)] {
        let dir = tempfile::tempdir_in(".").unwrap();
        let log = Log::open(dir.path()).unwrap();
        let topic = log.create_topic("t", partitions, None).unwrap();
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(name, |b| b.iter(|| log.append(batch(&topic, BATCH)).unwrap()));
    }
    let dir = tempfile::tempdir_in(".").unwrap();
    let log = Log::open(dir.path()).unwrap();
    let topic = log.create_topic("t", 4, None).unwrap();
    group.bench_function("1000 records, 4 appending at once", |b| {
        b.iter_custom(|rounds| {
            let start = std::time::Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..rounds.div_ceil(4)).for_each(|_| drop(log.append(batch(&topic, BATCH)).unwrap())));
                }
            });
            start.elapsed()
        });
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("blocks of 1000 records in memory", |b| b.iter(|| batch(&topic, BATCH)));
    group.finish();
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("log read");
    group.sample_size(20);
    let total = 500_000;
    for (name, records) in [("200,000 records a batch", 200_000), ("1000 records a batch", 1000), ("10 records a batch", 10)] {
        let total = if records == 10 { 20_000 } else { total };
        let dir = tempfile::tempdir_in(".").unwrap();
        let log = Log::open(dir.path()).unwrap();
        log.create_topic("t", 1, None).unwrap();
        for _ in 0..total / records {
            log.append(batch(&log.topic("t").unwrap(), records)).unwrap();
        }
        // From tables, not from memory.
        drop(log);
        let log = Log::open(dir.path()).unwrap();
        let topic = log.topic("t").unwrap();
        let end = topic.end_offset(0).unwrap();
        group.throughput(Throughput::Elements(end as u64));
        group.bench_function(name, |b| {
            b.iter_batched(
                || 0,
                |mut next| {
                    while next < end {
                        let records = log.read(&topic, 0, next, 1 << 20).unwrap();
                        next = records.next_offset().unwrap();
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, append, read);
criterion_main!(benches);

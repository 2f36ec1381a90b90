//! The same questions answered by hand: no SQL, no engine, nothing but what this one question needs. What a run is
//! compared with, in the same process and on the same events.
//!
//! One thread per partition, whole files in memory, every field of every event parsed: what a careful program for one
//! purpose does.

use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Workload;
use crate::error::{Error, Result};

/// How late events may come, milliseconds: what the SQL texts say.
const LATE_MS: i64 = 5_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
/// Customer and order events within this time of each other are a pair.
const NEAR_MS: i64 = 5 * MINUTE_MS;
/// Events between two sweeps over the customers of the join.
const SWEEP: usize = 200_000;

/// An event of the shop, all of it.
#[derive(serde::Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "eventId")]
    id: &'a str,
    #[serde(borrow, rename = "type")]
    kind: &'a str,
    #[serde(borrow, rename = "customerId")]
    customer: &'a str,
    /// Parsed and not used: the program knows its input, not its question.
    #[serde(borrow, rename = "orderId")]
    _order: &'a str,
    ts: i64,
    amount: f64,
}

type Maps<K, V> = HashMap<K, V, ahash::RandomState>;
type Out = BufWriter<File>;

/// Is there a program for this workload?
pub fn exists(workload: Workload) -> bool {
    matches!(workload, Workload::W1 | Workload::W2 | Workload::W3 | Workload::W4)
}

/// Answers `workload` from the events in `data` into files in `out`.
pub fn run(workload: Workload, data: &Path, partitions: u32, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).map_err(|e| fault("making", out, e))?;
    let threads: Vec<_> = (0..partitions)
        .map(|partition| {
            let inputs: Vec<PathBuf> = workload.inputs().iter().map(|input| super::data::part(data, *input, partition)).collect();
            let out = part(out, partition);
            std::thread::spawn(move || one_partition(workload, &inputs, &out))
        })
        .collect();
    threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| Error::bug("a hand-written program panicked"))?)
}

/// The file of rows of a partition.
pub fn part(out: &Path, partition: u32) -> PathBuf {
    out.join(format!("part-{partition}.jsonl"))
}

fn one_partition(workload: Workload, inputs: &[PathBuf], out: &Path) -> Result<()> {
    let texts = inputs.iter().map(|path| std::fs::read(path).map_err(|e| fault("reading", path, e))).collect::<Result<Vec<_>>>()?;
    let file = File::create(out).map_err(|e| fault("writing", out, e))?;
    let mut rows = BufWriter::with_capacity(1 << 20, file);
    match (workload, texts.as_slice()) {
        (Workload::W1, [events]) => per_minute(events, &mut rows),
        (Workload::W2, [customers, orders]) => near_each_other(customers, orders, &mut rows),
        (Workload::W3, [events]) => over_an_hour(events, &mut rows),
        (Workload::W4, [events]) => large_payments(events, &mut rows),
        _ => return Err(Error::bug(format!("no hand-written program answers {}", workload.name()))),
    }
    .and_then(|()| rows.flush())
    .map_err(|e| fault("writing", out, e))
}

fn fault(what: &str, path: &Path, error: io::Error) -> Error {
    Error::failed(format!("{what} '{}'", path.display())).because(error)
}

fn parse(line: &[u8]) -> io::Result<Event<'_>> {
    sonic_rs::from_slice(line).map_err(io::Error::other)
}

/// The lines of a text that ends with a newline.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut from = 0;
    memchr::memchr_iter(b'\n', text).map(move |end| {
        let line = &text[from..end];
        from = end + 1;
        line
    })
}

fn number(out: &mut Out, value: i64) -> io::Result<()> {
    out.write_all(itoa::Buffer::new().format(value).as_bytes())
}

fn amount(out: &mut Out, value: f64) -> io::Result<()> {
    out.write_all(zmij::Buffer::new().format(value).as_bytes())
}

fn all(out: &mut Out, parts: &[&str]) -> io::Result<()> {
    parts.iter().try_for_each(|part| out.write_all(part.as_bytes()))
}

/// w1: tumbling windows, closed as the watermark passes them.
fn per_minute(events: &[u8], out: &mut Out) -> io::Result<()> {
    let mut open: BTreeMap<i64, Maps<&str, (i64, f64)>> = BTreeMap::new();
    let mut watermark = i64::MIN;
    let mut next_end = i64::MIN;
    let mut close = |start: i64, customers: Maps<&str, (i64, f64)>| -> io::Result<()> {
        for (customer, (count, sum)) in customers {
            all(out, &["{\"customerId\":\"", customer, "\",\"window_start\":"])?;
            number(out, start)?;
            all(out, &[",\"events\":"])?;
            number(out, count)?;
            all(out, &[",\"amount\":"])?;
            amount(out, sum)?;
            all(out, &["}\n"])?;
        }
        Ok(())
    };
    for line in lines(events) {
        let event = parse(line)?;
        if event.kind == "OrderCreated" {
            let start = event.ts - event.ts.rem_euclid(MINUTE_MS);
            let (count, sum) = open.entry(start).or_default().entry(event.customer).or_insert((0, 0.0));
            *count += 1;
            *sum += event.amount;
        }
        watermark = watermark.max(event.ts - LATE_MS);
        if watermark >= next_end {
            while let Some(first) = open.first_entry().filter(|first| first.key() + MINUTE_MS <= watermark) {
                let (start, customers) = first.remove_entry();
                close(start, customers)?;
            }
            next_end = watermark - watermark.rem_euclid(MINUTE_MS) + MINUTE_MS;
        }
    }
    open.into_iter().try_for_each(|(start, customers)| close(start, customers))
}

/// w2: both inputs merged by event time; per customer a queue of either kind.
fn near_each_other(customers: &[u8], orders: &[u8], out: &mut Out) -> io::Result<()> {
    type Queue<'a> = VecDeque<(i64, &'a str)>;
    let mut queues: Maps<&str, [Queue<'_>; 2]> = Maps::default();
    let mut inputs = [lines(customers), lines(orders)];
    let mut next = [inputs[0].next().map(parse).transpose()?, inputs[1].next().map(parse).transpose()?];
    let mut watermark = i64::MIN;
    let mut seen = 0;
    loop {
        let side = match &next {
            [Some(customer), Some(order)] => usize::from(customer.ts > order.ts),
            [Some(_), None] => 0,
            [None, Some(_)] => 1,
            [None, None] => return Ok(()),
        };
        let Some(event) = next[side].take() else { return Ok(()) };
        next[side] = inputs[side].next().map(parse).transpose()?;
        watermark = watermark.max(event.ts - 2 * LATE_MS);
        let dead = |(ts, _): &(i64, &str)| *ts < watermark - NEAR_MS;
        let of_customer = queues.entry(event.customer).or_default();
        while of_customer[1 - side].front().is_some_and(dead) {
            of_customer[1 - side].pop_front();
        }
        for (_, other) in of_customer[1 - side].iter().filter(|(ts, _)| (ts - event.ts).abs() <= NEAR_MS) {
            let (of_the_customer, of_the_order) = if side == 0 { (event.id, *other) } else { (*other, event.id) };
            let parts = [
                "{\"customerId\":\"",
                event.customer,
                "\",\"customerEvent\":\"",
                of_the_customer,
                "\",\"orderEvent\":\"",
                of_the_order,
                "\"}\n",
            ];
            all(out, &parts)?;
        }
        of_customer[side].push_back((event.ts, event.id));
        seen += 1;
        if seen % SWEEP == 0 {
            for queue in queues.values_mut().flatten() {
                while queue.front().is_some_and(dead) {
                    queue.pop_front();
                }
            }
        }
    }
}

/// w3: payments wait in a heap until the watermark reaches them; per customer the times of the last hour.
fn over_an_hour(events: &[u8], out: &mut Out) -> io::Result<()> {
    /// Earliest first, then in the order they came; customer and event id.
    type Waiting<'a> = std::cmp::Reverse<(i64, u64, &'a str, &'a str)>;
    fn settle<'a>(
        waiting: &mut BinaryHeap<Waiting<'a>>,
        before: i64,
        recent: &mut Maps<&'a str, VecDeque<i64>>,
        out: &mut Out,
    ) -> io::Result<()> {
        let mut ties: Vec<(&str, &str)> = Vec::new();
        while let Some(ts) = waiting.peek().map(|first| first.0.0).filter(|ts| *ts < before) {
            ties.clear();
            while waiting.peek().is_some_and(|first| first.0.0 == ts) {
                let Some(std::cmp::Reverse((_, _, customer, id))) = waiting.pop() else { break };
                let times = recent.entry(customer).or_default();
                while times.front().is_some_and(|time| *time < ts - HOUR_MS) {
                    times.pop_front();
                }
                times.push_back(ts);
                ties.push((customer, id));
            }
            for (customer, id) in &ties {
                let count = recent.get(customer).map_or(0, VecDeque::len);
                if count > 5 {
                    all(out, &["{\"eventId\":\"", id, "\",\"customerId\":\"", customer, "\",\"ts\":"])?;
                    number(out, ts)?;
                    all(out, &[",\"payments\":"])?;
                    number(out, count as i64)?;
                    all(out, &["}\n"])?;
                }
            }
        }
        Ok(())
    }

    let mut waiting: BinaryHeap<Waiting<'_>> = BinaryHeap::new();
    let mut recent = Maps::default();
    let mut watermark = i64::MIN;
    for (number, line) in (0..).zip(lines(events)) {
        let event = parse(line)?;
        if event.kind == "PaymentProcessed" {
            waiting.push(std::cmp::Reverse((event.ts, number, event.customer, event.id)));
        }
        if event.ts - LATE_MS > watermark {
            watermark = event.ts - LATE_MS;
            settle(&mut waiting, watermark, &mut recent, out)?;
        }
    }
    settle(&mut waiting, i64::MAX, &mut recent, out)
}

/// w4: what passes the filter.
fn large_payments(events: &[u8], out: &mut Out) -> io::Result<()> {
    for line in lines(events) {
        let event = parse(line)?;
        if event.kind == "PaymentProcessed" && event.amount > 100.0 {
            all(out, &["{\"eventId\":\"", event.id, "\",\"customerId\":\"", event.customer, "\",\"ts\":"])?;
            number(out, event.ts)?;
            all(out, &[",\"amount\":"])?;
            amount(out, event.amount)?;
            all(out, &["}\n"])?;
        }
    }
    Ok(())
}

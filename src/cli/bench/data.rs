//! The events that are measured with: lines of JSON, each a pure function of (seed, number).
//!
//! Event time: event `n` happens at [`BASE_MS`] + 10 n ms; a quarter of the events comes up to five seconds late, so
//! that a watermark of five seconds makes none late. Customers: some have many events, most have few.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::connector::chance::{Zipf, draw};
use crate::connector::nexmark::{Event, Kind};
use crate::error::{Error, Result};

/// When event 0 happens: a whole minute, milliseconds since 1970.
const BASE_MS: i64 = 1_700_000_040_000;
const SEED: u64 = 42;
const CUSTOMERS: usize = 10_000;
/// Types of events and how many of a hundred they are, summed up.
const TYPES: [(&str, u64); 8] = [
    ("CustomerLoggedIn", 5),
    ("ProfileUpdated", 10),
    ("OrderCreated", 30),
    ("OrderShipped", 40),
    ("PaymentProcessed", 65),
    ("PaymentFailed", 70),
    ("ProductViewed", 95),
    ("CartUpdated", 100),
];
const REGIONS: [&str; 5] = ["eu-west", "eu-north", "us-east", "us-west", "ap-south"];
const CHANNELS: [&str; 4] = ["web", "ios", "android", "partner"];
const EXTRA: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
/// Events between two words on how far it has come.
const TELL: u64 = 100_000;

/// An input: a folder of files, one per partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// Shop events of all types.
    Events,
    /// Those that customers cause.
    Customers,
    /// Those of orders.
    Orders,
    /// Nexmark's bids.
    Bids,
    /// Nexmark's auctions.
    Auctions,
    /// Nexmark's persons.
    Persons,
}

impl Input {
    fn folder(self) -> &'static str {
        match self {
            Input::Events => "events",
            Input::Customers => "customers",
            Input::Orders => "orders",
            Input::Bids => "bids",
            Input::Auctions => "auctions",
            Input::Persons => "persons",
        }
    }

    /// Is it made of Nexmark's events?
    fn is_nexmark(self) -> bool {
        matches!(self, Input::Bids | Input::Auctions | Input::Persons)
    }
}

/// Where the inputs are.
#[derive(Debug)]
pub struct Data {
    dir: PathBuf,
}

impl Data {
    /// How many events an input holds.
    pub fn count(&self, input: Input) -> Result<u64> {
        let path = self.dir.join(input.folder()).join(COUNT);
        let text = std::fs::read_to_string(&path).map_err(|e| fault(&path, e))?;
        text.trim().parse().map_err(|_| Error::corrupt(format!("'{}' holds no number; delete the folder", path.display())))
    }
}

/// Hidden file beside the events that says how many there are: written last.
const COUNT: &str = ".count";

/// The file of a partition of `input` in `dir`.
pub fn part(dir: &Path, input: Input, partition: u32) -> PathBuf {
    dir.join(input.folder()).join(format!("part-{partition}.jsonl"))
}

/// Makes those of `inputs` that are not there yet, out of the first `events` events; `told` hears how far it has come.
pub fn make<'a>(
    dir: &Path,
    events: u64,
    partitions: u32,
    inputs: impl Iterator<Item = &'a Input>,
    told: &mut dyn FnMut(u64),
) -> Result<Data> {
    let data = Data { dir: dir.to_owned() };
    let mut missing: Vec<Input> = inputs.copied().filter(|input| !dir.join(input.folder()).join(COUNT).exists()).collect();
    missing.sort_unstable();
    missing.dedup();
    let (nexmark, shop): (Vec<Input>, Vec<Input>) = missing.into_iter().partition(|input| input.is_nexmark());
    if !shop.is_empty() {
        let mut files = Files::create(dir, &shop, partitions)?;
        make_shop(events, &mut files, told)?;
        files.finish()?;
    }
    if !nexmark.is_empty() {
        let mut files = Files::create(dir, &nexmark, partitions)?;
        make_nexmark(events, &mut files, told)?;
        files.finish()?;
    }
    Ok(data)
}

/// The files of some inputs while they are written.
struct Files {
    inputs: Vec<(Input, PathBuf, Vec<BufWriter<File>>, u64)>,
}

impl Files {
    fn create(dir: &Path, inputs: &[Input], partitions: u32) -> Result<Self> {
        let open = |input: &Input| {
            let folder = dir.join(input.folder());
            std::fs::create_dir_all(&folder).map_err(|e| fault(&folder, e))?;
            let file = |partition| {
                let path = part(dir, *input, partition);
                File::create(&path).map(|file| BufWriter::with_capacity(1 << 20, file)).map_err(|e| fault(&path, e))
            };
            Ok((*input, folder.clone(), (0..partitions).map(file).collect::<Result<Vec<_>>>()?, 0))
        };
        Ok(Files { inputs: inputs.iter().map(open).collect::<Result<_>>()? })
    }

    /// Writes a line of `input`, if that is wanted; rows of one `key` go to one partition.
    fn write(&mut self, input: Input, key: u64, line: &str) -> Result<()> {
        let Some((_, folder, files, count)) = self.inputs.iter_mut().find(|(wanted, ..)| *wanted == input) else { return Ok(()) };
        let partition = (key % files.len() as u64) as usize;
        files[partition].write_all(line.as_bytes()).map_err(|e| fault(folder, e))?;
        *count += 1;
        Ok(())
    }

    fn finish(self) -> Result<()> {
        for (_, folder, files, count) in self.inputs {
            for mut file in files {
                file.flush().map_err(|e| fault(&folder, e))?;
            }
            std::fs::write(folder.join(COUNT), count.to_string()).map_err(|e| fault(&folder, e))?;
        }
        Ok(())
    }
}

fn fault(path: &Path, error: std::io::Error) -> Error {
    Error::failed(format!("making the events in '{}'", path.display())).because(error)
}

/// How late event `number` comes, milliseconds.
fn late_ms(draw: u64) -> i64 {
    if draw.is_multiple_of(4) { ((draw >> 8) % 5_000) as i64 } else { 0 }
}

fn make_shop(events: u64, files: &mut Files, told: &mut dyn FnMut(u64)) -> Result<()> {
    let customers = Zipf::new(CUSTOMERS);
    for number in 0..events {
        let chance = |stream: u64| draw(SEED * 1_000_003 + stream, number);
        let percent = chance(1) % 100;
        let kind = TYPES.partition_point(|(_, sum)| *sum <= percent);
        let customer = customers.rank(chance(2));
        let ts = BASE_MS + number as i64 * 10 - late_ms(chance(3));
        let cents = chance(4) % 50_000 + 1;
        let line = format!(
            "{{\"eventId\":\"{:016x}\",\"type\":\"{}\",\"customerId\":\"C{customer:06}\",\"orderId\":\"O{:09}\",\"ts\":{ts},\"amount\":{}.{:02},\
             \"currency\":\"EUR\",\"region\":\"{}\",\"channel\":\"{}\",\"schemaVersion\":1}}\n",
            chance(5),
            TYPES[kind].0,
            chance(6) % 1_000_000_000,
            cents / 100,
            cents % 100,
            REGIONS[(chance(7) % REGIONS.len() as u64) as usize],
            CHANNELS[(chance(8) % CHANNELS.len() as u64) as usize],
        );
        files.write(Input::Events, customer as u64, &line)?;
        match kind {
            0 | 1 => files.write(Input::Customers, customer as u64, &line)?,
            2 | 3 => files.write(Input::Orders, customer as u64, &line)?,
            _ => {}
        }
        if number % TELL == 0 {
            told(number);
        }
    }
    Ok(())
}

fn make_nexmark(events: u64, files: &mut Files, told: &mut dyn FnMut(u64)) -> Result<()> {
    for number in 0..events {
        let event = Event::new(SEED, number);
        let ts = BASE_MS + number as i64 - event.late_micros() / 1_000;
        let (input, key, line) = match event.kind() {
            Kind::Person => {
                let (id, card) = (event.person(), event.price() * 7919);
                let line = format!(
                    "{{\"id\":{id},\"name\":\"person {id}\",\"email\":\"p{id}@example.org\",\"creditCard\":\"{card:016}\",\
                     \"city\":\"city {}\",\"state\":\"S{}\",\"dateTime\":{ts},\"extra\":\"{EXTRA}\"}}\n",
                    id % 100,
                    id % 50
                );
                (Input::Persons, id, line)
            }
            Kind::Auction => {
                let (id, price) = (event.auction(), event.price());
                let line = format!(
                    "{{\"id\":{id},\"itemName\":\"item {id}\",\"description\":\"d {id}\",\"initialBid\":{},\"reserve\":{price},\
                     \"dateTime\":{ts},\"expires\":{},\"seller\":{},\"category\":{},\"extra\":\"{EXTRA}\"}}\n",
                    price / 10,
                    ts + 10_000,
                    event.hot_person(),
                    id % 5
                );
                (Input::Auctions, id, line)
            }
            Kind::Bid => {
                let (auction, price) = (event.hot_auction(), event.price());
                let line = format!(
                    "{{\"auction\":{auction},\"bidder\":{},\"price\":{price},\"channel\":\"channel-{}\",\
                     \"url\":\"https://www.example.org/item/{auction}\",\"dateTime\":{ts},\"extra\":\"{EXTRA}\"}}\n",
                    event.hot_person(),
                    price % 10_000
                );
                (Input::Bids, auction, line)
            }
        };
        files.write(input, key as u64, &line)?;
        if number % TELL == 0 {
            told(number);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_made_once_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let data = make(dir.path(), 1_000, 2, [Input::Events, Input::Orders, Input::Bids].iter(), &mut |_| {}).unwrap();
        assert_eq!((data.count(Input::Events).unwrap(), data.count(Input::Bids).unwrap()), (1_000, 920));
        let lines = |folder: &str, part: u32| std::fs::read_to_string(dir.path().join(folder).join(format!("part-{part}.jsonl"))).unwrap();
        assert_eq!(lines("events", 0).lines().count() + lines("events", 1).lines().count(), 1_000);
        assert!(lines("orders", 1).lines().all(|line| line.contains("\"type\":\"Order")));
        assert!(data.count(Input::Persons).is_err());
        std::fs::remove_file(dir.path().join("events/part-0.jsonl")).unwrap();
        make(dir.path(), 1_000, 2, [Input::Events].iter(), &mut |_| {}).unwrap();
        assert!(!dir.path().join("events/part-0.jsonl").exists(), "what is there is used");
    }
}

//! Batches of messages of one partition, straight from librdkafka's buffers: a whole chunk is taken with one call, and
//! of each message only the bytes that its record needs are copied, into the chunk's one buffer.

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::Arc;

use bytes::Bytes;
use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{IsError as _, RDKafkaErrorCode};
use tokio::sync::Notify;

use super::client::Cluster;
use crate::error::{Error, Result};
use crate::format::Framed;

/// Most messages of a chunk.
const CHUNK_MESSAGES: usize = 16 << 10;
/// Bytes after which a chunk is full.
const CHUNK_BYTES: usize = 1 << 20;
/// Messages taken from the queue with one call.
const BATCH: usize = 1024;

/// The queue of one partition.
pub struct Fetch {
    queue: *mut c::rd_kafka_queue_t,
    /// Messages of the last call, not yet copied: those from `next` on.
    taken: Vec<*mut c::rd_kafka_message_t>,
    next: usize,
    /// Wakes when the queue is no longer empty. Boxed: the library holds its address.
    #[expect(clippy::redundant_allocation, reason = "the library holds the address of the handle itself")]
    filled: Box<Arc<Notify>>,
    /// The queue belongs to it.
    consumer: Arc<BaseConsumer<Cluster>>,
}

#[expect(unsafe_code, reason = "librdkafka's queues and messages may be used from any thread, by one at a time")]
// SAFETY: the pointers are used through `&mut self` only.
unsafe impl Send for Fetch {}

/// What stands in a queue beside messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The end of the partition as of now: the next offset.
    EndAt(i64),
    /// The partition cannot be read: the error's code.
    Fault(RDKafkaErrorCode),
}

/// What was taken at once.
#[derive(Debug, Default)]
pub struct Taken {
    /// The messages.
    pub records: Framed,
    /// What stood behind them.
    pub mark: Option<Mark>,
}

#[expect(unsafe_code, reason = "the queue of a partition is not in reach of the safe binding, which hands out single messages")]
impl Fetch {
    /// The queue of a partition, cut off from the consumer's; to be made before the partition is assigned.
    pub fn new(consumer: Arc<BaseConsumer<Cluster>>, topic: &str, partition: i32) -> Result<Self> {
        let topic = CString::new(topic).map_err(|_| Error::bug("a topic's name with a NUL"))?;
        // SAFETY: the client lives as long as `consumer`, which is kept.
        let queue = unsafe { c::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition) };
        if queue.is_null() {
            return Err(Error::bug("librdkafka knows no queue of a partition"));
        }
        let filled = Box::new(Arc::new(Notify::new()));
        // SAFETY: the queue is ours; the notifier's address is good until the callback is taken back in `drop`.
        unsafe {
            c::rd_kafka_queue_forward(queue, ptr::null_mut());
            c::rd_kafka_queue_cb_event_enable(queue, Some(on_filled), ptr::from_ref(filled.as_ref()).cast_mut().cast());
        }
        Ok(Fetch { queue, taken: Vec::with_capacity(BATCH), next: 0, filled, consumer })
    }

    /// The client behind it.
    pub fn consumer(&self) -> &Arc<BaseConsumer<Cluster>> {
        &self.consumer
    }

    /// Told when the queue is no longer empty. Take what is there first: filling a queue that is not empty tells nothing.
    pub fn filled(&self) -> Arc<Notify> {
        Arc::clone(&self.filled)
    }

    /// Takes messages until there are no more for now, a chunk is full, or something else stands in the queue. Messages
    /// at `end` and behind are left out, and end the taking.
    pub fn take(&mut self, end: Option<i64>) -> Taken {
        let mut taken = Taken::default();
        let mut data: Vec<u8> = Vec::new();
        let mut key_ranges: Vec<Option<(u32, u32)>> = Vec::new();
        let records = &mut taken.records;
        while taken.mark.is_none() && records.offsets.len() < CHUNK_MESSAGES && data.len() < CHUNK_BYTES {
            if self.next == self.taken.len() {
                if !self.refill() {
                    break;
                }
                if data.capacity() == 0 {
                    // With a full batch there is more to come; growing would copy.
                    data.reserve(if self.taken.len() == BATCH { CHUNK_BYTES + CHUNK_BYTES / 4 } else { self.taken_bytes() });
                }
            }
            let message = self.taken[self.next];
            self.next += 1;
            // SAFETY: `message` is one that the library gave us and that we have not given back yet; payload and key lie
            // where it says until we do.
            unsafe {
                let read = &*message;
                if read.err != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    taken.mark = Some(match read.err {
                        c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => Mark::EndAt(read.offset),
                        other => Mark::Fault(other.into()),
                    });
                } else if end.is_some_and(|end| read.offset >= end) {
                    taken.mark = Some(Mark::EndAt(read.offset));
                } else {
                    let value = bytes(read.payload, read.len);
                    let key = bytes(read.key, read.key_len);
                    records.values.push(value.map(|value| append(&mut data, value)));
                    key_ranges.push(key.map(|key| append(&mut data, key)));
                    records.offsets.push(read.offset);
                    records.timestamps.push(timestamp_micros(message));
                    headers(message, records.offsets.len() - 1, &mut records.headers);
                }
                c::rd_kafka_message_destroy(message);
            }
        }
        records.data = Bytes::from(data);
        if key_ranges.iter().any(Option::is_some) {
            let slice = |(from, to): (u32, u32)| records.data.slice(from as usize..to as usize);
            records.keys = key_ranges.into_iter().map(|range| range.map(slice)).collect();
        }
        if !records.headers.is_empty() {
            records.headers.resize(records.offsets.len(), Vec::new());
        }
        taken
    }

    /// Bytes of the messages just taken.
    fn taken_bytes(&self) -> usize {
        // SAFETY: all of them are still ours.
        self.taken.iter().map(|message| unsafe { (**message).len + (**message).key_len }).sum()
    }

    /// The end of the partition as the last answer of its broker told it.
    pub fn known_end(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = CString::new(topic).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client lives, and the places to write to are good for the call.
        let error = unsafe {
            c::rd_kafka_get_watermark_offsets(self.consumer.client().native_ptr(), topic.as_ptr(), partition, &mut low, &mut high)
        };
        (!error.is_error() && high >= 0).then_some(high)
    }

    /// Gets the next messages of the queue; `false`: there are none.
    fn refill(&mut self) -> bool {
        self.taken.clear();
        self.next = 0;
        // SAFETY: the vector has room for BATCH pointers, and as many as the call returns are filled in.
        unsafe {
            let count = c::rd_kafka_consume_batch_queue(self.queue, 0, self.taken.as_mut_ptr(), BATCH);
            self.taken.set_len(usize::try_from(count).unwrap_or(0).min(BATCH));
        }
        !self.taken.is_empty()
    }
}

#[expect(unsafe_code, reason = "gives back what the library gave")]
impl Drop for Fetch {
    fn drop(&mut self) {
        // SAFETY: each message from `next` on is still ours, and so is the queue.
        unsafe {
            for message in self.taken.drain(..).skip(self.next) {
                c::rd_kafka_message_destroy(message);
            }
            c::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            c::rd_kafka_queue_destroy(self.queue);
        }
    }
}

#[expect(unsafe_code, reason = "called by the library")]
unsafe extern "C" fn on_filled(_: *mut c::rd_kafka_t, filled: *mut c_void) {
    // SAFETY: `filled` is the address that `Fetch::new` gave and keeps good.
    let filled = unsafe { &*filled.cast::<Arc<Notify>>() };
    filled.notify_one();
}

#[expect(unsafe_code, reason = "reads bytes where the library says that they lie")]
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller gives pointer and length of one message that it still holds.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), len) })
}

/// Where the appended bytes stand. A chunk is small enough for 32 bits: it is full at a mebibyte, and a message has at
/// most a gibibyte.
fn append(data: &mut Vec<u8>, bytes: &[u8]) -> (u32, u32) {
    let start = data.len();
    data.extend_from_slice(bytes);
    (start as u32, data.len() as u32)
}

#[expect(unsafe_code, reason = "asks the library")]
unsafe fn timestamp_micros(message: *const c::rd_kafka_message_t) -> i64 {
    let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the caller holds the message.
    let millis = unsafe { c::rd_kafka_message_timestamp(message, &mut kind) };
    match kind {
        c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => i64::MIN,
        _ if millis < 0 => i64::MIN,
        _ => millis.saturating_mul(1_000),
    }
}

#[expect(unsafe_code, reason = "asks the library")]
unsafe fn headers(message: *const c::rd_kafka_message_t, row: usize, all: &mut Vec<Vec<(String, Bytes)>>) {
    let mut found = ptr::null_mut();
    // SAFETY: the caller holds the message; names and values lie there until it gives it back, and are copied.
    unsafe {
        if c::rd_kafka_message_headers(message, &mut found).is_error() || found.is_null() {
            return;
        }
        let mut own = Vec::new();
        loop {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            if c::rd_kafka_header_get_all(found, own.len(), &mut name, &mut value, &mut size).is_error() {
                break;
            }
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            own.push((name, bytes(value, size).map_or(Bytes::new(), Bytes::copy_from_slice)));
        }
        all.resize(row, Vec::new());
        all.push(own);
    }
}

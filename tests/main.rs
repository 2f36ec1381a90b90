//! All integration tests in one binary: one link, one start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod alerts;
mod brokers;
mod cases;
mod cli;
mod digests;
mod disk;
mod doors;
mod events;
mod fixtures;
mod flink;
mod house;
mod kafka;
mod kill;
mod linger;
mod live;
mod log;
mod patterns;
mod properties;
mod queries;
mod rabbitmq;
mod refused;
mod replay;
mod rules;
mod s3;
mod topics;
mod warm_up;
mod workload;

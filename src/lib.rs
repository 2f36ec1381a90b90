//! # Eagre: Flink SQL in one binary
//!
//! Event topics in; windows, joins and patterns over event time; live Arrow tables and topics out. One process, one
//! durable log, SQL about the results while they change.
//!
//! ## The way of the data
//!
//! ```text
//!  topic partition          one task per partition                     one task per key range                     commit
//! ┌───────────────┐   ┌────────────────────────────────┐        ┌──────────────────────────────┐        ┌────────────────────┐
//! │ connector     │──▶│ format: bytes → Arrow (needed  │─hash──▶│ window / join / over         │───────▶│ sink: topic, file, │
//! │ (read, seek)  │   │ columns only) → filter, project│  of    │ over keyed state             │        │ live table         │
//! └───────────────┘   │ → watermark → pre-aggregate    │  key   └──────────────────────────────┘        └────────────────────┘
//!         ▲           └────────────────────────────────┘                  │ snapshot                              ▲
//!         └──────────────── offsets ◀── checkpoint coordinator (barriers in, manifest out) ───────────────────────┘
//!    doors (cli, psql, http) ── project ── sql ── plan ── dataflow graph          live tables ── DataFusion ── queries
//! ```
//!
//! ## The house
//!
//! Imports point downwards only; a test keeps it (`tests/house.rs`).
//!
//! | floor | rooms | knows |
//! |---|---|---|
//! | doors | [`cli`], [`server`] | everything below |
//! | trials | [`fixture`] | a project on given events: what it must show |
//! | engine | [`engine`] | a project as one running pipeline with its tables |
//! | meaning | [`rules`], [`project`], [`sql`] | turns files and text into a dataflow graph |
//! | motion | [`dataflow`] | the only place where connectors and operators meet |
//! | work | [`connector`], [`operator`], [`table`] | one concept a file; neighbours do not import each other |
//! | bytes | [`format`](mod@format), [`log`], [`state`] | bytes to Arrow and back; the durable log; keyed state and checkpoint files |
//! | words | [`change`], [`event`], [`time`], [`options`], [`yaml`], [`metrics`], [`fault`], [`error`] | nothing |
//!
//! ## Where is …?
//!
//! | question | file |
//! |---|---|
//! | Where does a window close? | `operator/window_slices.rs`, from `on_watermark` of `operator/window_aggregate.rs` |
//! | Where is a late row dropped? | `operator/windowing.rs` counts (row, window) pairs; `dataflow/scan.rs` decides which watermark a row meets |
//! | Where does the watermark come from? | `dataflow/scan.rs` (per chunk), `dataflow/source_task.rs` (per partition), [`time::WatermarkMerge`] (over inputs) |
//! | Where is JSON decoded? | `format/json/`, and only the columns that `sql/lower/scan.rs` asks for |
//! | How does a pattern match? | `operator/pattern/automaton.rs` (steps to states), `operator/pattern/runs.rs` (events move runs) |
//! | How does `MATCH_RECOGNIZE` match? | `operator/pattern/row_matches.rs`; how its text gets there: `sql/recognize/mod.rs` |
//! | Where does a bad row go? | `dataflow/dead_letter.rs`: into the live table `dead_letters` or the topic that its table names |
//! | How are dead letters sent again, and once? | `cli/replay/letters.rs`, `log/whole.rs`; what waits for them: `dataflow/parking.rs` |
//! | How does history run again? | `engine/shadow.rs`, from `cli/replay/history.rs` |
//! | What happens when an expression fails on a row? | `operator/expressions.rs` |
//! | What happens when state grows too large? | `dataflow/state_limit.rs` |
//! | Which checkpoint does a start go on from? | `dataflow/confirmed.rs`; with a transactional sink the outside decides |
//! | Where does an offset get committed? | `dataflow/coordinator.rs`: positions are in the manifest, the manifest is the commit |
//! | How do barriers align? | `dataflow/channel.rs` |
//! | How does SQL become operators? | `sql/plan.rs` (text to logical plan), `sql/lower/mod.rs` (logical plan to graph) |
//! | How is a project tested? | `fixture/trial.rs`; the form of its tests: `fixture/read.rs` |
//! | How does a rule become an operator? | `rules/compile.rs`, from `rules/group.rs`; what the operator does: `operator/pattern/spec.rs` |
//! | How does an alert become an event of a topic? | `rules/topic.rs`; which rules go where: `rules/pipelines.rs` |
//! | How is a rule changed while it runs? | `server/rules.rs` saves it, `cli/rule_watch.rs` sees it, `cli/run.rs` swaps it in |
//! | How does state survive a restart? | `state/blocks.rs` (handles), `state/checkpoint.rs` (files), `dataflow/pipeline.rs` (restore) |
//! | How does a query see one consistent state? | `table/registry.rs`: one `Arc` is swapped at a cut |
//!
//! ## A pipeline in a program
//!
//! ```
//! use eagre::dataflow::settings::Restore;
//! use eagre::engine::Engine;
//! use eagre::project::{Project, SqlText};
//!
//! # let dir = tempfile::tempdir()?;
//! # let folder = dir.path();
//! let sql = "
//!   CREATE TABLE clicks (page STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
//!   WITH ('connector' = 'feed', 'format' = 'json');
//!   CREATE MATERIALIZED VIEW per_minute AS
//!   SELECT window_start, page, COUNT(*) AS clicks
//!   FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
//!   GROUP BY window_start, window_end, page;";
//! let text = SqlText { name: "clicks.sql".into(), text: sql.into() };
//! let engine = Engine::load(Project::of_texts("clicks", folder, vec![text]))?;
//! tokio::runtime::Runtime::new()?.block_on(async {
//!     let running = engine.start(Restore::Auto, false).await?;
//!     let clicks = engine.feed("clicks")?;
//!     clicks.send_lines(0, "{\"page\": \"home\", \"ts\": \"2024-01-01 12:00:01\"}\n").await?;
//!     clicks.end();
//!     running.wait().await
//! })?;
//! let rows = engine.tables().snapshot().table("per_minute").map(|t| t.batches()).transpose()?;
//! assert_eq!(rows.iter().flatten().map(|b| b.num_rows()).sum::<usize>(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod change;
pub mod cli;
pub mod connector;
pub mod dataflow;
pub mod engine;
pub mod error;
pub mod event;
pub mod fault;
pub mod fixture;
pub mod format;
pub mod log;
pub mod metrics;
pub mod operator;
pub mod options;
pub mod project;
pub mod rules;
pub mod server;
pub mod sql;
pub mod state;
pub mod table;
pub mod time;
pub mod yaml;

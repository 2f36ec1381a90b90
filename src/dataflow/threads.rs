//! The threads of a pipeline: those that work, and those that write checkpoints beside them.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::error::{Error, Result};

/// Threads of the coordinator: it hears the tasks while a checkpoint is being written.
const COORDINATOR_THREADS: usize = 2;
/// Longest wait for work under way when a pipeline is dropped: the end of a batch, of a write to the disk.
const AT_REST_WITHIN: Duration = Duration::from_secs(10);

/// The threads of a pipeline. They may be let go from asynchronous code.
pub struct Threads {
    /// `None`: let go.
    runtimes: Option<Runtimes>,
    /// Nothing of the pipeline writes any more: there is nothing to wait for.
    pub at_rest: bool,
}

/// The runtimes behind the threads.
pub struct Runtimes {
    /// The coordinator, which writes checkpoints and commits sinks.
    pub coordination: Runtime,
    /// The tasks.
    pub work: Runtime,
}

impl Threads {
    /// Starts `workers` threads for the tasks, and those of the coordinator.
    pub fn start(workers: usize) -> Result<Threads> {
        let start = |threads: usize, name: &str| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let built = builder.worker_threads(threads).thread_name(name).enable_all().build();
            built.map_err(|e| Error::failed("cannot start the worker threads").because(e))
        };
        let coordination = start(COORDINATOR_THREADS, "eagre-checkpoint")?;
        Ok(Threads { runtimes: Some(Runtimes { coordination, work: start(workers, "eagre-dataflow")? }), at_rest: false })
    }

    /// The runtimes, as long as the threads have not been let go.
    pub fn runtimes(&self) -> Result<&Runtimes> {
        self.runtimes.as_ref().ok_or_else(|| Error::bug("the threads of the pipeline have been let go"))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let Some(Runtimes { coordination, work }) = self.runtimes.take() else { return };
        if self.at_rest {
            coordination.shutdown_background();
            work.shutdown_background();
            return;
        }
        // What a thread has begun, a write or a commit, cannot be called off. It is waited for: else a checkpoint could
        // become durable when another run has already gone on from the one before. A thread of its own waits, since
        // asynchronous code must not.
        let waiting = std::thread::spawn(move || {
            coordination.shutdown_timeout(AT_REST_WITHIN);
            work.shutdown_timeout(AT_REST_WITHIN);
        });
        if waiting.join().is_err() {
            tracing::warn!("the threads of the pipeline ended badly");
        }
    }
}

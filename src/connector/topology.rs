//! Differences between what topics, queues and bindings are to be and what a broker has, and their carrying out.
//!
//! Each broker has a `topology.rs` that describes what is there, says what differs and changes it; `eagre topics plan`
//! shows the differences, `apply` carries them out and looks again.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::error::{Error, Result};

/// What a change may destroy, and so must be allowed by a flag of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permit {
    /// None: nothing is lost by it.
    Free,
    /// `--allow-repartition`: keys go to other partitions from now on.
    Repartition,
    /// `--recreate`: it is deleted (only when it is empty) and made again.
    Recreate,
    /// It cannot be done from here.
    Impossible,
}

/// Carries a change out.
pub type Step = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// One difference.
#[derive(Clone)]
pub struct Change {
    /// What differs: `topic orders`, `queue order.processing`.
    pub thing: String,
    /// How: `retention.ms: 604800000 -> 2592000000`.
    pub what: String,
    /// What it takes.
    pub permit: Permit,
    /// Carries it out.
    pub step: Step,
}

impl Change {
    /// One that cannot be carried out from here.
    pub fn impossible(thing: String, what: String) -> Self {
        let told = what.clone();
        let step: Step = Arc::new(move || {
            let told = Error::input(told.clone());
            Box::pin(async move { Err(told) })
        });
        Change { thing, what, permit: Permit::Impossible, step }
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({:?})", self.thing, self.what, self.permit)
    }
}

/// The wanted state of one broker.
#[async_trait]
pub trait Topology: Send + Sync {
    /// The broker, for people.
    fn broker(&self) -> String;

    /// What differs, in the order in which it is to be carried out. Empty: nothing does.
    async fn plan(&self) -> Result<Vec<Change>>;
}

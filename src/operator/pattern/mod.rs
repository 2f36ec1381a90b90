//! Patterns: rules over the events of each key, and MATCH_RECOGNIZE.
//!
//! ```text
//!  rows ─▶ in event-time order ─▶ conditions of all rules, once a batch ─▶ candidates by key ─▶ each rule's executor ─▶ emitted rows
//!                                 (bitmaps; equalities by hash)                                   count     queue of N + 1 events
//!                                                                                                 aggregate window of events, sliding frames
//!                                                                                                 runs      automaton, shared buffer
//!                                                                                                 rows      MATCH_RECOGNIZE, backtracking
//! ```
//! Always holds: the same matches however rows are cut into batches; a matched event is kept once, whatever holds on to it;
//! a key that no rule holds state of is forgotten; a checkpoint writes the keys in which something has happened. What a
//! pattern is: `spec.rs`, to be read first; what it means step by step: `automaton.rs`, then `runs.rs`.

mod aggregate;
mod automaton;
mod bind;
pub mod binding;
mod buffer;
mod by_key;
mod catch_up;
mod conditions;
mod count;
mod executor;
mod holders;
mod kept_rows;
mod kept_state;
mod operator;
mod queue;
mod row_bind;
mod row_matches;
pub mod row_pattern;
mod row_search;
mod row_set;
mod runs;
pub mod sequence;
pub mod spec;
mod timers;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use self::aggregate::Aggregated;
use self::catch_up::NewRules;
use self::conditions::Conditions;
use self::count::Counts;
use self::executor::Executor;
use self::operator::Patterns;
use self::row_matches::RowMatches;
use self::runs::Runs;
use self::spec::{Find, Order, Rule, TieOrder};
use crate::error::{Error, Result};
use crate::operator::catch_up::{CatchUp, StateTables};
use crate::operator::identity::types_identity;
use crate::operator::{Distribution, Input, Operator, OperatorSpec};
use crate::state::StateHandles;

/// Describes rules over one stream that share key and order.
#[derive(Debug, Clone)]
pub struct PatternSpec {
    /// Schema of the events; rules over several streams read their union, with a column that tells them apart.
    pub input: SchemaRef,
    /// What the state belongs to where rules come and go: their streams, key and order. State is then found by the names of
    /// columns, whatever else the rules read. Without it: by what the inputs are.
    pub group: Option<String>,
    /// Key columns: patterns are looked for among events of equal key (NULL being a value). None: among all.
    pub keys: Vec<usize>,
    /// Event-time column.
    pub time: usize,
    /// What orders events of equal time first; with it all of them are there before one is looked at.
    pub then_by: Vec<TieOrder>,
    /// Hidden column that orders events of equal time: of the input, or right behind its columns, where no rule sees it.
    /// Without it arrival does.
    pub seq: Option<usize>,
    /// In which order events are looked at.
    pub order: Order,
    /// The rules, by different names.
    pub rules: Vec<Rule>,
    /// Schema of the emitted rows: every rule's [`Emission`](binding::Emission) has one expression per column.
    pub schema: SchemaRef,
}

impl OperatorSpec for PatternSpec {
    fn name(&self) -> &'static str {
        "patterns"
    }

    fn describe(&self) -> String {
        let keys: Vec<&str> = self.keys.iter().map(|at| self.input.field(*at).name().as_str()).collect();
        let rules: Vec<String> = self.rules.iter().map(|rule| format!("{} {}", rule.name, kind(&rule.find))).collect();
        format!("{} by [{}] order {:?}", rules.join(", "), keys.join(", "), self.order)
    }

    /// In a group without the rules: each keeps its state under its own name and shape, so that others may come and go.
    fn identity(&self) -> String {
        if let Some(group) = &self.group {
            return format!("patterns of {group}");
        }
        let rules = self.rules.iter().map(|rule| {
            let labels = if rule.tells_labels() { rule.find.labels() } else { Vec::new() };
            format!("{} emits {} {labels:?}", rule.shape(), rule.emit.identity())
        });
        let rules: Vec<String> = rules.collect();
        format!(
            "patterns {} keys {:?} time {} {:?} seq {:?} {:?}: {}",
            types_identity(&self.input),
            self.keys,
            self.time,
            self.then_by,
            self.seq,
            self.order,
            rules.join("; ")
        )
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _input: Input) -> Distribution {
        if self.keys.is_empty() { Distribution::Single } else { Distribution::ByKey(self.keys.clone()) }
    }

    fn stateful(&self) -> bool {
        true
    }

    fn bound_to_inputs(&self) -> bool {
        self.group.is_none()
    }

    fn catch_up(&self, state: &StateTables) -> Option<Box<dyn CatchUp>> {
        Some(Box::new(NewRules::of(self, state)?))
    }

    fn open(&self, state: &mut StateHandles) -> Result<Box<dyn Operator>> {
        self.check()?;
        Ok(Box::new(Patterns::open(self, state)?))
    }
}

impl PatternSpec {
    /// Schema of the rows as they come: the events, then the hidden column if it stands behind them.
    fn rows(&self) -> SchemaRef {
        if self.seq != Some(self.input.fields().len()) {
            return self.input.clone();
        }
        let mut fields = self.input.fields().to_vec();
        fields.push(Arc::new(Field::new("$seq", DataType::Int64, false)));
        Arc::new(Schema::new(fields))
    }

    /// Name of the column that orders rows of one time.
    fn seq_name(&self) -> Option<String> {
        self.seq.map(|seq| self.rows().field(seq).name().clone())
    }

    /// Name and shape of a rule, as in checkpoints: its state is found by them.
    fn identity_of(&self, rule: &Rule) -> String {
        match &self.group {
            Some(_) => format!("{} {}", rule.name, by_name(&rule.shape(), &self.input)),
            None => format!("{} {}", rule.name, rule.shape()),
        }
    }

    /// Says what is wrong with the rules as they are put together.
    pub fn check(&self) -> Result<()> {
        for (at, rule) in self.rules.iter().enumerate() {
            if self.rules[..at].iter().any(|other| other.name == rule.name) {
                return Err(Error::input(format!("two rules are called '{}'; their state could not be told apart", rule.name)));
            }
            let emissions = std::iter::once(&rule.emit).chain(rule.on_timeout.as_ref().map(|timeout| &timeout.emit));
            for emission in emissions {
                let (columns, wanted) = (emission.columns.len(), self.schema.fields().len());
                if columns != wanted {
                    return Err(Error::bug(format!("rule '{}' emits {columns} columns, the operator {wanted}", rule.name)));
                }
            }
        }
        Ok(())
    }
}

/// A shape with columns by their names in place of their positions.
fn by_name(shape: &str, input: &Schema) -> String {
    let mut named = String::with_capacity(shape.len());
    let mut rest = shape;
    while let Some(at) = rest.find('@') {
        let digits = rest[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        named.push_str(&rest[..=at]);
        let number = &rest[at + 1..at + 1 + digits];
        match number.parse::<usize>() {
            Ok(column) if column < input.fields().len() => named.push_str(input.field(column).name()),
            // What is bound stands behind the columns, however many those are.
            Ok(column) => named.push_str(&format!("${}", column - input.fields().len())),
            Err(_) => named.push_str(number),
        }
        rest = &rest[at + 1 + digits..];
    }
    named + rest
}

fn kind(find: &Find) -> String {
    match find {
        Find::Count(_) => "(count)".to_owned(),
        Find::Aggregate(_) => "(aggregate)".to_owned(),
        Find::Sequence(_) => "(sequence)".to_owned(),
        Find::Rows(pattern) => format!("of {}", pattern.variables.join(" ")),
    }
}

/// The cheapest executor for a rule.
fn executor_of(number: u32, rule: &Rule, spec: &PatternSpec, conditions: &mut Conditions) -> Result<Box<dyn Executor>> {
    Ok(match &rule.find {
        Find::Count(count) => Box::new(Counts::new(number, rule, count, conditions)?),
        Find::Aggregate(aggregate) => Box::new(Aggregated::new(number, rule, aggregate, spec, conditions)?),
        Find::Sequence(sequence) => Box::new(Runs::new(number, rule, sequence, spec, conditions)?),
        Find::Rows(pattern) => Box::new(RowMatches::new(number, rule, pattern, spec, conditions)?),
    })
}

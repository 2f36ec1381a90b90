//! A hash table of groups: keys -> accumulators, a batch at a time.
//!
//! ```text
//!  keys ──▶ GroupValues ──▶ group number per row ──▶ one GroupsAccumulator per aggregate
//! ```
//! Rows go in by `update`, states by `merge`; a table sees either rows or states, never both. It is consumed by taking
//! its states (which another table can merge) or its results. Keys are copied in: no input batch is pinned.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::logical_expr::EmitTo;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use crate::error::Result;
use crate::operator::aggregates::{Accumulators, Aggregates, Arguments, grouping_ids};
use crate::operator::expressions::{Failures, evaluate};

/// What the tables of one operator have in common.
#[derive(Debug)]
pub struct GroupLayout {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Keys, then `__grouping_id` where there are grouping sets.
    key_schema: SchemaRef,
    /// Per grouping set: which keys are NULL, and its grouping id.
    sets: Vec<(Vec<bool>, Option<datafusion::common::ScalarValue>)>,
    aggregates: Aggregates,
    /// Keys, then states.
    state_schema: SchemaRef,
}

impl GroupLayout {
    /// Groups rows of schema `input` by `keys` (one grouping set with all keys for `None`). `order` are the columns that
    /// order rows where that matters to an aggregate.
    pub fn new(
        input: &SchemaRef,
        keys: &[(Arc<dyn PhysicalExpr>, FieldRef)],
        grouping_sets: Option<&[Vec<bool>]>,
        functions: &[Arc<AggregateFunctionExpr>],
        filters: &[Option<Arc<dyn PhysicalExpr>>],
        order: &[usize],
    ) -> Result<Self> {
        let aggregates = Aggregates::new(functions, filters, input, order)?;
        let mut key_fields: Vec<FieldRef> = keys.iter().map(|(_, f)| Arc::new(f.as_ref().clone().with_nullable(true))).collect();
        let sets = match grouping_sets {
            None => vec![(vec![false; keys.len()], None)],
            Some(sets) => {
                let ids = grouping_ids(sets)?;
                let id_type = ids.first().map_or(arrow::datatypes::DataType::UInt8, |id| id.data_type());
                key_fields.push(Arc::new(Field::new("__grouping_id", id_type, true)));
                sets.iter().cloned().zip(ids.into_iter().map(Some)).collect()
            }
        };
        let state_fields: Vec<FieldRef> = key_fields.iter().chain(aggregates.state_fields()).cloned().collect();
        Ok(GroupLayout {
            keys: keys.iter().map(|(expr, _)| expr.clone()).collect(),
            key_schema: Arc::new(Schema::new(key_fields)),
            sets,
            aggregates,
            state_schema: Arc::new(Schema::new(state_fields)),
        })
    }

    /// Number of key columns, `__grouping_id` included.
    pub fn key_width(&self) -> usize {
        self.key_schema.fields().len()
    }

    /// Keys, then states: what [`GroupTable::into_states`] gives and [`GroupTable::merge`] takes.
    pub fn state_schema(&self) -> &SchemaRef {
        &self.state_schema
    }

    /// Keys (before grouping sets), arguments and filters over the rows of `batch`.
    pub fn evaluate(&self, batch: &RecordBatch, failures: &mut Failures) -> Result<Evaluated> {
        let keys = self.keys.iter().map(|key| evaluate(key, batch, failures)).collect::<Result<_>>()?;
        Ok(Evaluated { rows: batch.num_rows(), keys, arguments: self.aggregates.evaluate(batch, failures)? })
    }

    /// An empty table.
    pub fn table(&self) -> Result<GroupTable> {
        let values = match self.key_width() {
            0 => None,
            _ => Some(new_group_values(self.key_schema.clone(), &GroupOrdering::None)?),
        };
        Ok(GroupTable { values, groups: 0, accumulators: self.aggregates.accumulators()?, numbers: Vec::new(), rows: None })
    }

    /// Can rows be handed on as states of their own, without a table, at little cost?
    pub fn passes_rows(&self) -> bool {
        matches!(self.sets.as_slice(), [(_, None)]) && self.aggregates.are_vectorised()
    }

    /// Rows as keys and states, each row a group of its own: columns as in [`GroupLayout::state_schema`].
    pub fn states_of_rows(&self, input: &Evaluated) -> Result<Vec<ArrayRef>> {
        let mut columns = input.keys.clone();
        columns.extend(self.aggregates.accumulators()?.states_of_rows(&input.arguments)?);
        Ok(columns)
    }

    /// One batch of states out of several, each group once.
    pub fn merge_states<'a>(&self, states: impl IntoIterator<Item = &'a RecordBatch>) -> Result<RecordBatch> {
        let mut table = self.table()?;
        for states in states {
            table.merge(self, states.columns(), states.num_rows())?;
        }
        table.into_states(self)
    }
}

/// What a table needs to know of some rows.
#[derive(Debug)]
pub struct Evaluated {
    rows: usize,
    keys: Vec<ArrayRef>,
    arguments: Arguments,
}

impl Evaluated {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The same of the given rows only.
    pub fn take(&self, rows: &arrow::array::UInt32Array) -> Result<Self> {
        let keys = arrow::compute::take_arrays(&self.keys, rows, None)?;
        Ok(Evaluated { rows: rows.len(), keys, arguments: self.arguments.take(rows)? })
    }
}

/// A hash table of groups.
pub struct GroupTable {
    /// `None`: no keys, all rows are one group.
    values: Option<Box<dyn GroupValues>>,
    groups: usize,
    accumulators: Accumulators,
    /// Group of each row of the batch at hand; kept for its memory.
    numbers: Vec<usize>,
    /// Rows of each group, where they are counted (with grouping sets each row counts once, in the first set).
    rows: Option<Vec<i64>>,
}

impl GroupTable {
    /// The same (empty) table, counting the rows of each group.
    pub fn counting_rows(mut self) -> Self {
        self.rows = Some(Vec::new());
        self
    }

    /// Rows of each group, where they are counted.
    pub fn rows(&self) -> &[i64] {
        self.rows.as_deref().unwrap_or_default()
    }

    /// Adds rows.
    pub fn update(&mut self, layout: &GroupLayout, input: &Evaluated) -> Result<()> {
        for (set, (nulls, id)) in layout.sets.iter().enumerate() {
            match id {
                None => self.number(&input.keys, input.rows)?,
                Some(id) => {
                    let null = |key: &ArrayRef| new_null_array(key.data_type(), input.rows);
                    let keys = input.keys.iter().zip(nulls).map(|(key, is_null)| if *is_null { null(key) } else { key.clone() });
                    let keys: Vec<ArrayRef> = keys.chain(std::iter::once(id.to_array_of_size(input.rows)?)).collect();
                    self.number(&keys, input.rows)?;
                }
            }
            if let Some(rows) = &mut self.rows {
                rows.resize(self.groups, 0);
                if set == 0 {
                    self.numbers.iter().for_each(|group| rows[*group] += 1);
                }
            }
            self.accumulators.update(&input.arguments, &self.numbers, self.groups)?;
        }
        Ok(())
    }

    /// Adds `rows` groups with their states: columns as in [`GroupLayout::state_schema`].
    pub fn merge(&mut self, layout: &GroupLayout, columns: &[ArrayRef], rows: usize) -> Result<()> {
        let (keys, states) = columns.split_at(layout.key_width());
        self.number(keys, rows)?;
        self.accumulators.merge(states, &self.numbers, self.groups)
    }

    fn number(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        match &mut self.values {
            Some(values) => {
                values.intern(keys, &mut self.numbers)?;
                self.groups = values.len();
            }
            None => {
                self.numbers.clear();
                self.numbers.resize(rows, 0);
                self.groups = self.groups.max(usize::from(rows > 0));
            }
        }
        Ok(())
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        let keys = self.values.as_ref().map_or(0, |values| values.size());
        keys + self.accumulators.bytes() + self.numbers.capacity() * size_of::<usize>()
    }

    /// Keys and states of all groups, in order of appearance.
    pub fn into_states(mut self, layout: &GroupLayout) -> Result<RecordBatch> {
        let mut columns = self.emit_keys()?;
        columns.extend(self.accumulators.take_states()?);
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.groups));
        Ok(RecordBatch::try_new_with_options(layout.state_schema.clone(), columns, &options)?)
    }

    /// Number of groups, and keys and results of all of them, in order of appearance.
    pub fn into_results(mut self) -> Result<(usize, Vec<ArrayRef>)> {
        let mut columns = self.emit_keys()?;
        columns.extend(self.accumulators.take_results()?);
        Ok((self.groups, columns))
    }

    fn emit_keys(&mut self) -> Result<Vec<ArrayRef>> {
        Ok(self.values.as_mut().map(|values| values.emit(EmitTo::All)).transpose()?.unwrap_or_default())
    }
}

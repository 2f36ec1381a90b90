//! A live table as DataFusion sees it: every statement reads one snapshot, a primary key is looked up, not searched.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ColumnStatistics, Constraint, Constraints, DFSchema, Result, ScalarValue, Statistics};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::did_you_mean;
use crate::table::registry::{LiveTable, Tables};
use crate::table::scan::{Access, Piece, ScanExec, ScanParts};
use crate::table::snapshot::{Snapshot, TableSnapshot};
use crate::time::MICROS_PER_MILLI;

/// Most keys that are looked up one by one; a longer IN list is a scan.
const LOOKUP_KEYS: usize = 1_024;

tokio::task_local! {
    /// The snapshot that all tables of the running statement are read from.
    static STATEMENT: Arc<Snapshot>;
}

/// Runs `statement` (planning and starting a query) so that all live tables in it are read at one and the same cut.
pub async fn at_one_cut<F: Future>(tables: &Tables, statement: F) -> F::Output {
    STATEMENT.scope(tables.snapshot(), statement).await
}

/// The live tables as one DataFusion schema.
#[derive(Debug)]
pub struct LiveSchema {
    tables: Tables,
    /// Names that mean something elsewhere, and what: whoever asks for them here is told.
    elsewhere: BTreeMap<String, &'static str>,
}

impl LiveSchema {
    /// Shows `tables`, those made later included.
    pub fn new(tables: Tables) -> Self {
        LiveSchema { tables, elsewhere: BTreeMap::new() }
    }

    /// Knows of these names (and what they are) that they are no live tables.
    pub fn beside(mut self, elsewhere: impl IntoIterator<Item = (String, &'static str)>) -> Self {
        self.elsewhere = elsewhere.into_iter().collect();
        self
    }
}

#[async_trait]
impl SchemaProvider for LiveSchema {
    fn table_names(&self) -> Vec<String> {
        self.tables.snapshot().tables.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.tables.get(name) {
            Ok(table) => Ok(Some(Arc::new(LiveProvider::new(self.tables.clone(), table)))),
            Err(_) if self.elsewhere.contains_key(name) => {
                let kind = self.elsewhere[name];
                let text = format!("'{name}' is a {kind}, not a live table: this door reads live tables, `eagre sql` reads it");
                Err(crate::error::Error::input(text).into())
            }
            Err(error) => {
                let snapshot = self.tables.snapshot();
                // Where a name is near, it is offered; else DataFusion's own message stands.
                let near = did_you_mean(name, snapshot.tables.keys().map(String::as_str));
                if near.is_empty() { Ok(None) } else { Err(error.into()) }
            }
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.snapshot().table(name).is_some()
    }
}

/// One live table. Planned once, it may be run many times: each run reads the snapshot of its own statement.
pub struct LiveProvider {
    tables: Tables,
    table: Arc<LiveTable>,
    constraints: Constraints,
}

impl fmt::Debug for LiveProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveProvider({})", self.table.spec().name)
    }
}

impl LiveProvider {
    /// A provider of `table`.
    pub fn new(tables: Tables, table: Arc<LiveTable>) -> Self {
        let key = &table.spec().primary_key;
        let constraints = if key.is_empty() { Vec::new() } else { vec![Constraint::PrimaryKey(key.clone())] };
        LiveProvider { tables, constraints: Constraints::new_unverified(constraints), table }
    }

    fn snapshot(&self) -> Result<Arc<TableSnapshot>> {
        let name = &self.table.spec().name;
        let of_statement = STATEMENT.try_with(Arc::clone).ok().and_then(|snapshot| snapshot.table(name).cloned());
        // Another engine of this process may have a table of this name: only our own counts.
        let ours = of_statement.filter(|snapshot| Arc::ptr_eq(&snapshot.spec, self.table.spec()));
        ours.or_else(|| self.tables.snapshot().table(name).cloned())
            .ok_or_else(|| crate::error::Error::bug(format!("live table {name} is not in the snapshot")).into())
    }
}

#[async_trait]
impl TableProvider for LiveProvider {
    fn schema(&self) -> SchemaRef {
        self.table.spec().schema.clone()
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        filters
            .iter()
            .map(|filter| {
                Ok(if evaluable(filter)? { TableProviderFilterPushDown::Exact } else { TableProviderFilterPushDown::Unsupported })
            })
            .collect()
    }

    fn statistics(&self) -> Option<Statistics> {
        let snapshot = self.snapshot().ok()?;
        Some(Statistics {
            num_rows: Precision::Exact(snapshot.rows),
            total_byte_size: Precision::Inexact(snapshot.bytes),
            column_statistics: columns(&snapshot),
        })
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let snapshot = self.snapshot()?;
        let schema = snapshot.schema().clone();
        let (access, pieces) = match keys(&snapshot, filters)? {
            Some(keys) => {
                let rows = snapshot.lookup(&keys)?;
                (Access::Lookup, if rows.num_rows() == 0 { Vec::new() } else { vec![Piece { rows, deleted: None }] })
            }
            None => {
                let (from, to) = time_bounds(&snapshot, filters);
                let may_hold = |times: Option<(i64, i64)>| times.is_none_or(|(least, greatest)| greatest >= from && least <= to);
                let chunks = snapshot.chunks.iter().filter(|view| view.live > 0 && may_hold(view.chunk.times));
                (Access::Scan, chunks.map(|view| Piece { rows: view.chunk.rows.clone(), deleted: view.deleted.clone() }).collect())
            }
        };
        let filter = conjunction(filters.iter().cloned())
            .map(|filter| state.create_physical_expr(filter, &DFSchema::try_from(schema.clone())?))
            .transpose()?;
        Ok(Arc::new(ScanExec::new(ScanParts {
            table: snapshot.spec.name.clone(),
            projection: projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect()),
            schema,
            access,
            pieces,
            filter,
            fetch: limit,
            partitions: state.config().target_partitions(),
            columns: columns(&snapshot),
        })?))
    }
}

/// Can the scan judge it by itself: one answer per row, from this table's columns alone?
fn evaluable(filter: &Expr) -> Result<bool> {
    let mut simple = !filter.is_volatile();
    filter.apply(|expr| {
        if matches!(
            expr,
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::OuterReferenceColumn(_, _) | Expr::Placeholder(_)
        ) {
            simple = false;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(simple)
}

/// What is known of each column: the bounds of event time.
fn columns(snapshot: &TableSnapshot) -> Vec<ColumnStatistics> {
    let mut columns = vec![ColumnStatistics::new_unknown(); snapshot.schema().fields().len()];
    let exact = snapshot.chunks.iter().all(|view| view.deleted.is_none());
    if let (Some(column), Some((least, greatest))) = (snapshot.spec.time_column, snapshot.times) {
        let value = |micros: i64| match snapshot.schema().field(column).data_type() {
            DataType::Timestamp(TimeUnit::Millisecond, zone) => {
                ScalarValue::TimestampMillisecond(Some(micros.div_euclid(MICROS_PER_MILLI)), zone.clone())
            }
            DataType::Timestamp(_, zone) => ScalarValue::TimestampMicrosecond(Some(micros), zone.clone()),
            _ => ScalarValue::Null,
        };
        let bound = |micros| if exact { Precision::Exact(value(micros)) } else { Precision::Inexact(value(micros)) };
        columns[column].min_value = bound(least);
        columns[column].max_value = bound(greatest);
    }
    columns
}

/// The primary keys that the filters allow, one array per key column, if they name every key column by value.
fn keys(snapshot: &TableSnapshot, filters: &[Expr]) -> Result<Option<Vec<ArrayRef>>> {
    let (schema, key) = (snapshot.schema(), &snapshot.spec.primary_key);
    if key.is_empty() {
        return Ok(None);
    }
    // Rows of key values, grown column by column.
    let mut rows: Vec<Vec<ScalarValue>> = vec![Vec::new()];
    for column in key {
        let field = schema.field(*column);
        let named = filters.iter().find_map(|filter| values(filter, field.name(), field.data_type()));
        let Some(values) = named else { return Ok(None) };
        if rows.len() * values.len() > LOOKUP_KEYS {
            return Ok(None);
        }
        rows = rows.iter().flat_map(|row| values.iter().map(move |value| row.iter().chain([value]).cloned().collect())).collect();
    }
    if rows.is_empty() {
        return Ok(Some(snapshot.key_types()));
    }
    (0..key.len()).map(|c| ScalarValue::iter_to_array(rows.iter().map(|row| row[c].clone()))).collect::<Result<_>>().map(Some)
}

/// The values that `filter` allows for column `name`, each once, if it says `name = value` or `name IN (values)`.
fn values(filter: &Expr, name: &str, data_type: &DataType) -> Option<Vec<ScalarValue>> {
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == name);
    let value = |expr: &Expr| match expr {
        Expr::Literal(value, _) if !value.is_null() => {
            // Only where the value means the same in the column's type.
            let cast = value.cast_to(data_type).ok()?;
            (cast.cast_to(&value.data_type()).ok()? == *value).then_some(cast)
        }
        _ => None,
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_column(left) => Some(vec![value(right)?]),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_column(right) => Some(vec![value(left)?]),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let mut all = values(left, name, data_type)?;
            for more in values(right, name, data_type)? {
                if !all.contains(&more) {
                    all.push(more);
                }
            }
            Some(all)
        }
        Expr::InList(InList { expr, list, negated: false }) if is_column(expr) => {
            let mut all = Vec::with_capacity(list.len());
            for item in list {
                let item = value(item)?;
                if !all.contains(&item) {
                    all.push(item);
                }
            }
            Some(all)
        }
        _ => None,
    }
}

/// The event times (microseconds, both ends included) that the filters allow.
fn time_bounds(snapshot: &TableSnapshot, filters: &[Expr]) -> (i64, i64) {
    let mut bounds = (i64::MIN, i64::MAX);
    let Some(field) = snapshot.spec.time_column.map(|c| snapshot.schema().field(c)) else { return bounds };
    let micros = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), _), _) => Some(*micros),
        Expr::Literal(ScalarValue::TimestampMillisecond(Some(millis), _), _) => millis.checked_mul(MICROS_PER_MILLI),
        _ => None,
    };
    let is_time = |expr: &Expr| matches!(expr, Expr::Column(column) if &column.name == field.name());
    for filter in filters {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { continue };
        let (op, at) = if is_time(left) {
            (Some(*op), micros(right))
        } else if is_time(right) {
            (op.swap(), micros(left))
        } else {
            continue;
        };
        match (op, at) {
            (Some(Operator::Gt | Operator::GtEq), Some(at)) => bounds.0 = bounds.0.max(at),
            (Some(Operator::Lt | Operator::LtEq), Some(at)) => bounds.1 = bounds.1.min(at),
            (Some(Operator::Eq), Some(at)) => bounds = (bounds.0.max(at), bounds.1.min(at)),
            _ => {}
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
    use arrow::datatypes::{Field, Int64Type, Schema};
    use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider};
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;
    use crate::state::StateHandles;
    use crate::table::TableSpec;
    use crate::table::TableWriter;

    fn context(tables: &Tables) -> SessionContext {
        let config = SessionConfig::new().with_default_catalog_and_schema("eagre", "public").with_target_partitions(2);
        let context = SessionContext::new_with_config(config);
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema("public", Arc::new(LiveSchema::new(tables.clone()))).unwrap();
        context.register_catalog("eagre", Arc::new(catalog));
        context
    }

    /// Table `t(k, v, ts)` with keys k0.. of `per_cut` rows in each of `cuts` cuts, one second each row.
    fn filled(tables: &Tables, cuts: i64, per_cut: i64) -> TableWriter {
        let schema = Schema::new(vec![
            Field::new("k", DataType::Utf8View, true),
            Field::new("v", DataType::Int64, true),
            Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        ]);
        let spec = TableSpec { primary_key: vec![0], time_column: Some(2), ..TableSpec::append("t", Arc::new(schema)) };
        let table = tables.create(spec).unwrap();
        let mut writer = table.writer(0, &mut StateHandles::empty(0, 1)).unwrap();
        for cut in 0..cuts {
            write(&mut writer, &table.spec().schema, cut * per_cut..(cut + 1) * per_cut);
            writer.cut(cut as u64 + 1).unwrap();
            tables.publish(cut as u64 + 1);
        }
        writer
    }

    fn write(writer: &mut TableWriter, schema: &SchemaRef, range: std::ops::Range<i64>) {
        let batch = RecordBatch::try_new(
            schema.clone(),
            vec![
                Arc::new(StringViewArray::from_iter_values(range.clone().map(|i| format!("k{i}")))),
                Arc::new(Int64Array::from_iter_values(range.clone())),
                Arc::new(TimestampMillisecondArray::from_iter_values(range.map(|i| i * 1000))),
            ],
        );
        writer.write(&batch.unwrap()).unwrap();
    }

    async fn run(context: &SessionContext, sql: &str) -> (Vec<i64>, String) {
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let batches = datafusion::physical_plan::collect(plan.clone(), context.task_ctx()).await.unwrap();
        let values = batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        let shown = datafusion::physical_plan::display::DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(true).to_string();
        (values, shown)
    }

    #[tokio::test]
    async fn a_primary_key_is_looked_up_and_not_searched() {
        let tables = Tables::default();
        _ = filled(&tables, 10, 5_000);
        let context = context(&tables);
        for (sql, want, read) in [
            ("SELECT v FROM t WHERE k = 'k777'", vec![777], 1),
            ("SELECT v FROM t WHERE k = 'k777' AND v > 1000", vec![], 1),
            ("SELECT v FROM t WHERE k IN ('k9', 'k40000', 'k9', 'none')", vec![9, 40_000], 2),
        ] {
            let (mut values, plan) = run(&context, sql).await;
            values.sort_unstable();
            assert_eq!(values, want, "{sql}");
            assert!(plan.contains("look-up") && plan.contains(&format!("rows_read={read}")), "{plan}");
        }
        let (values, plan) = run(&context, "SELECT v FROM t WHERE k = 'none'").await;
        assert!(values.is_empty() && plan.contains("look-up"), "{plan}");
    }

    #[tokio::test]
    async fn filters_projections_limits_and_figures_reach_the_scan() {
        let tables = Tables::default();
        let mut writer = filled(&tables, 3, 70_000);
        let context = context(&tables);
        let (values, plan) = run(&context, "SELECT v FROM t WHERE ts >= TIMESTAMP '1970-01-02T15:00:00' AND v % 1000 = 0").await;
        assert_eq!(values.len(), 210 - 141, "{plan}");
        assert!(!plan.contains("FilterExec") && plan.contains("columns=[v]") && plan.contains("rows_read=70.00 K"), "{plan}");
        let (values, plan) = run(&context, "SELECT count(*) FROM t").await;
        assert!(values == [210_000] && !plan.contains("LiveTable"), "counted without reading: {plan}");
        let (values, plan) = run(&context, "SELECT count(*) FROM t WHERE v < 10").await;
        assert_eq!(values, [10], "{plan}");
        let (values, plan) = run(&context, "SELECT v FROM t LIMIT 3").await;
        assert!(values.len() == 3 && plan.contains("fetch=3"), "{plan}");
        // Superseded rows are not counted, by figure or by reading.
        let schema = tables.snapshot().table("t").unwrap().schema().clone();
        write(&mut writer, &schema, 0..5);
        writer.cut(9).unwrap();
        tables.publish(9);
        assert_eq!(run(&context, "SELECT count(*) FROM t").await.0, [210_000]);
        assert_eq!(run(&context, "SELECT count(v) FROM t WHERE v < 10").await.0, [10]);
    }

    #[tokio::test]
    async fn a_prepared_plan_reads_anew_and_a_statement_reads_one_cut() {
        let tables = Tables::default();
        let mut writer = filled(&tables, 1, 10);
        let schema = tables.snapshot().table("t").unwrap().schema().clone();
        let context = context(&tables);
        let prepared = context.sql("SELECT count(v) FROM t").await.unwrap();
        let count = |batches: Vec<RecordBatch>| batches[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(count(prepared.clone().collect().await.unwrap()), 10);
        let within = at_one_cut(&tables, async {
            write(&mut writer, &schema, 10..30);
            writer.cut(2).unwrap();
            tables.publish(2);
            count(prepared.clone().collect().await.unwrap())
        });
        assert_eq!(within.await, 10, "the statement began before the cut");
        assert_eq!(count(prepared.collect().await.unwrap()), 30);
    }
}

//! Scalar and aggregate functions: DataFusion's, overlaid with Flink's where both have one or only Flink does.
//!
//! Comes in: a name. Goes out: a function that DataFusion's planner and expressions know. Always holds: where Flink has
//! a function of that name, its value and its result type hold, except as said below. Read `define.rs` first.
//!
//! | file | functions of Flink |
//! |---|---|
//! | `time.rs` | `TO_TIMESTAMP_LTZ` `TO_TIMESTAMP` `TO_DATE` `DATE_FORMAT` `TIMESTAMPDIFF` `TIMESTAMPADD` `EXTRACT` `YEAR` … `SECOND` `UNIX_TIMESTAMP` `FROM_UNIXTIME` `CURRENT_TIMESTAMP` `NOW` `LOCALTIMESTAMP` `CURRENT_DATE` `CURRENT_TIME` `PROCTIME` |
//! | `text.rs` | `CONCAT` `CONCAT_WS` `SPLIT_INDEX` `CHR` `ASCII` `REPLACE` `OVERLAY` `SUBSTRING` `LEFT` `RIGHT` `LPAD` `RPAD` `LOCATE` `STARTSWITH` `ENDSWITH` `IS_DIGIT` `IS_ALPHA` `IS_DECIMAL` `ELT` |
//! | `regex.rs` | `REGEXP` `REGEXP_EXTRACT` `REGEXP_EXTRACT_ALL` `REGEXP_SUBSTR` `REGEXP_REPLACE` `REGEXP_COUNT` `REGEXP_INSTR` |
//! | `similar.rs` | `SIMILAR TO` |
//! | `number.rs` | `FLOOR` `CEIL` (also `TO` a unit) `LOG` `SIGN` `E` `BIN` `HEX` `RAND_INTEGER` `TYPEOF` |
//! | `json.rs` | `JSON_VALUE` `JSON_QUERY` `JSON_EXISTS` `IS JSON` `JSON_QUOTE` `JSON_UNQUOTE` |
//! | `to_json.rs` | `JSON_OBJECT` `JSON_ARRAY` `JSON_STRING` |
//! | `coding.rs` | `SHA224` … `SHA512` `SHA2` `TO_BASE64` `FROM_BASE64` `URL_ENCODE` `URL_DECODE` `PARSE_URL` |
//! | `collection.rs` | `CARDINALITY` `ELEMENT` `STR_TO_MAP` `ARRAY_SLICE`, what UNNEST takes apart |
//! | `to_text.rs` `by_position.rs` | `CAST(x AS STRING)`, `CAST(r AS ROW<…>)` |
//! | `avg.rs` `sum.rs` | `AVG` `SUM` |
//! | `../forms.rs` | `IF` `IFNULL` `MOD` `GREATEST` `LEAST` `LISTAGG` `APPROX_COUNT_DISTINCT` `RAND` `TRUNCATE` `ROW` |
//! | DataFusion's, the same in Flink | `ABS` `SQRT` `POWER` `EXP` `LN` `LOG10` `LOG2` `ROUND` of doubles, `SIN` and its kin, `UPPER` `LOWER` `TRIM` `POSITION` `CHAR_LENGTH` `REPEAT` `REVERSE` `INITCAP` `MD5` `UUID` `COALESCE` `NULLIF`, `COUNT` `MIN` `MAX` `FIRST_VALUE` `LAST_VALUE` `STDDEV_POP` `VAR_POP` and their kin, `ROW_NUMBER` `RANK` `LAG` `LEAD` … |
//! | DataFusion's, **not** the same | `ROUND` of an integer is a DOUBLE; `ARRAY_POSITION` is a BIGINT without sign; `ENCODE` and `DECODE` are of `hex` and `base64`, not of charsets |
//! | missing, said by name | `CURRENT_WATERMARK` `CONVERT_TZ` `SHA1` `UNHEX` `PRINTF` `JSON` `COLLECT` `OVERLAPS` |

mod avg;
mod by_position;
mod coding;
mod collection;
mod define;
mod exact;
mod json;
mod number;
mod pattern;
pub(super) mod planner;
mod regex;
mod similar;
mod sum;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod to_json;
mod to_text;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::Array as _;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};

pub(super) use by_position::by_position;
pub(super) use collection::{ELEMENTS, NUMBERED_ELEMENTS};
pub(super) use to_text::reads_otherwise;

/// All functions that SQL text can call, by lower-case name.
#[derive(Debug, Clone)]
pub struct Functions {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
    /// Those that stand over DataFusion's, in the order they were added.
    own_scalar: Vec<Arc<ScalarUDF>>,
    own_aggregate: Vec<Arc<AggregateUDF>>,
}

impl Default for Functions {
    /// DataFusion's and Flink's.
    fn default() -> Self {
        let mut functions = Functions {
            scalar: HashMap::new(),
            higher_order: HashMap::new(),
            aggregate: HashMap::new(),
            window: HashMap::new(),
            own_scalar: Vec::new(),
            own_aggregate: Vec::new(),
        };
        for f in SessionStateDefaults::default_scalar_functions() {
            add(&mut functions.scalar, f.name(), f.aliases(), &f);
        }
        for f in SessionStateDefaults::default_higher_order_functions() {
            functions.higher_order.insert(f.name().to_lowercase(), f);
        }
        for f in SessionStateDefaults::default_aggregate_functions() {
            add(&mut functions.aggregate, f.name(), f.aliases(), &f);
        }
        for f in SessionStateDefaults::default_window_functions() {
            add(&mut functions.window, f.name(), f.aliases(), &f);
        }
        let own = [
            time::functions(),
            text::functions(),
            regex::functions(),
            similar::functions(),
            number::functions(),
            json::functions(),
            to_json::functions(),
            coding::functions(),
            collection::functions(),
        ];
        for f in own.into_iter().flatten() {
            functions.add_scalar(Arc::new(f.udf()));
        }
        functions.add_aggregate(Arc::new(avg::avg()));
        functions.add_aggregate(Arc::new(sum::sum()));
        functions
    }
}

impl Functions {
    /// Adds a scalar function, or replaces the one of that name.
    pub fn add_scalar(&mut self, function: Arc<ScalarUDF>) {
        add(&mut self.scalar, function.name(), function.aliases(), &function);
        self.own_scalar.push(function);
    }

    /// Adds an aggregate function, or replaces the one of that name.
    pub fn add_aggregate(&mut self, function: Arc<AggregateUDF>) {
        add(&mut self.aggregate, function.name(), function.aliases(), &function);
        self.own_aggregate.push(function);
    }

    /// The scalar function of that name, in any case of letters.
    pub fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalar.get(&name.to_lowercase()).cloned()
    }

    /// The function over lambdas of that name.
    pub fn higher_order(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.higher_order.get(&name.to_lowercase()).cloned()
    }

    /// The aggregate function of that name.
    pub fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregate.get(&name.to_lowercase()).cloned()
    }

    /// The window function of that name.
    pub fn window(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.window.get(&name.to_lowercase()).cloned()
    }

    /// The scalar functions that stand over DataFusion's, in order.
    pub(super) fn own_scalar(&self) -> &[Arc<ScalarUDF>] {
        &self.own_scalar
    }

    /// The aggregate functions that stand over DataFusion's, in order.
    pub(super) fn own_aggregate(&self) -> &[Arc<AggregateUDF>] {
        &self.own_aggregate
    }

    /// Names of the scalar functions.
    pub fn scalar_names(&self) -> Vec<String> {
        self.scalar.keys().cloned().collect()
    }

    /// Names of the functions over lambdas.
    pub fn higher_order_names(&self) -> Vec<String> {
        self.higher_order.keys().cloned().collect()
    }

    /// Names of the aggregate functions.
    pub fn aggregate_names(&self) -> Vec<String> {
        self.aggregate.keys().cloned().collect()
    }

    /// Names of the window functions.
    pub fn window_names(&self) -> Vec<String> {
        self.window.keys().cloned().collect()
    }
}

/// What `DECIMAL / DECIMAL` becomes.
pub(super) fn decimal_divide() -> ScalarUDF {
    number::decimal_divide_function().udf()
}

/// What `CAST(x AS STRING)` becomes for values that Flink writes in its own way.
pub(super) fn to_text() -> ScalarUDF {
    to_text::function().udf()
}

/// What stands between a text and its cast to an integer.
pub(super) fn whole_part() -> ScalarUDF {
    text::whole_part_function().udf()
}

/// Around what is written into a column that is NOT NULL: the value, unless it is NULL; the second argument tells of what.
pub(super) fn not_null() -> ScalarUDF {
    let check = |args: &define::Args| {
        let values = args.array(0)?;
        match values.null_count() {
            0 => Ok(values),
            _ => Err(DataFusionError::Execution(args.constant_text(1).unwrap_or_default().to_owned())),
        }
    };
    define::Function::new("not_null", define::forms![[define::Kind::Any, define::Kind::Text]], define::Returns::Argument(0), check).udf()
}

fn add<F>(to: &mut HashMap<String, Arc<F>>, name: &str, aliases: &[String], function: &Arc<F>) {
    to.insert(name.to_lowercase(), function.clone());
    for alias in aliases {
        to.insert(alias.to_lowercase(), function.clone());
    }
}

//! Expressions with words in them (`SUBSTRING(x FROM 2)`, `EXTRACT(DAY FROM t)`) planned as calls of our functions.

use std::sync::{Arc, LazyLock};

use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::{text, time};

static SUBSTRING: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(text::substring_function().udf()));
static OVERLAY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(text::overlay_function().udf()));
static EXTRACT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(time::extract_function().udf()));

/// Goes before DataFusion's planners.
#[derive(Debug)]
pub(in crate::sql) struct FlinkExpressions;

impl ExprPlanner for FlinkExpressions {
    fn plan_substring(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(SUBSTRING.clone(), args))))
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(OVERLAY.clone(), args))))
    }

    fn plan_extract(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(EXTRACT.clone(), args))))
    }
}

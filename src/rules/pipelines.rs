//! Where alerts go: rules to the pipelines that fill the tables `alerts` and `shadow_alerts` and the topics.

use arrow::datatypes::{DataType, TimeUnit};
use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};

use crate::connector::address::TopicAddress;
use crate::connector::kafka;
use crate::error::{Error, Place, Result, did_you_mean};
use crate::rules::form::{Mode, RuleText};
use crate::rules::group::groups;
use crate::rules::topic;
use crate::sql::catalog::Catalog;
use crate::sql::lower::{Pipeline, Target};
use crate::sql::plan::Planner;
use crate::sql::types::UTC;

/// The live table of alerts.
pub const ALERTS: &str = "alerts";
/// The live table of what rules in shadow mode would have raised.
pub const SHADOW_ALERTS: &str = "shadow_alerts";

/// What all rules need to know about the project.
#[derive(Debug, Clone, Default)]
pub struct AlertSettings {
    /// How long alerts are kept, in microseconds of event time.
    pub retention_micros: i64,
    /// The topic of rules that name none; `None` = their alerts go to no topic.
    pub topic: Option<String>,
    /// The project's brokers: name -> connector.
    pub brokers: BTreeMap<String, String>,
    /// Who raises them, as events say it: an absolute URI.
    pub source: String,
}

impl AlertSettings {
    /// The topic that takes a rule's alerts, and where that is said.
    fn topic_of(&self, rule: &RuleText) -> Result<Option<(TopicAddress, Place)>> {
        let own = rule.emit.topic.as_ref().map(|topic| (topic.text.as_str(), topic.place.clone()));
        let Some((text, place)) = own.or_else(|| Some((self.topic.as_deref()?, Place::thing("alerts.topic")))) else { return Ok(None) };
        let address = TopicAddress::parse(text).and_then(|address| self.check(&address).map(|()| address));
        Ok(Some((address.map_err(|fault| fault.at(place.clone()))?, place)))
    }

    /// Is it a topic that can take alerts?
    fn check(&self, address: &TopicAddress) -> Result<()> {
        let Some(broker) = &address.broker else { return Ok(()) };
        match self.brokers.get(broker).map(String::as_str) {
            Some(kafka::NAME | kafka::UPSERT) => Ok(()),
            Some(other) => Err(Error::input(format!(
                "'{address}': broker '{broker}' is one of {other}; alerts go to topics of {} and of the log",
                kafka::NAME
            ))),
            None => {
                let near = did_you_mean(broker, self.brokers.keys().map(String::as_str));
                Err(Error::input(format!("'{address}': there is no broker '{broker}' under 'brokers' in eagre.yaml{near}")))
            }
        }
    }
}

/// The pipelines of all rules that are not off. All rules are checked, and all faults told in one go.
pub fn pipelines(rules: &[RuleText], catalog: &Catalog, settings: &AlertSettings) -> Result<Vec<Pipeline>> {
    let mut faults = Vec::new();
    for name in [ALERTS, SHADOW_ALERTS] {
        if let (Some(_), Some(rule)) = (catalog.get(name), rules.first()) {
            let text = format!("'{name}' is the table of what rules raise; call the other one differently");
            faults.push(Error::input(text).at(rule.name.place.clone()));
        }
    }
    if let Err(fault) = groups(rules, catalog) {
        faults.push(fault);
    }
    faults.extend(rules.iter().filter_map(|rule| settings.topic_of(rule).err()));
    if let Some(fault) = Error::all(faults) {
        return Err(fault);
    }
    let running: Vec<RuleText> = rules.iter().filter(|rule| rule.mode != Mode::Off).cloned().collect();
    let mut pipelines = Vec::new();
    for group in groups(&running, catalog)? {
        for (mode, table) in [(Mode::Active, ALERTS), (Mode::Shadow, SHADOW_ALERTS)] {
            let of_mode = |name: &str| running.iter().any(|rule| rule.name.text == name && rule.mode == mode);
            let names: Vec<&str> = group.rules.iter().map(|rule| rule.name.as_str()).filter(|name| of_mode(name)).collect();
            if names.is_empty() {
                continue;
            }
            let all = names.len() == group.rules.len();
            let plan = told(group.plan.clone(), (!all).then_some(&names))?;
            let target = Target::View {
                name: table.to_owned(),
                primary_key: Vec::new(),
                retention_micros: (settings.retention_micros > 0).then_some(settings.retention_micros),
            };
            pipelines.push(Pipeline { target, plan: Planner::new(catalog).finish(plan)?, place: Place::thing("rules") });
        }
        let mut topics: BTreeMap<TopicAddress, (Place, Vec<&str>)> = BTreeMap::new();
        for rule in running.iter().filter(|rule| rule.mode == Mode::Active && group.rules.iter().any(|own| own.name == rule.name.text)) {
            if let Some((address, place)) = settings.topic_of(rule)? {
                topics.entry(address).or_insert_with(|| (place, Vec::new())).1.push(&rule.name.text);
            }
        }
        for (address, (place, rules)) in topics {
            let plan = topic::events(group.plan.clone(), &rules, &settings.source)?;
            let target = Target::Table(Arc::new(topic::table(&address, &place)));
            pipelines.push(Pipeline { target, plan: Planner::new(catalog).finish(plan)?, place });
        }
    }
    Ok(pipelines)
}

/// The alerts of some rules, as tables show them.
fn told(alerts: LogicalPlan, only: Option<&Vec<&str>>) -> Result<LogicalPlan> {
    let columns = alerts.schema().columns();
    let mut plan = LogicalPlanBuilder::from(alerts);
    if let Some(names) = only {
        let names = names.iter().map(|name| lit(ScalarValue::Utf8View(Some((*name).to_owned())))).collect();
        plan = plan.filter(Expr::Column(Column::new_unqualified("rule")).in_list(names, false))?;
    }
    let shown = columns.into_iter().map(|column| {
        let name = column.name.clone();
        match name.as_str() {
            // Streams of either kind of timestamp meet in one table.
            "alert_time" => cast(Expr::Column(column), DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into()))).alias(name),
            _ => Expr::Column(column),
        }
    });
    Ok(plan.project(shown.collect::<Vec<_>>())?.build()?)
}

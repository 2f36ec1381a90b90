//! Rules as a project has them: shipped rules pass their own tests; alerts are raised, kept over a restart, and rules are
//! exchanged while others go on.

use std::collections::{BTreeMap, VecDeque};
use std::io::BufRead as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use eagre::dataflow::settings::Restore;
use eagre::engine::Engine;
use eagre::error::Place;
use eagre::project::{Origin, Project, RuleFile, SqlText};
use eagre::rules::{inline, read};

use super::patterns::random::Random;
use super::queries::data;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_rules_of_the_shop_pass_their_tests() {
    // Loading runs them.
    let engine = Engine::load(Project::open(&root().join("examples/shop")).unwrap()).unwrap_or_else(|e| panic!("{e}"));
    assert!(engine.rules().len() >= 8, "{} rules", engine.rules().len());
    assert!(engine.rules().iter().all(|rule| rule.tests.len() >= 2 && rule.meta.description.is_some()));
}

#[test]
fn the_rules_to_copy_pass_their_tests() {
    let tables = "
        CREATE TABLE logins (user_id STRING, ok BOOLEAN, country STRING, lat DOUBLE, lon DOUBLE, ts TIMESTAMP(3),
          WATERMARK FOR ts AS ts) WITH ('connector' = 'feed', 'format' = 'json');
        CREATE TABLE profile_changes (user_id STRING, field STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
          WITH ('connector' = 'feed', 'format' = 'json');
        CREATE TABLE payments (user_id STRING, amount DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
          WITH ('connector' = 'feed', 'format' = 'json');
        CREATE TABLE mfa (user_id STRING, ok BOOLEAN, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
          WITH ('connector' = 'feed', 'format' = 'json');
        CREATE TABLE redemptions (user_id STRING, coupon STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
          WITH ('connector' = 'feed', 'format' = 'json');
        CREATE MATERIALIZED VIEW seen AS SELECT user_id, ts FROM logins;";
    let dir = tempfile::tempdir().unwrap();
    let engine =
        Engine::load(Project::of_texts("library", dir.path(), vec![SqlText { name: "t.sql".into(), text: tables.into() }])).unwrap();
    let file = "queries/rules/accounts.yaml";
    let rules = read::rules(&std::fs::read_to_string(root().join(file)).unwrap(), file).unwrap_or_else(|e| panic!("{e}"));
    let tests = inline::run_all(&rules, engine.catalog()).unwrap_or_else(|e| panic!("{e}"));
    assert!(tests >= 6, "{tests} tests");
}

/// An aggregate over a step that has taken nothing has no value, also beside a match in which it has one.
#[test]
fn the_sum_of_a_step_that_took_nothing_is_null() {
    let dir = tempfile::tempdir().unwrap();
    let tables = "CREATE TABLE payments (customer STRING, kind STRING, amount INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
                  WITH ('connector' = 'feed', 'format' = 'json'); CREATE MATERIALIZED VIEW seen AS SELECT customer, ts FROM payments;";
    let texts = vec![SqlText { name: "t.sql".into(), text: tables.into() }];
    let engine = Engine::load(Project::of_texts("sums", dir.path(), texts)).unwrap();
    let rule = "rule: sums\non: { pay: payments }\nkey: [customer]
match: { sequence: { within: 1h, skip: none, steps: [ { a: pay, where: \"kind = 'a'\" }, { then: b, of: pay, where: \"kind = 'b'\", optional: true }, \
                { then: c, of: pay, where: \"kind = 'c'\" } ] } }
emit: { type: shop.fraud.Seen, data: { b: 'sum(b.amount)', n: 'count(b)' } }
tests:
  - { events: [ { at: 1s, step: a }, { at: 2s, step: b, with: { amount: 7 } }, { at: 3s, step: c } ], with: { amount: 1 }, alerts: [ { b: 7, n: 1 }, { b: null, n: 0 } ] }
";
    let rules = read::rules(rule, "sums.yaml").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(inline::run_all(&rules, engine.catalog()).unwrap_or_else(|e| panic!("{e}")), 1);
}

/// What ran out of time before a match is told before it, although one watermark decides both: else it would count as
/// within the match's period.
#[test]
fn a_timeout_and_a_later_match_are_raised_in_the_order_of_their_times() {
    let dir = tempfile::tempdir().unwrap();
    let tables = "CREATE TABLE payments (customer STRING, kind STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
                  WITH ('connector' = 'feed', 'format' = 'json'); CREATE MATERIALIZED VIEW seen AS SELECT customer, ts FROM payments;";
    let engine = Engine::load(Project::of_texts("order", dir.path(), vec![SqlText { name: "t.sql".into(), text: tables.into() }])).unwrap();
    let rule = "rule: settled\non: { of: payments }\nkey: [customer]\nsuppress: 5s
match: { sequence: { within: 10s, steps: [ { fail: of, where: \"kind = 'fail'\" }, { then: pay, of: of, where: \"kind = 'pay'\" } ], \
                on_timeout: { emit: { type: shop.payments.Abandoned, data: { what: \"'abandoned'\" } } } } }
emit: { type: shop.payments.Settled, data: { what: \"'settled'\" } }
tests:
  - { events: [ { at: 0s, step: fail }, { at: 20s, step: fail }, { at: 21s, step: pay } ], alerts: [ { what: abandoned }, { what: settled } ] }
";
    let rules = read::rules(rule, "settled.yaml").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(inline::run_all(&rules, engine.catalog()).unwrap_or_else(|e| panic!("{e}")), 1);
}

const PAYMENTS: &str = "
    CREATE TABLE payments (
      id STRING METADATA, correlationid STRING METADATA, customer STRING, amount DOUBLE, ts TIMESTAMP_LTZ(3) METADATA FROM 'time',
      WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
    ) WITH ('connector' = 'feed', 'format' = 'cloudevents');
    CREATE MATERIALIZED VIEW seen AS SELECT customer, ts FROM payments;";

fn count_rule(name: &str, more_than: u32) -> String {
    format!(
        "rule: {name}
on: payments
key: [customer]
match: {{ count: {{ over: 1h, more_than: {more_than} }} }}
emit: {{ type: shop.fraud.FraudAlertRaised, subject: customer, data: {{ customer: customer, payments: 'count()', total: 'sum(amount)' }} }}
tests:
  - {{ at: [0s], with: {{ amount: 1 }}, alerts: 0 }}
"
    )
}

/// A payment as an event.
fn payment(customer: &str, minute: u32, amount: f64) -> String {
    let time = format!("2024-01-01T{:02}:{:02}:00Z", minute / 60, minute % 60);
    format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{customer}-{minute}\",\"source\":\"urn:shop\",\"type\":\"shop.payment.PaymentProcessed\",\
         \"time\":\"{time}\",\"correlationid\":\"visit-{customer}\",\"data\":{{\"customer\":\"{customer}\",\"amount\":{amount}}}}}\n"
    )
}

/// An engine over fed payments, with what has been read so far.
struct Bench {
    engine: Engine,
    fed: u64,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(rules: &[(&str, String)]) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let mut project = Project::of_texts("pay", dir.path(), vec![SqlText { name: "pay.sql".into(), text: PAYMENTS.into() }]);
        project.rules = files(rules);
        for (key, value) in [("parallelism", "2"), ("cut.interval", "1 ms"), ("checkpoint.interval", "1 h")] {
            project.settings.set(key, value, Origin::Set, Place::thing("test")).unwrap();
        }
        let engine = Engine::load(project).unwrap_or_else(|e| panic!("{e}"));
        engine.feed("payments").unwrap().keep();
        Bench { engine, fed: 0, _dir: dir }
    }

    async fn pay(&mut self, customer: &str, minutes: &[u32]) {
        let lines: String = minutes.iter().map(|minute| payment(customer, *minute, 10.5)).collect();
        self.fed += minutes.len() as u64;
        self.engine.feed("payments").unwrap().send_lines(0, lines).await.unwrap();
    }

    /// Payments of several customers, a chunk each: (minute, customer, amount).
    async fn pay_all(&mut self, events: &[(u32, String, u64)]) {
        for (minute, customer, amount) in events {
            let line = payment(customer, *minute, *amount as f64);
            self.engine.feed("payments").unwrap().send_lines(0, line).await.unwrap();
        }
        self.fed += events.len() as u64;
    }

    /// Waits until all that was fed has gone through.
    async fn settle(&self) {
        let read = || {
            let values = self.engine.metrics().values();
            values.iter().filter(|(name, _, _)| name == "eagre_source_records_total").map(|value| value.2 as u64).sum::<u64>()
        };
        let settled = async {
            while read() < self.fed {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut published = self.engine.tables().published();
            let target = *published.borrow() + 4;
            published.wait_for(|epoch| *epoch >= target).await.unwrap();
        };
        tokio::time::timeout(Duration::from_secs(60), settled).await.expect("the pipeline does not come to rest");
    }

    fn alerts(&self, table: &str) -> Vec<serde_json::Value> {
        alerts(&self.engine, table)
    }
}

/// The rows of a live table.
fn alerts(engine: &Engine, table: &str) -> Vec<serde_json::Value> {
    let snapshot = engine.tables().snapshot();
    let Some(table) = snapshot.table(table) else { return Vec::new() };
    let mut rows = Vec::new();
    for batch in table.batches().unwrap() {
        let mut text = Vec::new();
        let mut writer = arrow::json::LineDelimitedWriter::new(&mut text);
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        rows.extend(String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    rows
}

fn files(rules: &[(&str, String)]) -> Vec<RuleFile> {
    rules.iter().map(|(name, text)| RuleFile { name: (*name).to_owned(), text: text.clone() }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sixth_payment_within_an_hour_raises_an_alert_that_names_its_events() {
    let mut bench = Bench::new(&[("velocity.yaml", count_rule("velocity", 5))]);
    let running = bench.engine.start(Restore::Auto, false).await.unwrap();
    bench.pay("a", &[0, 10, 20, 30, 40]).await;
    bench.settle().await;
    assert_eq!(bench.alerts("alerts").len(), 0);
    // Stopped in between: what was counted is kept.
    running.stopper().stop();
    running.wait().await.unwrap();
    let running = bench.engine.start(Restore::Auto, false).await.unwrap();
    bench.pay("a", &[50, 55]).await;
    bench.pay("b", &[56, 90]).await;
    bench.settle().await;
    let alerts = bench.alerts("alerts");
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let alert = &alerts[0];
    assert_eq!(alert["rule"], "velocity");
    assert_eq!(alert["type"], "shop.fraud.FraudAlertRaised");
    assert_eq!(alert["subject"], "a");
    assert_eq!(alert["key"], "{\"customer\":\"a\"}");
    assert_eq!(alert["causationid"], "a-50");
    assert_eq!(alert["correlationid"], "visit-a");
    let data: serde_json::Value = serde_json::from_str(alert["data"].as_str().unwrap()).unwrap();
    assert_eq!(data, serde_json::json!({ "customer": "a", "payments": 6, "total": 63.0 }));
    let ids: Vec<&str> = alert["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a-0", "a-10", "a-20", "a-30", "a-40", "a-50"]);
    running.stopper().stop();
    running.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_is_added_leaves_the_others_counting() {
    let velocity = ("velocity.yaml", count_rule("velocity", 5));
    let mut bench = Bench::new(std::slice::from_ref(&velocity));
    let running = bench.engine.start(Restore::Auto, false).await.unwrap();
    bench.pay("a", &[0, 10, 20, 30, 40]).await;
    bench.settle().await;
    running.stopper().stop();
    running.wait().await.unwrap();
    // One that reads other columns, so that the rows it is given are others, too.
    let other = "rule: large\non: payments\nkey: [customer]\nmatch: { count: { where: \"amount > 10 and id <> 'x'\", over: 1h, at_least: 2 } }\n\
                 emit: { type: shop.fraud.LargePayments, data: { n: 'count()' } }\n";
    bench.engine = bench.engine.with_rules(files(&[velocity, ("other.yaml", other.to_owned())])).unwrap_or_else(|e| panic!("{e}"));
    let running = bench.engine.start(Restore::Latest, true).await.unwrap();
    bench.pay("a", &[50, 55]).await;
    bench.pay("b", &[90]).await;
    bench.settle().await;
    let mut raised: Vec<(String, String)> = bench
        .alerts("alerts")
        .iter()
        .map(|alert| (alert["rule"].as_str().unwrap().to_owned(), alert["causationid"].as_str().unwrap().to_owned()))
        .collect();
    raised.sort();
    assert_eq!(raised, [("large".to_owned(), "a-55".to_owned()), ("velocity".to_owned(), "a-50".to_owned())]);
    // A bad one is refused, with its place, and changes nothing.
    let broken = count_rule("velocity", 5).replace("customer, payments", "custmer, payments");
    let fault = bench.engine.with_rules(files(&[("velocity.yaml", broken)])).map(|_| ()).unwrap_err().to_string();
    assert!(fault.contains("velocity.yaml:5:") && fault.contains("did you mean 'customer'?"), "{fault}");
    running.stopper().stop();
    running.wait().await.unwrap();
}

/// Rules of every kind that look back over what came before: `warm` says whether they begin with it.
fn looking_back(warm: bool) -> Vec<RuleFile> {
    let finds = [
        ("velocity", "{ count: { over: 1h, more_than: 5 } }"),
        ("large", "{ count: { where: \"amount > 30\", over: 1h, at_least: 3 } }"),
        ("spend", "{ aggregate: { expr: 'sum(amount)', over: 1h, having: '> 150' } }"),
        (
            "climb",
            "{ sequence: { within: 1h, steps: [ { low: payments, where: 'amount < 15' }, { next: mid, of: payments, where: 'amount > low.amount', \
             times: 1+ }, { then: top, of: payments, where: 'amount > last(mid.amount)' } ] } }",
        ),
    ];
    let warm_up = if warm { "warm_up: log\n" } else { "" };
    let text = |(name, find): (&str, &str)| {
        format!(
            "rule: {name}\non: {{ payments: payments }}\nkey: [customer]\n{warm_up}match: {find}\nemit: {{ type: shop.fraud.Seen, data: {{ n: 'count()' }} }}\n"
        )
    };
    let text =
        |(name, find)| (name, if name == "climb" { text((name, find)).replace("'count()'", "'count(mid)'") } else { text((name, find)) });
    files(&finds.map(|find| {
        let (name, text) = text(find);
        (name, text)
    }))
}

/// Rule and last event of each alert.
fn told(bench: &Bench) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut told: Vec<_> = bench.alerts("alerts").iter().map(|alert| (text(&alert["rule"]), text(&alert["causationid"]))).collect();
    told.sort();
    told
}

/// Rules that are added with `warm_up: log` raise from then on what they would have raised had they run all the time, and
/// nothing for what was complete before; also when one takes another shape, and when the run is stopped right after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_warms_up_goes_on_as_if_it_had_run_all_the_time() {
    let one = count_rule("other", 3).replace("match: { count: {", "match: { count: { where: \"amount > 40\",");
    let other = files(&[("other.yaml", one)]);
    let seed = Random::seed();
    let mut random = Random::new(seed);
    // Minutes, customer and amount; no two at one minute, so that an event is known by them.
    let mut some = |numbers: std::ops::Range<u32>| -> Vec<(u32, String, u64)> {
        numbers.map(|number| (5 * number, ["a", "b", "c"][random.below(3) as usize].to_owned(), random.below(50))).collect()
    };
    let (events, last) = (some(0..240), some(240..280));
    let swap = 100 + random.below(60) as usize;
    let mut always = Bench::new(&[]);
    always.engine = always.engine.with_rules(other.iter().cloned().chain(looking_back(false)).collect()).unwrap_or_else(|e| panic!("{e}"));
    let mut added = Bench::new(&[("other.yaml", other[0].text.clone())]);
    let mut before = Vec::new();
    let mut given = Vec::new();
    for (bench, adds) in [(&mut always, false), (&mut added, true)] {
        let running = bench.engine.start(Restore::Auto, false).await.unwrap();
        bench.pay_all(&events[..swap]).await;
        bench.settle().await;
        running.stopper().stop();
        running.wait().await.unwrap();
        let seen = told(bench);
        if adds {
            let all = other.iter().cloned().chain(looking_back(true)).collect();
            bench.engine = bench.engine.with_rules(all).unwrap_or_else(|e| panic!("{e}"));
            // Stopped before its first checkpoint but the last one.
            let running = bench.engine.start(Restore::Latest, true).await.unwrap();
            running.stopper().stop();
            running.wait().await.unwrap();
            assert!(seen.iter().all(|(rule, _)| rule == "other") && told(bench) == seen, "nothing is raised for what was complete before");
        }
        let running = bench.engine.start(Restore::Latest, true).await.unwrap();
        bench.pay_all(&events[swap..]).await;
        bench.settle().await;
        running.stopper().stop();
        running.wait().await.unwrap();
        before.push(seen);
        given.push(told(bench));
    }
    let from_then_on: Vec<_> = given[0].iter().filter(|alert| alert.0 == "other" || !before[0].contains(alert)).cloned().collect();
    assert!(
        ["velocity", "large", "spend", "climb"].iter().all(|name| from_then_on.iter().any(|(rule, _)| rule == name)),
        "{from_then_on:?}"
    );
    assert_eq!(given[1], from_then_on, "EAGRE_SEED={seed}");

    // The same rule is not warmed up twice; another shape of it is new.
    let reshaped = looking_back(true)
        .into_iter()
        .map(|file| RuleFile { text: file.text.replace("over: 1h, more_than: 5", "over: 2h, more_than: 9"), ..file });
    added.engine = added.engine.with_rules(other.iter().cloned().chain(reshaped).collect()).unwrap_or_else(|e| panic!("{e}"));
    let running = added.engine.start(Restore::Latest, true).await.unwrap();
    added.pay_all(&last).await;
    added.settle().await;
    running.stopper().stop();
    running.wait().await.unwrap();
    // Time had not passed the last event when the rule was changed: the new shape decides on it. Nor has it passed the last
    // one of all.
    let decided = events[events.len() - 1].0..last[last.len() - 1].0;
    let mut expected = Vec::new();
    for customer in ["a", "b", "c"] {
        let times: Vec<u32> = events.iter().chain(&last).filter(|event| event.1 == customer).map(|event| event.0).collect();
        let mut before = None;
        for time in &times {
            let holds = times.iter().filter(|other| *other <= time && **other + 120 > *time).count() > 9;
            let held = before.is_some_and(|(at, held)| held && at + 120 > *time);
            if holds && !held && decided.contains(time) {
                expected.push(format!("{customer}-{time}"));
            }
            before = Some((*time, holds));
        }
    }
    expected.sort();
    let more = told(&added).into_iter().filter(|alert| alert.0 == "velocity" && !given[1].contains(alert)).map(|(_, event)| event);
    assert_eq!(more.collect::<Vec<_>>(), expected, "EAGRE_SEED={seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_whose_stream_cannot_be_read_again_does_not_warm_up() {
    let tables = "
        CREATE TABLE payments (id STRING METADATA, customer STRING, amount DOUBLE, ts TIMESTAMP_LTZ(3) METADATA FROM 'time', WATERMARK FOR ts AS ts)
          WITH ('connector' = 'feed', 'format' = 'cloudevents');
        CREATE TABLE visits (customer STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
          WITH ('connector' = 'filesystem', 'path' = 'visits.jsonl', 'format' = 'json');
        CREATE VIEW minutes AS SELECT customer, window_time, COUNT(*) AS n
          FROM TABLE(TUMBLE(TABLE visits, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, window_time, customer;";
    let rule = |on: &str| {
        let emit = "emit: { type: shop.fraud.Seen, data: { n: 'count()' } }";
        format!("rule: busy\non: {on}\nkey: [customer]\nwarm_up: log\nmatch: {{ count: {{ over: 1h, more_than: 2 }} }}\n{emit}\n")
    };
    for (on, why) in [("payments", "table 'payments' (feed payments)"), ("minutes", "comes out of window aggregation")] {
        let dir = tempfile::tempdir().unwrap();
        let mut project = Project::of_texts("pay", dir.path(), vec![SqlText { name: "pay.sql".into(), text: tables.into() }]);
        project.rules = files(&[("busy.yaml", rule(on))]);
        let fault = Engine::load(project).map(|_| ()).unwrap_err().to_string();
        assert!(fault.starts_with("busy.yaml:1:7: rule 'busy': ") && fault.contains(why) && fault.contains("leave out warm_up"), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_in_shadow_mode_raises_nothing() {
    let shadow = format!("{}mode: shadow\n", count_rule("velocity", 1));
    let mut bench = Bench::new(&[("velocity.yaml", shadow)]);
    let running = bench.engine.start(Restore::Auto, false).await.unwrap();
    bench.pay("a", &[0, 10]).await;
    bench.pay("b", &[90]).await;
    bench.settle().await;
    assert_eq!(bench.alerts("alerts").len(), 0);
    assert_eq!(bench.alerts("shadow_alerts").len(), 1);
    running.stopper().stop();
    running.wait().await.unwrap();
}

/// An event of the shop: user, type, seconds, id.
type Visit = (String, String, i64, String);

/// The shop's events by user, in order of time.
fn visits() -> BTreeMap<String, Vec<Visit>> {
    let file = std::fs::File::open(data().join("shop-events.jsonl.gz")).unwrap();
    let text = std::io::read_to_string(flate2::read::MultiGzDecoder::new(file)).unwrap();
    let mut users: BTreeMap<String, Vec<Visit>> = BTreeMap::new();
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let time = chrono::DateTime::parse_from_rfc3339(event["time"].as_str().unwrap()).unwrap().timestamp();
        let user = text(&event["data"]["userId"]);
        users.entry(user.clone()).or_default().push((user, text(&event["type"]), time, text(&event["id"])));
    }
    // Stable: events of one second stay in the order of the file.
    users.values_mut().for_each(|events| events.sort_by_key(|event| event.2));
    users
}

/// The event that each alert of a rule tells as its first, and its last, as the rule's sentence has it.
fn expected(rule: &str, events: &[Visit]) -> Vec<(String, String)> {
    let is = |at: usize, name: &str| events[at].1 == format!("shop.{name}");
    let id = |at: usize| events[at].3.clone();
    let mut found = Vec::new();
    match rule {
        "cart-abandoned" => {
            for at in (0..events.len()).filter(|at| is(*at, "cart.ItemAdded")) {
                let mut later = (at + 1..events.len()).take_while(|later| events[*later].2 < events[at].2 + 1_800);
                if !later.any(|later| is(later, "order.OrderCreated")) {
                    found.push((id(at), id(at)));
                }
            }
        }
        "payment-fails-again" => {
            let mut within: VecDeque<usize> = VecDeque::new();
            for at in (0..events.len()).filter(|at| is(*at, "payment.PaymentFailed")) {
                let before = within.len();
                within.retain(|old| events[*old].2 > events[at].2 - 3_600);
                let held = before >= 2 && !within.is_empty();
                within.push_back(at);
                if within.len() >= 2 && !held {
                    found.push((id(within[0]), id(at)));
                }
            }
        }
        _ => {
            let steps = ["cart.ItemAdded", "checkout.ShippingEntered", "checkout.PaymentEntered", "order.OrderCreated"];
            let whole = |from: usize| {
                let next = |at: usize, step: &&str| (at + 1..events.len()).find(|later| is(*later, step));
                let end = steps.iter().try_fold(from, next)?;
                (events[end].2 - events[from].2 < 3_600).then_some((end, from))
            };
            let mut all: Vec<(usize, usize)> = (0..events.len()).filter(|at| is(*at, "product.ProductViewed")).filter_map(whole).collect();
            all.sort();
            let mut over = None;
            for (end, from) in all {
                if over.is_none_or(|over| from > over) {
                    found.push((id(from), id(end)));
                    over = Some(end);
                }
            }
        }
    }
    found
}

/// Real events of a shop: what the rules say of them is what their sentences say, computed from whole files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_carts_failing_payments_and_the_funnel_of_a_real_shop() {
    let events = format!(
        "CREATE TABLE events (userId STRING, `type` STRING METADATA VIRTUAL, id STRING METADATA VIRTUAL, source STRING METADATA VIRTUAL,
           ts TIMESTAMP_LTZ(3) METADATA FROM 'time' VIRTUAL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'cloudevents');",
        data().join("shop-events.jsonl.gz").display()
    );
    let visits = visits();
    let text = std::fs::read_to_string(root().join("queries/rules/journeys.yaml")).unwrap();
    for parallelism in ["1", "3"] {
        let dir = tempfile::tempdir().unwrap();
        let mut project = Project::of_texts("shop", dir.path(), vec![SqlText { name: "shop.sql".into(), text: events.clone() }]);
        project.rules = files(&[("journeys.yaml", text.clone())]);
        for (key, value) in [("parallelism", parallelism), ("alerts.retention", "10000 d")] {
            project.settings.set(key, value, Origin::Set, Place::thing("test")).unwrap();
        }
        let engine = Engine::load(project).unwrap_or_else(|e| panic!("{e}"));
        engine.start(Restore::Auto, false).await.unwrap().wait().await.unwrap();
        let mut raised: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for alert in alerts(&engine, "alerts") {
            let events = alert["events"].as_array().unwrap();
            let id = |event: Option<&serde_json::Value>| event.unwrap()["id"].as_str().unwrap().to_owned();
            raised.entry(alert["rule"].as_str().unwrap().to_owned()).or_default().push((id(events.first()), id(events.last())));
        }
        for (rule, at_least) in [("cart-abandoned", 500), ("payment-fails-again", 5), ("bought-at-once", 40)] {
            let mut wanted: Vec<(String, String)> = visits.values().flat_map(|events| expected(rule, events)).collect();
            let given = raised.get_mut(rule).unwrap_or_else(|| panic!("{rule} raises nothing"));
            given.sort();
            wanted.sort();
            assert_eq!(given.len(), wanted.len(), "{rule} at parallelism {parallelism}");
            assert_eq!(*given, wanted, "{rule} at parallelism {parallelism}");
            assert!(wanted.len() >= at_least, "{rule}: hardly an answer: {}", wanted.len());
        }
    }
}

/// Five kinds of alerts a second of event time, among 100,000 payments a second.
fn busy(dir: &Path, rows: u32) {
    let payments = format!(
        "CREATE TABLE payments (id BIGINT, customer STRING, amount INT, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts - INTERVAL '2' SECOND)
         WITH ('connector' = 'datagen', 'rows-per-second' = '100000', 'start-time' = '2024-01-01 00:00:00', 'number-of-rows' = '{rows}',
               'partitions' = '2', 'fields.id.kind' = 'sequence', 'fields.customer.pattern' = 'C-#####', 'fields.customer.min' = '1',
               'fields.customer.max' = '20000', 'fields.amount.min' = '1', 'fields.amount.max' = '1000', 'fields.ts.max-past' = '1 s');"
    );
    std::fs::create_dir_all(dir.join("queries")).unwrap();
    std::fs::create_dir_all(dir.join("rules")).unwrap();
    std::fs::write(dir.join("queries/payments.sql"), payments).unwrap();
    std::fs::write(dir.join("eagre.yaml"), "alerts.retention: 10000 d\nparallelism: 2\n").unwrap();
    std::fs::write(dir.join("rules/steady.yaml"), frequent("steady", 900, 3)).unwrap();
}

fn frequent(name: &str, amount: u32, at_least: u32) -> String {
    format!(
        "rule: {name}\non: payments\nkey: [customer]\nmatch: {{ count: {{ where: \"amount > {amount}\", over: 2s, at_least: {at_least} }} }}\n\
         emit: {{ type: shop.fraud.FraudAlertRaised, subject: customer, data: {{ first: \"min(id)\", last: \"max(id)\" }} }}\n"
    )
}

/// What the last run of a folder has raised, by rule.
fn raised(dir: &Path) -> BTreeMap<String, Vec<String>> {
    let sql = "SELECT rule, subject, data FROM alerts";
    let done = eagre(dir, &["sql", ".", "--format", "json", "-c", sql]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut raised: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(done.stdout).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        raised.entry(row["rule"].as_str().unwrap().to_owned()).or_default().push(format!("{} {}", row["subject"], row["data"]));
    }
    raised.values_mut().for_each(|rows| rows.sort());
    raised
}

fn eagre(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eagre"));
    command.current_dir(dir).args(arguments).stdin(Stdio::null()).env("RUST_LOG", "info");
    command
}

/// A rule is saved, and another taken away, while events flow: those of the other rules are neither lost nor late.
#[test]
fn rules_are_saved_while_events_flow_and_the_others_do_not_notice() {
    const ROWS: u32 = 4_000_000;
    let (calm, changed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    busy(calm.path(), ROWS);
    let done = eagre(calm.path(), &["run", ".", "--no-serve"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let wanted = raised(calm.path());
    assert!(wanted["steady"].len() > 100, "hardly an alert");

    busy(changed.path(), ROWS);
    std::fs::write(changed.path().join("rules/leaves.yaml"), frequent("leaves", 990, 1)).unwrap();
    let mut run = eagre(changed.path(), &["run", ".", "--no-serve"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    let mut swapped = 0;
    for line in std::io::BufReader::new(run.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("starting afresh") {
            std::fs::write(changed.path().join("rules/comes.yaml"), frequent("comes", 950, 2)).unwrap();
        }
        if line.contains("rules run now") {
            swapped += 1;
            if swapped == 1 {
                std::fs::remove_file(changed.path().join("rules/leaves.yaml")).unwrap();
            }
        }
        told += &line;
        told.push('\n');
    }
    assert!(run.wait().unwrap().success(), "{told}");
    assert_eq!(swapped, 2, "the rules were to be exchanged twice while events flow:\n{told}");
    assert!(!told.contains("reached no result"), "{told}");
    let given = raised(changed.path());
    let other = given["steady"].iter().zip(&wanted["steady"]).find(|(given, wanted)| given != wanted);
    assert_eq!((given["steady"].len(), other), (wanted["steady"].len(), None), "the rule that was left alone");
    assert!(!given["leaves"].is_empty() && !given["comes"].is_empty(), "{told}");
}

/// A rule that warms up on millions of events, in a process that is killed while it does: from then on it raises what it
/// would have raised had it run all the time.
#[test]
fn a_rule_that_is_killed_while_it_warms_up_counts_every_event_once() {
    const ROWS: u32 = 4_000_000;
    let warm = || format!("{}warm_up: log\n", frequent("comes", 950, 2));
    let (always, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    busy(always.path(), ROWS);
    std::fs::write(always.path().join("rules/comes.yaml"), warm()).unwrap();
    let done = eagre(always.path(), &["run", ".", "--no-serve"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let wanted = raised_at(always.path(), "comes");

    busy(killed.path(), ROWS);
    let mut told = String::new();
    for kills in [true, false] {
        let mut run = eagre(killed.path(), &["run", ".", "--no-serve", "--set", "checkpoint.interval=300 ms"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut checkpoints = 0;
        for line in std::io::BufReader::new(run.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            told += &line;
            told.push('\n');
            if line.contains("starting afresh") {
                while checkpoints < 3 {
                    std::thread::sleep(Duration::from_millis(20));
                    checkpoints = manifests(killed.path());
                }
                std::fs::write(killed.path().join("rules/comes.yaml"), warm()).unwrap();
            }
            if kills && line.contains("warming up") {
                run.kill().unwrap();
            }
        }
        assert_eq!(run.wait().unwrap().success(), !kills, "{told}");
    }
    assert_eq!(told.matches("warming up from what was read before: comes").count(), 2, "{told}");
    assert_eq!(told.matches("warmed up on").count(), 1, "{told}");
    let given = raised_at(killed.path(), "comes");
    let from = given.iter().map(|(time, _)| time.clone()).min().unwrap();
    let from_then_on: Vec<_> = wanted.iter().filter(|(time, _)| *time >= from).cloned().collect();
    assert!(given.len() > 100 && given.len() < wanted.len(), "{} of {}", given.len(), wanted.len());
    let other = given.iter().zip(&from_then_on).find(|(given, wanted)| given != wanted);
    assert_eq!((given.len(), other), (from_then_on.len(), None), "{told}");
    assert_eq!(raised(killed.path())["steady"], raised(always.path())["steady"], "the rule that was left alone");
}

/// Number of checkpoints that a project's folder holds.
fn manifests(dir: &Path) -> usize {
    let found = std::fs::read_dir(dir.join(".eagre")).into_iter().flatten().flatten();
    found.flat_map(|entry| walk(&entry.path())).filter(|name| name.starts_with("manifest-")).count()
}

fn walk(path: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return path.file_name().map(|name| name.to_string_lossy().into_owned()).into_iter().collect();
    };
    entries.flatten().flat_map(|entry| walk(&entry.path())).collect()
}

/// Time and content of a rule's alerts, in order.
fn raised_at(dir: &Path, rule: &str) -> Vec<(String, String)> {
    let sql = format!("SELECT CAST(alert_time AS VARCHAR) AS at, subject, data FROM alerts WHERE rule = '{rule}'");
    let done = eagre(dir, &["sql", ".", "--format", "json", "-c", &sql]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let row = |line: &str| -> serde_json::Value { serde_json::from_str(line).unwrap() };
    let rows = String::from_utf8(done.stdout).unwrap().lines().map(row).collect::<Vec<_>>();
    let mut raised: Vec<_> = rows.iter().map(|row| (row["at"].to_string(), format!("{} {}", row["subject"], row["data"]))).collect();
    raised.sort();
    raised
}

//! Every case of `cep.jsonl` and `cep_more.jsonl` that means something here: as it stands, in random cuts, with a checkpoint and a restore
//! between any two events, and dealt to other numbers of tasks.
//!
//! Each is read from `EAGRE_CASES` (default `../shared/cases`), where it is not there from `tests/cases`. A case does not apply because of
//! what it uses, never because of its name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::driver::{Emitted, Step, run};
use super::random::Random;
use super::row_cases;
use super::translate::{Case, Events, RUN, pattern, read};

fn file(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = std::env::var_os("EAGRE_CASES").map_or_else(|| here.join("../shared/cases"), PathBuf::from);
    let file = dir.join(name);
    if file.exists() { file } else { here.join("tests/cases").join(name) }
}

/// The steps that give an operator the events: cut before the rows in `cuts`, with a watermark and a restore there if asked.
fn steps(events: &Events, end: i64, cuts: &[usize], marks: bool, restores: &dyn Fn(usize) -> Option<usize>) -> Vec<Step> {
    let rows = events.rows.num_rows();
    let mut steps = Vec::new();
    let mut from = 0;
    for (number, to) in cuts.iter().copied().chain([rows]).enumerate() {
        if to > from {
            steps.push(Step::Rows(events.rows.slice(from, to - from)));
        }
        if let Some(next) = events.times[to..].iter().min().filter(|_| marks && number % 3 != 1) {
            steps.push(Step::Mark(next * 1_000));
        }
        steps.extend(restores(number).map(Step::Restore));
        from = to;
    }
    let last = events.times.iter().max().unwrap_or(&0) * 1_000 + 1;
    steps.push(Step::Mark(last));
    steps.extend(restores(0).map(Step::Restore));
    steps.push(Step::Mark(end.max(last)));
    steps
}

/// (events per step, time of a timeout), sorted.
type Answer = Vec<(Vec<Vec<i64>>, Option<i64>)>;

fn expected(case: &Case) -> Answer {
    let lists = |value: &Value| -> Vec<Vec<i64>> {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step.as_array().unwrap().iter().map(|event| event.as_i64().unwrap()).collect())
            .collect()
    };
    let mut answer: Answer = case.body["matches"].as_array().unwrap().iter().map(|one| (lists(one), None)).collect();
    let timeouts = case.body["timeouts"].as_array().into_iter().flatten();
    answer.extend(timeouts.map(|timeout| (lists(&timeout["steps"]), timeout["ts"].as_i64())));
    answer.sort();
    answer
}

fn found(case: &Case, emitted: &[Emitted], key: Option<i64>) -> Answer {
    let labels: Vec<&str> = case.body["match_steps"].as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect();
    let mut answer: Answer = emitted
        .iter()
        .filter(|one| key.is_none() || one.key == key)
        .map(|one| {
            let of = |label: &&str| {
                one.events.iter().filter(|(step, _)| step.split(RUN).next() == Some(*label)).map(|(_, event)| *event).collect()
            };
            (labels.iter().map(of).collect(), (one.what == "timeout").then_some(one.time))
        })
        .collect();
    answer.sort();
    answer
}

/// All ways to give the events.
pub fn ways(events: &Events, end: i64, random: &mut Random) -> [(&'static str, Vec<Step>); 5] {
    let rows = events.rows.num_rows();
    let every: Vec<usize> = (1..rows).collect();
    let cuts: Vec<usize> = every.iter().copied().filter(|_| random.below(2) == 0).collect();
    [
        ("whole", steps(events, end, &[], false, &|_| None)),
        ("cut", steps(events, end, &cuts, false, &|_| None)),
        ("cut with watermarks", steps(events, end, &cuts, true, &|_| None)),
        ("restored", steps(events, end, &every, true, &|_| Some(1))),
        ("dealt anew", steps(events, end, &every, true, &|number| Some(1 + number % 3))),
    ]
}

/// Runs a case every way; says what is wrong.
fn try_case(case: &Case, random: &mut Random) -> Result<(), String> {
    let (spec, events) = match pattern(case) {
        Ok(found) => found,
        Err(why) => return Err(format!("? {why}")),
    };
    let end = match case.body["final_watermark"].as_i64() {
        Some(ms) => ms * 1_000,
        None if case.dialect == "eql" => i64::MAX,
        None => i64::MIN,
    };
    for (way, steps) in ways(&events, end, random) {
        let result = run(&spec, &steps);
        if let Some(error) = case.body["expect_error"].as_str() {
            match result {
                Err(_) => continue,
                Ok(emitted) => return Err(format!("{way}: must fail ({error}), but finds {emitted:?}")),
            }
        }
        let emitted = result.map_err(|error| format!("{way}: {error}"))?;
        let keys = if events.key.is_some() { vec![None] } else { vec![Some(1), Some(2)] };
        for key in keys {
            let (found, expected) = (found(case, &emitted, key), expected(case));
            if found != expected {
                return Err(format!("{way}, key {key:?}:\n    found    {found:?}\n    expected {expected:?}"));
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_of_public_test_suites() {
    let seed = Random::seed();
    let mut random = Random::new(seed);
    let mut cases = Vec::new();
    for file in ["cep.jsonl", "cep_more.jsonl"].map(file) {
        let own = read(&std::fs::read_to_string(&file).unwrap());
        println!("{} cases of {}, EAGRE_SEED={seed}", own.len(), file.display());
        cases.extend(own);
    }
    // Per dialect: passed, applicable, all.
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut failed = 0;
    for case in &cases {
        let [passed, applicable, all] = counts.entry(&case.dialect).or_default();
        *all += 1;
        let tried = if row_cases::is_rows(case) { row_cases::try_rows(case, &mut random).await } else { try_case(case, &mut random) };
        match tried {
            Ok(()) => (*passed, *applicable) = (*passed + 1, *applicable + 1),
            Err(why) if why.starts_with("? ") => println!("  {} does not apply: {}", case.id, &why[2..]),
            Err(why) => {
                *applicable += 1;
                failed += 1;
                println!("  {} FAILED: {why}", case.id);
            }
        }
    }
    for (dialect, [passed, applicable, all]) in &counts {
        println!("{dialect}: {passed}/{applicable}/{all} (passed/applicable/all)");
    }
    assert_eq!(failed, 0, "cases failed");
    for dialect in ["nfa", "eql", "match_recognize"] {
        let applies = |case: &&Case| case.dialect == dialect && case.body.get("variant").is_none();
        let wanted = cases.iter().filter(applies).count();
        assert_eq!(counts.get(dialect).map_or(0, |[passed, ..]| *passed), wanted, "every {dialect} case applies");
    }
}

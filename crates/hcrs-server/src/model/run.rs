//! Runs of many episodes, and the tests.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Instant;

use super::Material;
use super::invariants::{Answer, Broken, Checked};
use super::planted::{self, Planted};
use super::random::Random;
use super::world::World;

/// The number of steps of the run that is part of the tests.
const SHORT: u64 = 150_000;

/// The number of steps within which each planted fault has to be found.
const PLANTED: u64 = 400_000;

/// The seed of runs without one of their own.
const SEED: u64 = 0x6863_7273;

/// The counts of a run.
#[derive(Debug, Default)]
struct Tally {
    steps: u64,
    episodes: u64,
    requests: u64,
    outcomes: BTreeMap<String, u64>,
    events: BTreeMap<&'static str, u64>,
}

/// A run in which a rule was broken.
#[derive(Debug)]
struct Failure {
    episode: u64,
    steps: u64,
    why: String,
    story: String,
}

/// Runs episodes until at least `steps` steps were taken.
fn run(seed: u64, steps: u64) -> Result<Tally, Box<Failure>> {
    let material = Rc::new(Material::new().expect("a file in memory"));
    let mut seeds = Random::new(seed);
    let mut tally = Tally::default();
    while tally.steps < steps {
        let episode = seeds.next();
        run_episode(episode, &material, &mut tally)?;
    }
    Ok(tally)
}

fn run_episode(seed: u64, material: &Rc<Material>, tally: &mut Tally) -> Result<(), Box<Failure>> {
    let mut random = Random::new(seed ^ 1);
    let len = random.choose(&[50, 300, 1000, 3000]);
    let began = Instant::now();
    let mut world = match World::new(seed, Rc::clone(material), began) {
        Ok(world) => world,
        Err(Broken(why)) => panic!("{why}"),
    };
    let start = tally.steps;
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Checked {
        for _ in 0..len {
            tally.steps += 1;
            world.step()?;
        }
        world.settle()
    }));
    let why = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(Broken(why))) => Some(why),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("panic: {}", text.unwrap_or("of another kind")))
        }
    };
    if let Some(why) = why {
        let story = world.story();
        return Err(Box::new(Failure {
            episode: seed,
            steps: tally.steps,
            why,
            story: format!("step {} of the episode{story}", tally.steps - start),
        }));
    }
    tally.episodes += 1;
    for (event, count) in &world.scene.records.events {
        *tally.events.entry(event).or_default() += count;
    }
    for record in &world.scene.records.all {
        tally.requests += 1;
        let outcome = match record.answer {
            Some(Answer::Complete) => "complete".to_owned(),
            Some(Answer::Reset) => {
                format!(
                    "reset {}",
                    if record.begun_by.is_some() { "after it was begun" } else { "before it was begun" }
                )
            }
            Some(Answer::Fault(fault)) => format!("{fault:?}"),
            None => "none".to_owned(),
        };
        *tally.outcomes.entry(outcome).or_default() += 1;
    }
    Ok(())
}

/// The faults that are planted, each to be found.
const FAULTS: [Planted; 13] = [
    Planted::SlotFreedAtWithdrawal,
    Planted::CreditsByIndex,
    Planted::DoneLost,
    Planted::ReplaySentTwice,
    Planted::CreditTwice,
    Planted::UnbegunDropped,
    Planted::BegunRescued,
    Planted::HalfCloseLost,
    Planted::WakeLost,
    Planted::QueueHalved,
    Planted::GoneBegun,
    Planted::OldestFirst,
    Planted::ShedInCalm,
];

/// Runs the model until it finds a planted fault. Returns the failure.
fn find(fault: Planted) -> Failure {
    let outcome = planted::with(fault, || run(SEED, PLANTED));
    *outcome.expect_err(&format!("{fault:?} is found in {PLANTED} steps"))
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.replace('_', "").parse().ok()
}

/// Returns the counts of a run as a page.
fn page(seed: u64, tally: &Tally) -> String {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| "unknown".to_owned());
    let (date, commit) = (variable("HCRS_MODEL_DATE"), variable("HCRS_MODEL_COMMIT"));
    let Tally { steps, episodes, requests, outcomes, events } = tally;
    let mut page = format!(
        "# The model's last long run\n\nMade by `make model`.\n\n| | |\n|---|---|\n| date | {date} |\n| commit | {commit} |\n\
         | seed | {seed} |\n| steps | {steps} |\n| episodes | {episodes} |\n| requests | {requests} |\n\
         | rules broken | 0 |\n"
    );
    let mut table = |title: &str, rows: Vec<(String, String)>| {
        let rows = rows.iter().map(|(name, what)| format!("| {name} | {what} |")).collect::<Vec<_>>();
        page.extend(["\n| ", title, " | |\n|---|---|\n", &rows.join("\n"), "\n"]);
    };
    let outcomes = outcomes.iter().map(|(outcome, count)| (outcome.clone(), count.to_string()));
    table("how requests ended", outcomes.collect());
    let events = events.iter().map(|(event, count)| ((*event).to_owned(), count.to_string()));
    table("what has happened", events.collect());
    let found =
        FAULTS.map(|fault| (format!("{fault:?}"), format!("found after {} steps", find(fault).steps)));
    table("planted faults", found.to_vec());
    page
}

#[test]
fn every_request_is_answered_once_by_its_own_answer_whatever_happens() {
    let steps = from_environment("HCRS_MODEL_STEPS").unwrap_or(SHORT);
    let seed = from_environment("HCRS_MODEL_SEED").unwrap_or(SEED);
    let outcome = match from_environment("HCRS_MODEL_EPISODE") {
        Some(episode) => {
            let mut tally = Tally::default();
            let material = Rc::new(Material::new().unwrap());
            run_episode(episode, &material, &mut tally).map(|()| tally)
        }
        None => run(seed, steps),
    };
    let tally = outcome.unwrap_or_else(|failure| {
        let Failure { episode, steps, why, story } = *failure;
        panic!("{why}\nHCRS_MODEL_EPISODE={episode} shows it, {steps} steps after seed {seed}; {story}");
    });
    for outcome in ["complete", "WorkerLost", "RetireTimeout"] {
        assert!(tally.outcomes.contains_key(outcome), "{outcome}");
    }
    assert!(tally.events.contains_key("ticks under pressure"), "{:?}", tally.events);
    if let Ok(path) = std::env::var("HCRS_MODEL_RESULTS") {
        std::fs::write(path, page(seed, &tally)).unwrap();
    }
}

#[test]
fn a_seed_yields_the_same_run_each_time() {
    let runs = [(); 2].map(|()| run(7, 10_000).unwrap());
    let [first, second] = runs.map(|tally| (tally.steps, tally.requests, tally.outcomes, tally.events));
    assert_eq!(first, second);
}

#[test]
fn every_planted_fault_is_found() {
    for fault in FAULTS {
        assert!(!find(fault).why.is_empty());
    }
}

//! Does a recorded plan, without its seed, give the same run again?
#![allow(clippy::unwrap_used, missing_docs)]
// The order of a map is one of the decisions here.
#![allow(clippy::disallowed_types)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use dismantle_sim::{
    Destroyed, Digest, EventKind, JoinHandle, Limits, Name, Options, Pending, Phase, Plan,
    Question, Report, Runner, Seed, Sim, Stopped, Tracked, Value, Vocabulary, inject_panic, share,
    timeout,
};

const SEEDS: u64 = 200;

static PARAMETERS: [Question; 1] = [Question::count("jobs", (0, 12), 0, &[share(1, 1, 6)])];

const ENDS: [&str; 5] = ["returns", "waits", "spawns", "panics", "aborts"];

static QUESTIONS: [Question; 5] = [
    Question::count("job.*.objects", (0, 6), 0, &[share(1, 0, 6)]),
    Question::count(
        "job.*.sleep_us",
        (0, 5000),
        0,
        &[share(1, 0, 3), share(1, 0, 5000)],
    ),
    Question::word("job.*.end", &ENDS, &[share(1, 0, 4)]),
    Question::count("job.*.steps", (0, 9), 0, &[share(1, 0, 9)]),
    Question::word("job.*.listed", &["no", "yes"], &[share(1, 0, 1)]),
];

const DREW: EventKind = EventKind::new("drew");

fn vocabulary(scenario: &str) -> Option<Vocabulary> {
    (scenario == "replay").then(|| {
        let mut questions: Vec<&'static [Question]> = vec![&QUESTIONS];
        questions.extend(dismantle_sim::questions());
        Vocabulary {
            scenario: "replay",
            limits: Limits::default(),
            parameters: &PARAMETERS,
            questions,
        }
    })
}

type Handles = Rc<RefCell<Vec<JoinHandle<()>>>>;

async fn job(sim: Sim, number: u32, handles: Handles) {
    let part = [number.into()];
    let objects = sim.ask(&QUESTIONS[0], &part) as u32;
    let name = |index| Name::numbered("job", "object", number * 10 + index);
    let object = |index| sim.track(name(index), ());
    let kept: HashMap<u32, Tracked<()>> =
        (0..objects).map(|index| (index, object(index))).collect();
    let slept = timeout(&sim, 1000, sim.sleep_us(sim.ask(&QUESTIONS[1], &part))).await;
    sim.event(DREW, name(9), [u64::from(slept.is_ok()), sim.now_us()]);
    let mut polls = 0;
    poll_fn(|context| {
        polls += 1;
        context.waker().wake_by_ref();
        if polls < 3 {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    match ENDS[sim.ask(&QUESTIONS[2], &part) as usize] {
        "waits" => pending().await,
        "spawns" if number < 40 => spawn(&sim, number + 20, &handles),
        "panics" => inject_panic(),
        "aborts" => {
            let last = handles.borrow_mut().pop();
            if let Some(last) = last {
                last.abort();
                drop(last);
            }
        }
        _ => {}
    }
    drop(kept);
}

fn spawn(sim: &Sim, number: u32, handles: &Handles) {
    let name = Name::numbered("job", "task", number);
    let task = sim.spawn(name, job(sim.clone(), number, handles.clone()));
    handles.borrow_mut().push(task);
}

fn body(sim: &Sim) -> Result<(), Stopped> {
    let handles = Handles::default();
    sim.enter(Phase::Drive, || {
        for number in 1..=sim.ask(&PARAMETERS[0], &[]) as u32 {
            spawn(sim, number, &handles);
            sim.steps(sim.ask(&QUESTIONS[3], &[number.into()]))?;
            sim.operation(number);
        }
        Ok(())
    })?;
    sim.enter(Phase::Teardown, || {
        let mut names: HashMap<u32, Tracked<()>> = HashMap::new();
        for number in 1..=12 {
            if sim.ask(&QUESTIONS[4], &[number.into()]) == 1 {
                names.insert(
                    number,
                    sim.track(Name::numbered("owner", "object", number), ()),
                );
            }
        }
        let first = handles.borrow().first().map(|task| task.abort());
        drop((first, names));
        // The healed phase does the rest.
        sim.steps(10)?;
        Ok(())
    })
}

/// Everything that a report says, but for bytes.
#[derive(PartialEq, Debug)]
struct Told {
    digest: Digest,
    destroyed: Vec<Destroyed>,
    never_destroyed: BTreeMap<Name, u32>,
    pending: Vec<Pending>,
    answers: Vec<(String, Value)>,
    steps: u64,
    time_us: u64,
}

impl Told {
    fn of(report: Report) -> Self {
        assert_eq!(report.panics, []);
        assert_eq!(report.limit, None);
        Self {
            digest: report.digest,
            destroyed: report.destroyed,
            never_destroyed: report.never_destroyed,
            pending: report.pending,
            answers: report.answers.unwrap(),
            steps: report.steps,
            time_us: report.time_us,
        }
    }
}

fn told(runner: &Runner, plan: &Plan, seed: Option<Seed>) -> Told {
    let options = Options {
        seed,
        record: true,
        ..Options::default()
    };
    Told::of(runner.run(plan, &options, body))
}

fn empty() -> Plan {
    Plan::new(vocabulary("replay").unwrap())
}

fn recorded(told: &Told) -> Plan {
    let mut plan = empty();
    for (path, value) in &told.answers {
        plan.set(path, value).unwrap();
    }
    assert_eq!(
        plan.len(),
        told.answers.len(),
        "no decision is recorded twice"
    );
    plan
}

#[test]
fn a_recorded_plan_replays_without_its_seed() {
    let runner = Runner::new();
    let mut digests = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for seed in 0..SEEDS {
        let first = told(&runner, &empty(), Some(Seed(seed)));
        let plan = recorded(&first);
        assert_eq!(told(&runner, &plan, None), first, "seed {seed}\n{plan}");
        for (path, _) in &first.answers {
            let after = path.split_once(".priority_after.");
            // There are three changes; a healed schedule asks nothing.
            assert!(
                after.is_none_or(|(_, change)| change.parse::<u32>().unwrap() <= 3),
                "{path}"
            );
        }
        digests.insert(first.digest.to_string());
        asked.extend(first.answers.into_iter().map(|(path, _)| kind_of(&path)));
    }
    // The property says nothing if the seeds do not differ, or leave something out.
    assert!(digests.len() as u64 > SEEDS * 9 / 10, "{}", digests.len());
    let all: Vec<&str> = asked.iter().map(String::as_str).collect();
    assert_eq!(
        all,
        [
            "hash_keys",
            "job.end",
            "job.listed",
            "job.objects",
            "job.sleep_us",
            "job.steps",
            "jobs",
            "schedule.change.operation",
            "task.priority",
            "task.priority_after",
        ]
    );
}

/// A decision's path without what fills its stars.
fn kind_of(path: &str) -> String {
    let kept = path.split('.').filter(|segment| {
        !segment.starts_with('"') && !segment.starts_with(|c: char| c.is_ascii_digit())
    });
    kept.collect::<Vec<_>>().join(".")
}

#[test]
fn a_plan_that_was_written_and_read_replays_too() {
    let runner = Runner::new();
    for seed in 0..SEEDS {
        let first = told(&runner, &empty(), Some(Seed(seed)));
        let text = recorded(&first).to_string();
        let plan = Plan::read(&text, vocabulary).unwrap();
        assert_eq!(plan.to_string(), text);
        assert_eq!(told(&runner, &plan, None), first, "seed {seed}\n{text}");
    }
}

#[test]
fn what_a_plan_gives_is_not_drawn() {
    let runner = Runner::new();
    for seed in 0..SEEDS {
        let first = told(&runner, &empty(), Some(Seed(seed)));
        let mut plan = recorded(&first);
        // Another seed answers the rest; what is given stays.
        plan.set("jobs", &Value::Count(2)).unwrap();
        plan.set("job.1.end", &Value::Word("waits".to_owned()))
            .unwrap();
        let other = told(&runner, &plan, Some(Seed(seed + 1)));
        for (path, value) in &other.answers {
            let mut given = plan.answers().filter(|(given, _)| given == path);
            if let Some((_, given)) = given.next() {
                assert_eq!(given, value, "seed {seed}, {path}");
            }
        }
        assert!(
            other
                .answers
                .contains(&("jobs".to_owned(), Value::Count(2)))
        );
        let first = Name::numbered("job", "task", 1);
        // The owner aborts its first task, and another may abort its last one.
        assert!(other.pending.iter().all(|pending| pending.task != first));
    }
}

#[test]
fn a_plan_without_any_one_of_its_decisions_runs_to_its_end() {
    let runner = Runner::new();
    let mut runs = 0;
    for seed in 0..SEEDS {
        let plan = recorded(&told(&runner, &empty(), Some(Seed(seed))));
        let paths: Vec<String> = plan.answers().map(|(path, _)| path).collect();
        for path in paths {
            let mut smaller = plan.clone();
            assert!(smaller.remove(&path));
            // `Told::of` says that there was no panic and no limit.
            let smaller = told(&runner, &smaller, None);
            assert!(smaller.answers.iter().all(|(left, _)| *left != path));
            assert!(smaller.never_destroyed.is_empty());
            runs += 1;
        }
    }
    assert!(runs > SEEDS * 5, "{runs}");
}

#[test]
fn the_empty_plan_is_a_run_that_asks_for_nothing() {
    let told = told(&Runner::new(), &empty(), None);
    assert_eq!(told.answers, []);
    assert_eq!(told.steps, 0);
    assert_eq!(told.destroyed, []);
}

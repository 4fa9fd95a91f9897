//! Budgets that are kept: quotas and what was consumed add up to what was granted, across crashes and
//! restarts, and no crash gives anything back.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use banyan_actors::simulation::{Ending, Simulation};
use banyan_actors::{
    Actor, Addr, Configuration, DurableActor, DurableStore, Failure, Handle, Kinds, Quota, Resource, Runtime,
    RuntimeOptions, Signal, Sponsor, Work, closure,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

const GRANT: Quota = Quota { memory: 1 << 30, cycles: 1 << 30, events: 1 << 20 };

/// By name: what is left, and what is consumed.
type Books = BTreeMap<String, ([u64; 3], [u64; 3])>;

fn books(handle: &Handle) -> Books {
    handle.sponsors().into_iter().map(|one| (one.name, (one.left, one.consumed))).collect()
}

fn sum(books: &Books) -> [u64; 3] {
    books.values().fold([0; 3], |sum, (left, consumed)| {
        std::array::from_fn(|which| sum[which] + left[which] + consumed[which])
    })
}

#[derive(Clone, Debug)]
enum Step {
    Sponsor(u8, u64),
    Grant(u8, u64),
    /// Events on a sponsor's account, and the steps of the hosts to handle them.
    Spend(u8, u16, u16),
    Crash,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..6_u8, 1..50_000_u64).prop_map(|(name, amount)| Step::Sponsor(name, amount)),
        1 => (0..6_u8, 1..10_000_u64).prop_map(|(name, amount)| Step::Grant(name, amount)),
        6 => (0..6_u8, 1..200_u16, 0..400_u16).prop_map(|(name, events, steps)| Step::Spend(name, events, steps)),
        2 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..40)
}

fn quota(amount: u64) -> Quota {
    Quota { memory: 200 * amount, cycles: 100 * amount, events: amount }
}

struct Running {
    simulation: Simulation,
    worker: Addr<u64>,
}

fn begin(seed: u64, path: &Path) -> Running {
    let simulation = Simulation::kept(seed, 2, GRANT, path).unwrap();
    let worker = closure((), |(), _: &u64, _| Ok(()));
    let worker = simulation.create(Configuration::new("worker").with_behaviour(worker)).typed();
    Running { simulation, worker }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_granted_is_left_or_consumed_whatever_crashes(seed in any::<u64>(), steps in steps()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("budgets.arena");
        let mut running = begin(seed, &path);
        let mut granted = [GRANT.memory, GRANT.cycles, GRANT.events];
        for (number, step) in steps.into_iter().enumerate() {
            let simulation = &mut running.simulation;
            match step {
                Step::Sponsor(name, amount) => {
                    let name = format!("sponsor {name}");
                    if simulation.find_sponsor(&name).is_none() {
                        let _ = simulation.sponsor(&name, quota(amount));
                    }
                }
                Step::Grant(name, amount) => {
                    if let Some(sponsor) = simulation.find_sponsor(&format!("sponsor {name}")) {
                        simulation.grant(&sponsor, quota(amount));
                        let more = quota(amount);
                        granted = [granted[0] + more.memory, granted[1] + more.cycles, granted[2] + more.events];
                    }
                }
                Step::Spend(name, events, steps) => {
                    if let Some(sponsor) = simulation.find_sponsor(&format!("sponsor {name}")) {
                        for event in 0..events {
                            simulation.send_under(&sponsor, &running.worker, u64::from(event));
                        }
                        simulation.run(u64::from(steps));
                    }
                }
                Step::Crash | Step::Restart => {
                    if matches!(step, Step::Restart) {
                        // Idle hosts settle their leases, so that the books say what is spent.
                        simulation.run(1_000_000);
                    }
                    let before = books(simulation);
                    if matches!(step, Step::Crash) {
                        drop(running);
                    } else {
                        running.simulation.close();
                    }
                    running = begin(seed ^ number as u64, &path);
                    let after = books(&running.simulation);
                    let names = |books: &Books| books.keys().cloned().collect::<Vec<_>>();
                    prop_assert_eq!(names(&before), names(&after), "every sponsor is there again");
                    for (name, (left, consumed)) in &before {
                        for which in 0..3 {
                            prop_assert!(after[name].0[which] <= left[which], "{} got something back", name);
                            prop_assert!(after[name].1[which] >= consumed[which], "{} was forgiven", name);
                        }
                    }
                    if matches!(step, Step::Restart) {
                        prop_assert_eq!(&before, &after, "a clean end takes nothing");
                    }
                }
            }
            prop_assert!(running.simulation.is_conserved());
            prop_assert_eq!(sum(&books(&running.simulation)), granted);
        }
    }
}

/// Counts what was done on a sponsor's account, and is kept.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Counter(u64);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Count {
    One,
    Read(Addr<u64>),
}

impl Actor for Counter {
    type Message = Count;
    fn receive(&self, message: &Count, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            Count::One => work.become_next(Self(self.0 + 1)),
            Count::Read(reply) => work.send(reply, self.0),
        }
        Ok(())
    }
}

impl DurableActor for Counter {
    const KIND: &'static str = "test.kept_counter";
}

const EVENTS: u64 = 3_000;
const DEADLINE: Duration = Duration::from_secs(20);

fn open(runtime: &Runtime, directory: &Path) -> (Sponsor, Addr<Count>) {
    let sponsor = runtime.find_sponsor("counted").unwrap_or_else(|| {
        runtime.sponsor("counted", Quota { memory: 1 << 30, cycles: 1 << 50, events: EVENTS }).unwrap()
    });
    let store = DurableStore::open(&directory.join("counter.arena"), Kinds::new().with::<Counter>()).unwrap();
    let counter = runtime.open(Configuration::new("counter").durable(store, Counter(0))).unwrap();
    (sponsor, counter.typed())
}

fn start(directory: &Path) -> Runtime {
    let options = RuntimeOptions { hosts: 2, pin: false, ..RuntimeOptions::default() };
    Runtime::start_kept(options, &directory.join("budgets.arena")).unwrap()
}

/// The process that is killed; as a test it does nothing.
#[test]
fn spender() {
    let Some(directory) = std::env::var_os("BANYAN_TEST_SPENDER") else { return };
    let directory = Path::new(&directory);
    let runtime = start(directory);
    let (sponsor, counter) = open(&runtime, directory);
    println!("OPEN");
    for number in 0..EVENTS {
        if number == 100 {
            runtime.ask(&counter, DEADLINE, Count::Read).unwrap();
            println!("WORKED");
        }
        runtime.send_under(&sponsor, &counter, Count::One);
        std::thread::yield_now();
    }
    std::thread::sleep(10 * DEADLINE);
}

/// A process that spends is killed again and again: all it has done in all its lives is within the one
/// budget.
#[test]
fn a_budget_is_not_spent_twice_by_a_process_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = 7_u64;
    for round in 0..25 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "spender", "--nocapture"]).env("BANYAN_TEST_SPENDER", directory.path());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        // Killed while it begins, or after it has done something.
        let words = if round % 2 == 0 { "WORKED" } else { "OPEN" };
        let came = output.lines().map_while(Result::ok).any(|line| line.contains(words));
        assert!(came, "round {round}");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros((random >> 33) % 4_000));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let runtime = start(directory.path());
    let (_, counter) = open(&runtime, directory.path());
    // What was queued goes on, as far as there is something left to pay for it.
    let mut before = None;
    let begun = Instant::now();
    let done = loop {
        let now = runtime.ask(&counter, DEADLINE, Count::Read).unwrap();
        if before == Some(now) {
            break now;
        }
        assert!(begun.elapsed() < DEADLINE);
        before = Some(now);
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(done > 0);
    assert!(done <= EVENTS, "{done} events were done, {EVENTS} were paid for");
    assert!(runtime.is_conserved());
    let books = books(&runtime);
    let (left, consumed) = books["counted"];
    assert_eq!(left[2] + consumed[2], EVENTS);
    assert!(consumed[2] >= done, "{consumed:?} cover the {done} that were done");
}

/// What an event has given is the receiver's after a crash, although the event's configuration is not
/// durable.
#[test]
fn what_is_given_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("budgets.arena");
    let mut simulation = Simulation::kept(1, 2, GRANT, &path).unwrap();
    let receiver = simulation.sponsor("receiver", quota(1)).unwrap();
    let giver = closure(receiver, |receiver, amount: &u64, context| {
        context.transfer(receiver, quota(*amount))?;
        Ok(())
    });
    let giver = simulation.create(Configuration::new("giver").with_behaviour(giver));
    simulation.send(&giver.typed(), 400_u64);
    assert_eq!(simulation.run(10_000), Ending::Drained);
    let before = books(&simulation);
    drop(simulation);
    let after = books(&Simulation::kept(2, 2, GRANT, &path).unwrap());
    assert_eq!(after["receiver"], before["receiver"]);
    assert_eq!(after["receiver"].0[2], 401);
    assert_eq!(sum(&after), sum(&before));
}

/// A controller that is an actor of a durable configuration is told of an exhaustion after a restart as well.
#[test]
fn a_kept_controller_is_told_after_a_restart() {
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Controller(u64);
    impl Actor for Controller {
        type Message = Signal;
        fn receive(&self, signal: &Signal, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
            if signal.resource != Resource::Events {
                return Err(Failure::because("only events are short here"));
            }
            work.become_next(Self(self.0 + 1));
            Ok(())
        }
    }
    impl DurableActor for Controller {
        const KIND: &'static str = "test.controller";
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("budgets.arena");
    let open = |simulation: &Simulation| -> Addr<Signal> {
        let store = directory.path().join("controller.arena");
        let store = DurableStore::open(&store, Kinds::new().with::<Controller>()).unwrap();
        simulation.open(Configuration::new("controller").durable(store, Controller(0))).unwrap().typed()
    };
    let worker = |simulation: &Simulation| -> Addr<u64> {
        let worker = closure((), |(), _: &u64, _| Ok(()));
        simulation.create(Configuration::new("worker").with_behaviour(worker)).typed()
    };
    {
        let mut simulation = Simulation::kept(1, 2, GRANT, &path).unwrap();
        let controller = open(&simulation);
        let starter = closure(controller, |controller, (): &(), context| {
            let sponsor = context.new_sponsor("watched")?;
            context.transfer(&sponsor, Quota { memory: 1 << 20, cycles: 1 << 20, events: 400 })?;
            context.start(&sponsor, controller)?;
            Ok(())
        });
        let starter = simulation.create(Configuration::new("starter").with_behaviour(starter));
        simulation.send(&starter.typed(), ());
        assert_eq!(simulation.run(10_000), Ending::Drained);
        // A crash.
    }
    let mut simulation = Simulation::kept(2, 2, GRANT, &path).unwrap();
    open(&simulation);
    let watched = simulation.find_sponsor("watched").unwrap();
    let worker = worker(&simulation);
    for number in 0..500 {
        simulation.send_under(&watched, &worker, number);
    }
    assert_eq!(simulation.run(100_000), Ending::Drained);
    let controller = simulation.configurations().into_iter().find(|one| one.name == "controller").unwrap();
    assert_eq!((controller.events, controller.failures), (1, 0), "told once");
    assert!(simulation.is_conserved());
    assert!(simulation.sponsors().iter().any(|one| one.name == "watched" && one.waiting > 0));
}

#[test]
fn what_holds_no_budgets_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counter.arena");
    drop(DurableStore::open(&path, Kinds::new()).unwrap());
    let error = Simulation::kept(1, 1, GRANT, &path).err().unwrap().to_string();
    assert!(error.contains("counter.arena") && error.contains("durable configuration"), "{error}");
    let budgets = directory.path().join("budgets.arena");
    Simulation::kept(1, 1, GRANT, &budgets).unwrap().close();
    let kept = Simulation::kept(1, 1, GRANT, &budgets).unwrap();
    let error = Simulation::kept(1, 1, GRANT, &budgets).err().unwrap().to_string();
    assert!(error.contains("budgets.arena"), "locked by another: {error}");
    drop(kept);
}

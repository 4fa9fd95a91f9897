//! Gifts between kept budgets: nothing tells of one before it is kept, however the disk is, and whatever is
//! killed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod killed;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use banyan_actors::durable::StoreHealth;
use banyan_actors::handle::Granted;
use banyan_actors::simulation::Ending;
use banyan_actors::{
    Actor, Addr, Configuration, Context, DurableActor, DurableStore, Failure, Handle, Kinds, Quota, Runtime,
    RuntimeOptions, Simulation, Work, closure,
};
use serde::{Deserialize, Serialize};

use killed::Random;

const GRANT: Quota = Quota { memory: 1 << 40, cycles: 1 << 40, events: 1 << 40 };
const GIFT: Quota = Quota { memory: 1 << 20, cycles: 1 << 20, events: 1_000 };
const STEPS: u64 = 100_000;
const DEADLINE: Duration = Duration::from_secs(20);

fn events_of(handle: &Handle, name: &str) -> Option<u64> {
    handle.sponsors().into_iter().find(|one| one.name == name).map(|one| one.left[2] + one.consumed[2])
}

/// Makes a sponsor, gives to it, and says so.
#[derive(Serialize, Deserialize)]
struct Giver;

#[derive(Serialize, Deserialize)]
struct Give {
    to: String,
    tell: Addr<String>,
}

impl Actor for Giver {
    type Message = Give;
    fn receive(&self, give: &Give, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        let sponsor = work.new_sponsor(&give.to)?;
        work.transfer(&sponsor, GIFT)?;
        work.send(&give.tell, give.to.clone());
        Ok(())
    }
}

impl DurableActor for Giver {
    const KIND: &'static str = "test.giver";
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    Durable,
    InMemory,
}

/// What was told of, to an actor of another configuration.
struct Run {
    simulation: Simulation,
    giver: Addr<Give>,
    listener: Addr<String>,
    told: Receiver<String>,
}

fn begin(directory: &Path, kind: Kept, seed: u64) -> Run {
    // One host: a single step of it can let the clock go on.
    let simulation = Simulation::kept(seed, 1, GRANT, &directory.join("budgets.arena")).unwrap();
    let giver = Configuration::new("giver");
    let giver = match kind {
        Kept::InMemory => simulation.create(giver.with_actor(Giver)).typed(),
        Kept::Durable => {
            let kinds = Kinds::new().with::<Giver>();
            let store = DurableStore::open(&directory.join("giver.arena"), kinds).unwrap();
            simulation.open(giver.durable(store, Giver)).unwrap().typed()
        }
    };
    let (tell, told) = channel();
    let listener = closure(tell, |tell, name: &String, _: &mut Context<'_>| {
        tell.send(name.clone()).map_err(|error| Failure::because(error.to_string()))
    });
    let listener = simulation.create(Configuration::new("listener").with_behaviour(listener)).typed();
    Run { simulation, giver, listener, told }
}

/// Whatever was told of a gift at any instant is there after a crash at that instant; nothing is lost by the
/// wait, and all goes on when the disk does.
#[test]
fn a_gift_is_told_of_when_it_is_kept() {
    let ways = [StoreHealth::Full, StoreHealth::Faulty].into_iter().flat_map(|health| {
        [Kept::InMemory, Kept::Durable]
            .into_iter()
            .flat_map(move |kind| (0..4_u32).map(move |commits| (health, kind, commits)))
    });
    for (seed, (health, kind, commits)) in (1..).zip(ways) {
        let directory = tempfile::tempdir().unwrap();
        let mut run = begin(directory.path(), kind, seed);
        run.simulation.run(STEPS);
        run.simulation.spoil_budgets(health, commits);
        for number in 0..3 {
            run.simulation
                .send(&run.giver, Give { to: format!("heir {number}"), tell: run.listener.clone() });
        }
        let mut rested = false;
        let told = (0..STEPS).find_map(|_| {
            run.simulation.run(1);
            rested |= run.simulation.configurations().iter().any(|one| one.store == health);
            run.told.try_recv().ok()
        });
        assert_eq!(told.as_deref(), Some("heir 0"), "{health:?} {kind:?} {commits}");
        assert_eq!(rested, commits > 0, "{health:?} {kind:?} {commits}");
        // A crash at the moment that it is told of.
        drop(run);
        let run = begin(directory.path(), kind, seed);
        assert_eq!(events_of(&run.simulation, "heir 0"), Some(GIFT.events), "{health:?} {kind:?} {commits}");
    }
}

/// The rest is told of as well, once and in order, and what others do meanwhile is not held up.
#[test]
fn who_gives_goes_on_when_the_budgets_are_kept() {
    for (health, kind) in [
        (StoreHealth::Full, Kept::InMemory),
        (StoreHealth::Faulty, Kept::InMemory),
        (StoreHealth::Full, Kept::Durable),
        (StoreHealth::Faulty, Kept::Durable),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut run = begin(directory.path(), kind, 7);
        run.simulation.run(STEPS);
        run.simulation.spoil_budgets(health, 3);
        run.simulation.send(&run.giver, Give { to: "heir".into(), tell: run.listener.clone() });
        // Until it rests; the clock stands still while there is work.
        let rests =
            |simulation: &Simulation| simulation.configurations().iter().any(|one| one.store == health);
        assert!((0..STEPS).any(|_| {
            run.simulation.run(1);
            rests(&run.simulation)
        }));
        run.simulation.send(&run.giver, Give { to: "late".into(), tell: run.listener.clone() });
        run.simulation.send(&run.listener, "a neighbour".into());
        assert_eq!(run.simulation.run(STEPS), Ending::Drained, "{health:?} {kind:?}");
        let told: Vec<String> = run.told.try_iter().collect();
        assert_eq!(told, ["a neighbour", "heir", "late"], "{health:?} {kind:?}");
        assert!(!rests(&run.simulation) && run.simulation.is_conserved());
        for name in ["heir", "late"] {
            assert_eq!(events_of(&run.simulation, name), Some(GIFT.events));
        }
    }
}

/// From outside of any event: a sponsor that cannot be kept is not made, and a grant says that it is not
/// kept.
#[test]
fn what_is_made_from_outside_is_kept_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = begin(directory.path(), Kept::InMemory, 3);
    run.simulation.spoil_budgets(StoreHealth::Full, 2);
    assert_eq!(run.simulation.sponsor("early", GIFT), None);
    assert_eq!(events_of(&run.simulation, "early"), None);
    let root = run.simulation.root_sponsor();
    assert_eq!(run.simulation.grant(&root, GIFT), Granted::NotYetKept);
    assert_eq!(run.simulation.run(STEPS), Ending::Drained);
    assert!(run.simulation.sponsor("early", GIFT).is_some());
    assert_eq!(run.simulation.grant(&root, GIFT), Granted::Kept);
    assert!(run.simulation.is_conserved());
    drop(run);
    let run = begin(directory.path(), Kept::InMemory, 3);
    assert_eq!(events_of(&run.simulation, "early"), Some(GIFT.events));
    let all: u64 = run.simulation.sponsors().iter().map(|one| one.left[2] + one.consumed[2]).sum();
    assert_eq!(all, GRANT.events + 2 * GIFT.events);
}

/// A configuration that is removed while it waits tells nothing, as one whose batch is not committed; its
/// gift is made.
#[test]
fn one_that_is_removed_while_it_waits_tells_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = begin(directory.path(), Kept::InMemory, 11);
    run.simulation.run(STEPS);
    run.simulation.spoil_budgets(StoreHealth::Full, 2);
    run.simulation.send(&run.giver, Give { to: "heir".into(), tell: run.listener.clone() });
    let waits = |one: &banyan_actors::handle::ConfigurationStatus| one.store == StoreHealth::Full;
    let giver = (0..STEPS).find_map(|_| {
        run.simulation.run(1);
        run.simulation.configurations().into_iter().find(waits).map(|one| one.number)
    });
    run.simulation.remove(giver.unwrap());
    assert_eq!(run.simulation.run(STEPS), Ending::Drained);
    assert_eq!(run.told.try_iter().count(), 0);
    assert_eq!(events_of(&run.simulation, "heir"), Some(GIFT.events));
    assert!(run.simulation.is_conserved());
}

/// Gives to the one heir again and again, and says so; in turns with a disk that takes nothing.
fn give_for_ever(directory: &Path, kind: Kept) {
    let options = RuntimeOptions { hosts: 2, pin: false, ..RuntimeOptions::default() };
    let runtime = Runtime::start_kept(options, &directory.join("budgets.arena")).unwrap();
    let giver: Addr<Give> = match kind {
        Kept::InMemory => runtime.create(Configuration::new("giver").with_actor(Giver)).typed(),
        Kept::Durable => {
            let store = DurableStore::open(&directory.join("giver.arena"), Kinds::new().with::<Giver>());
            runtime.open(Configuration::new("giver").durable(store.unwrap(), Giver)).unwrap().typed()
        }
    };
    let listener = closure((), |(), name: &String, _: &mut Context<'_>| {
        println!("TOLD {name}");
        Ok(())
    });
    let listener = runtime.create(Configuration::new("listener").with_behaviour(listener)).typed();
    let heirs = runtime.sponsors().iter().filter(|one| one.left[2] == GIFT.events).count();
    println!("OPEN {heirs}");
    let begun = Instant::now();
    let mut random = Random(heirs as u64 + 1);
    while begun.elapsed() < DEADLINE {
        for number in 0..random.below(20) {
            let to = format!("heir {heirs} {number} {}", begun.elapsed().as_nanos());
            runtime.send(&giver, Give { to, tell: listener.clone() });
        }
        limit_files(Some(8 << 10));
        std::thread::sleep(Duration::from_micros(random.below(8_000)));
        limit_files(None);
        std::thread::sleep(Duration::from_millis(random.below(150)));
    }
}

/// No file can be written behind so many bytes.
fn limit_files(bytes: Option<u64>) {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

/// The process that is killed; as a test it does nothing.
#[test]
fn giver() {
    let Some(directory) = std::env::var_os("BANYAN_TEST_GIVER") else { return };
    let kind = if std::env::var_os("BANYAN_TEST_DURABLE").is_some() { Kept::Durable } else { Kept::InMemory };
    give_for_ever(Path::new(&directory), kind);
}

/// Killed at random while its disk fails and recovers: each gift that was told of in any of its lives is
/// there.
#[test]
fn a_gift_that_was_told_of_outlasts_kills_on_a_failing_disk() {
    // A write that is refused is to fail, not to end the process.
    let script = "trap '' XFSZ; exec \"$0\" --exact giver --nocapture";
    for kind in [Kept::InMemory, Kept::Durable] {
        let directory = tempfile::tempdir().unwrap();
        let (mut random, mut told, mut rounds_told) = (Random(5), 0, 0);
        for round in 0..killed::rounds(25) {
            let mut command = Command::new("sh");
            command.args(["-c", script]).arg(std::env::current_exe().unwrap());
            command.env("BANYAN_TEST_GIVER", directory.path()).stdout(Stdio::piped());
            if kind == Kept::Durable {
                command.env("BANYAN_TEST_DURABLE", "1");
            }
            let mut child = command.spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
            let open = lines.find_map(|line| line.split_once("OPEN ").map(|(_, heirs)| heirs.to_owned()));
            let found: u64 = open.unwrap().parse().unwrap();
            assert!(found >= told, "{kind:?}, round {round}: {found} gifts are there, {told} were told of");
            std::thread::sleep(Duration::from_millis(random.below(400)));
            child.kill().unwrap();
            child.wait().unwrap();
            let lines = lines.filter(|line| line.contains("TOLD ")).count() as u64;
            told = found + lines;
            rounds_told += u64::from(lines > 0);
        }
        assert!(rounds_told > 5, "{kind:?}: gifts were told of in {rounds_told} rounds");
    }
}

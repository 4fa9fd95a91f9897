//! What durable events do to sponsors: killed at any instant, it is done exactly once, and never for an event
//! that is not committed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod killed;

use std::cell::RefCell;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use banyan_actors::simulation::{Ending, Simulation};
use banyan_actors::{
    Actor, Addr, Configuration, DurableActor, DurableStore, Failure, Handle, KillPoint, Kinds, Quota,
    Runtime, RuntimeOptions, Signal, Sponsor, Work,
};
use killed::{Campaign, Random};
use serde::{Deserialize, Serialize, Serializer};

const DEADLINE: Duration = Duration::from_secs(20);
/// So little that thousands of them fit into a word.
const GRANT: Quota = Quota { memory: 1 << 50, cycles: 1 << 45, events: 1 << 50 };
/// What each clerk is given.
const WAGE: u64 = 5;

/// What is in the place of sponsors that an actor cannot keep: it finds them by name.
static HANDLE: OnceLock<Handle> = OnceLock::new();
thread_local! {
    /// The same for simulations, each of which runs on its test's thread.
    static SIMULATED: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

fn sponsor(name: &str) -> Result<Sponsor, Failure> {
    let handle = SIMULATED.with_borrow(Option::clone).or_else(|| HANDLE.get().cloned());
    let found = handle.and_then(|handle| handle.find_sponsor(name));
    found.ok_or_else(|| Failure::because(format!("there is no {name}")))
}

fn events(events: u64) -> Quota {
    Quota { events, ..Quota::ZERO }
}

/// Says how much it has given to the receiver, and cannot be written once it is broken.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Till {
    moved: u64,
    #[serde(serialize_with = "unless_broken")]
    broken: bool,
}

fn unless_broken<S: Serializer>(broken: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    if *broken {
        return Err(serde::ser::Error::custom("it is broken"));
    }
    serializer.serialize_bool(*broken)
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Order {
    /// The work of a number, see [`Model`].
    Number(u64),
    Pay(u64),
    /// Pay, make a sponsor, and be broken.
    PayAndBreak(u64),
    /// A sponsor is made and started, and at once pays for a payment.
    Hire(String),
    Read(Addr<u64>),
}

impl Actor for Till {
    type Message = Order;
    fn receive(&self, order: &Order, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        let mut next = self.clone();
        match order {
            Order::Number(number) => {
                let amount = paid(*number);
                work.transfer(&sponsor("receiver")?, events(amount))?;
                next.moved += amount;
                if number % 4 == 1 {
                    let clerk = work.new_sponsor(&format!("clerk {number}"))?;
                    work.transfer(&clerk, events(WAGE))?;
                    let controller: Addr<Signal> = work.this().typed();
                    work.start(&clerk, &controller)?;
                }
                if number % 8 == 7 {
                    let clerk = sponsor(&format!("clerk {}", number - 2))?;
                    work.stop_sponsor(&clerk);
                }
            }
            Order::Pay(amount) => {
                work.transfer(&sponsor("receiver")?, events(*amount))?;
                next.moved += amount;
            }
            Order::PayAndBreak(amount) => {
                work.transfer(&sponsor("receiver")?, events(*amount))?;
                work.new_sponsor("nobody")?;
                next.broken = true;
            }
            Order::Hire(name) => {
                let clerk = work.new_sponsor(name)?;
                work.transfer(&clerk, Quota { memory: 1 << 20, cycles: 1 << 30, events: 100 })?;
                let controller: Addr<Signal> = work.this().typed();
                work.start(&clerk, &controller)?;
                let me = work.me();
                work.send_under(&clerk, &me, Order::Pay(WAGE))?;
            }
            Order::Read(reply) => {
                work.send(reply, self.moved);
                return Ok(());
            }
        }
        work.become_next(next);
        Ok(())
    }
}

impl DurableActor for Till {
    const KIND: &'static str = "test.till";
}

/// What the order of a number pays to the receiver.
fn paid(number: u64) -> u64 {
    1 + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1000
}

/// After a number of orders: what the receiver has, and the clerks that live.
fn model(done: u64) -> (u64, Vec<String>) {
    let moved = (1..=done).map(paid).sum();
    let lives = |clerk: &u64| clerk % 4 == 1 && !(clerk % 8 == 5 && clerk + 2 <= done);
    let mut clerks: Vec<String> = (1..=done).filter(lives).map(|clerk| format!("clerk {clerk}")).collect();
    clerks.sort();
    (moved, clerks)
}

/// What the ledger says: what was given to the receiver, and to clerks that live.
fn ledger(handle: &Handle) -> (u64, Vec<String>) {
    let sponsors = handle.sponsors();
    let receiver = sponsors.iter().find(|one| one.name == "receiver").unwrap();
    // It spends nothing, so whatever it was given is there.
    assert_eq!(receiver.consumed, [0; 3]);
    let clerks = sponsors.iter().filter(|one| one.name != "receiver" && one.name != "root");
    let mut names: Vec<String> = clerks
        .map(|one| {
            assert_eq!((one.left[2], one.state.as_str()), (WAGE, "running"), "{}", one.name);
            one.name.clone()
        })
        .collect();
    names.sort();
    (receiver.left[2] - 1, names)
}

/// The receiver has one event of its own.
fn make_receiver(handle: &Handle) {
    if handle.find_sponsor("receiver").is_none() {
        handle.sponsor("receiver", events(1)).unwrap();
    }
}

fn open(handle: &Handle, directory: &Path, kill: Option<KillPoint>) -> Addr<Order> {
    let store = DurableStore::open(&directory.join("till.arena"), Kinds::new().with::<Till>()).unwrap();
    let store = if let Some(kill) = kill { store.kill_at(kill) } else { store };
    handle.open(Configuration::new("till").durable(store, Till::default())).unwrap().typed()
}

/// The program that is killed; as a test it does nothing.
#[test]
fn child() {
    let Some(directory) = std::env::var_os("BANYAN_TEST_TILL") else { return };
    let directory = Path::new(&directory);
    let options = RuntimeOptions { hosts: 2, pin: false, grant: GRANT, refill: None };
    let runtime = Runtime::start_kept(options, &directory.join("budgets.arena")).unwrap();
    assert!(HANDLE.set((*runtime).clone()).is_ok());
    make_receiver(&runtime);
    // Each crash takes a part of what the root has.
    runtime.grant(&runtime.root_sponsor(), GRANT);
    let till = open(&runtime, directory, killed::point_from_environment());
    let begun = Instant::now();
    let (seen, found) = loop {
        let look =
            || (runtime.last_seen("till", "client").unwrap(), runtime.ask(&till, DEADLINE, Order::Read));
        // What was queued goes on, so the ledger is looked at between two looks that agree.
        let before = look();
        let found = ledger(&runtime);
        if before == look() {
            assert_eq!(Ok(found.0), before.1, "the ledger and the till differ");
            break (before.0, found);
        }
        assert!(begun.elapsed() < DEADLINE);
    };
    assert!(runtime.is_conserved());
    println!("STATE {seen} {found:?}");
    for line in std::io::stdin().lines() {
        let number: u64 = line.unwrap().parse().unwrap();
        runtime.send_once("client", number, &till, Order::Number(number));
        if number.is_multiple_of(8) {
            println!("SEEN {}", runtime.last_seen("till", "client").unwrap());
        }
    }
}

/// Of six rounds, one is killed at random and each of the others at another named point.
#[test]
fn killed_at_random_and_named_points_every_change_to_the_ledger_is_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let campaign = Campaign {
        program: "child",
        variables: &[("BANYAN_TEST_TILL", directory.path().to_str().unwrap())],
        points: &["dispatched", "made", "committed", "told", "sent"],
        batch: 8,
        rounds: killed::rounds(240),
        patience: Duration::from_millis(250),
    };
    let killed = campaign.run(|number| number.to_string(), |seen| format!("{:?}", model(seen)));
    assert!(killed.at_points > killed.rounds / 4, "only {} died at a named point", killed.at_points);
}

/// A simulation whose actors find their sponsors.
fn simulate(seed: u64, directory: &Path) -> (Simulation, Addr<Order>) {
    let simulation = Simulation::kept(seed, 2, GRANT, &directory.join("budgets.arena")).unwrap();
    make_receiver(&simulation);
    SIMULATED.set(Some((*simulation).clone()));
    let till = open(&simulation, directory, None);
    (simulation, till)
}

/// Without running what is left to do.
fn end(simulation: Simulation, clean: bool) {
    SIMULATED.set(None);
    if clean { simulation.close() } else { drop(simulation) }
}

fn root_consumed(handle: &Handle) -> u64 {
    handle.sponsors().iter().find(|one| one.name == "root").unwrap().consumed[2]
}

#[test]
fn stopped_after_any_number_of_steps_every_change_to_the_ledger_is_made_once() {
    let mut random = Random(7);
    for round in 0..30 {
        let directory = tempfile::tempdir().unwrap();
        let mut sent = 0;
        for _ in 0..8 {
            let (mut simulation, till) = simulate(random.below(u64::MAX), directory.path());
            simulation.grant(&simulation.root_sponsor(), GRANT);
            // What was not taken before is sent again.
            let orders = sent + random.below(12);
            (1..=orders).for_each(|number| {
                simulation.send_once("client", number, &till, Order::Number(number));
            });
            sent = orders;
            if random.below(3) > 0 {
                simulation.run(random.below(30));
            } else {
                assert_eq!(simulation.run(1_000_000), Ending::Drained);
                assert_eq!(ledger(&simulation), model(sent), "round {round}");
            }
            assert!(simulation.is_conserved());
            end(simulation, random.below(3) == 0);
        }
    }
}

/// After a clean end an event that was not committed has cost nothing; after a crash it has cost what it had
/// set aside, since no crash gives anything back. The receiver has it once, when the event has been run
/// again.
#[test]
fn what_an_event_has_set_aside_is_not_given_before_its_commit() {
    const AMOUNT: u64 = 1 << 40;
    for clean in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let (mut simulation, till) = simulate(1, directory.path());
        simulation.send_once("client", 1, &till, Order::Pay(AMOUNT));
        // The batch is not at its end before these are done.
        (2..100).for_each(|number| simulation.send_once("client", number, &till, Order::Pay(1)));
        simulation.run(40);
        let status = simulation.configurations();
        assert!(status.iter().any(|one| one.name == "till" && (1..99).contains(&one.events)), "{status:?}");
        assert_eq!(ledger(&simulation).0, 0, "nothing was committed");
        assert!(simulation.is_conserved());
        end(simulation, clean);
        let (mut simulation, till) = simulate(2, directory.path());
        assert_eq!(root_consumed(&simulation) < AMOUNT, clean);
        assert_eq!(ledger(&simulation).0, 0);
        simulation.send_once("client", 1, &till, Order::Pay(AMOUNT));
        assert_eq!(simulation.run(100_000), Ending::Drained);
        assert_eq!(ledger(&simulation).0, AMOUNT);
        assert!(simulation.is_conserved());
        end(simulation, true);
    }
}

#[test]
fn a_configuration_that_is_removed_before_its_commit_has_given_nothing() {
    const AMOUNT: u64 = 1 << 40;
    let directory = tempfile::tempdir().unwrap();
    let (mut simulation, till) = simulate(1, directory.path());
    simulation.send(&till, Order::Pay(AMOUNT));
    (2..100).for_each(|_| simulation.send(&till, Order::Pay(1)));
    simulation.run(40);
    let status = simulation.configurations();
    let number =
        status.iter().find(|one| one.name == "till" && (1..99).contains(&one.events)).unwrap().number;
    simulation.remove(number);
    assert_eq!(simulation.run(10_000), Ending::Drained);
    assert_eq!(ledger(&simulation).0, 0);
    assert!(simulation.is_conserved());
    end(simulation, true);
    let (simulation, _) = simulate(2, directory.path());
    assert!(root_consumed(&simulation) < AMOUNT, "it is the donor's again");
    end(simulation, true);
}

/// An event whose commit fails has done nothing to the ledger, and the sponsors that it had made are gone
/// when the configuration is opened again.
#[test]
fn an_event_that_cannot_be_committed_gives_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut simulation, till) = simulate(1, directory.path());
    simulation.send(&till, Order::Pay(7));
    assert_eq!(simulation.run(10_000), Ending::Drained);
    assert_eq!(ledger(&simulation), (7, Vec::new()));
    simulation.send(&till, Order::PayAndBreak(1000));
    assert_eq!(simulation.run(10_000), Ending::Drained);
    assert!(simulation.log_lines().iter().any(|line| line.contains("could not be written as bytes")));
    let receiver = simulation.sponsors().into_iter().find(|one| one.name == "receiver").unwrap();
    assert_eq!(receiver.left[2], 8);
    // A commit that fails may be there all the same when the store is opened: nobody else may spend what it
    // gives.
    assert!(root_consumed(&simulation) >= 1000);
    assert!(simulation.is_conserved());
    end(simulation, false);
    let (mut simulation, till) = simulate(2, directory.path());
    assert_eq!(ledger(&simulation), (7, Vec::new()), "nobody was made");
    simulation.send(&till, Order::Pay(7));
    assert_eq!(simulation.run(10_000), Ending::Drained);
    assert_eq!(ledger(&simulation), (14, Vec::new()));
    assert!(simulation.is_conserved());
    end(simulation, true);
}

/// A sponsor that an event makes, starts and sends under pays for that once the event is committed, whether
/// budgets are kept or not.
#[test]
fn a_sponsor_that_a_durable_event_has_started_pays() {
    for kept in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let mut simulation = match kept {
            true => Simulation::kept(1, 2, GRANT, &directory.path().join("budgets.arena")).unwrap(),
            false => Simulation::new(1, 2, GRANT),
        };
        make_receiver(&simulation);
        SIMULATED.set(Some((*simulation).clone()));
        let till = open(&simulation, directory.path(), None);
        simulation.send(&till, Order::Hire("clerk".to_owned()));
        assert_eq!(simulation.run(10_000), Ending::Drained);
        let sponsors = simulation.sponsors();
        let clerk = sponsors.iter().find(|one| one.name == "clerk").unwrap();
        assert_eq!((clerk.left[2], clerk.consumed[2]), (100 - 1 - WAGE, 1), "{:?}", simulation.log_lines());
        let receiver = sponsors.iter().find(|one| one.name == "receiver").unwrap();
        assert_eq!(receiver.left[2], 1 + WAGE);
        assert!(simulation.is_conserved());
        end(simulation, true);
    }
}

//! Durable controllers are told of each exhaustion once, whatever is killed between the ledger's write and
//! their commit.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod killed;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use banyan_actors::router::UnixRouter;
use banyan_actors::simulation::{Ending, Simulation};
use banyan_actors::{
    Actor, Addr, Configuration, DurableActor, DurableStore, Failure, Handle, KillPoint, Kinds, Quota,
    Resource, Runtime, RuntimeOptions, Signal, Work, closure,
};
use killed::{Campaign, Random};
use serde::{Deserialize, Serialize};

const DEADLINE: Duration = Duration::from_secs(20);
const GRANT: Quota = Quota { memory: 1 << 50, cycles: 1 << 45, events: 1 << 50 };
/// Events that a ward can pay for, and more that are sent under it.
const AFFORDED: u64 = 2;
const ASKED: u64 = 4;

/// What is in the place of sponsors that an actor cannot keep: it finds them by name.
static HANDLE: OnceLock<Handle> = OnceLock::new();
thread_local! {
    /// The same for simulations, each of which runs on its test's thread.
    static SIMULATED: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

fn handle() -> Handle {
    SIMULATED.with_borrow(Option::clone).or_else(|| HANDLE.get().cloned()).unwrap()
}

/// Has wards: sponsors that cannot pay for all that is sent under them. It ends each when it is told that it
/// is exhausted.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Guardian {
    /// By the sponsor's index and generation: its order's number.
    wards: BTreeMap<(u32, u32), u64>,
    told: u64,
    /// Signals of which the ledger knows nothing.
    strays: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Order {
    /// Its number, who is told, and who works under it on another host.
    Ward(u64, Addr<Signal>, Addr<u64>),
    Work,
    Told(u32, u32),
    Read(Addr<(usize, u64, u64)>),
}

impl Actor for Guardian {
    type Message = Order;
    fn receive(&self, order: &Order, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        let mut next = self.clone();
        match order {
            Order::Ward(number, controller, helper) => {
                let ward = work.new_sponsor(&format!("ward {number}"))?;
                work.transfer(&ward, Quota { memory: 1 << 20, cycles: 1 << 30, events: AFFORDED })?;
                work.start(&ward, controller)?;
                let me = work.me();
                // It is exhausted by this host, or by the other when this one has spent all and not yet given
                // back its lease.
                for _ in 0..if number % 2 == 0 { ASKED } else { AFFORDED } {
                    work.send_under(&ward, &me, Order::Work)?;
                }
                for _ in 0..ASKED {
                    work.send_under(&ward, helper, 1)?;
                }
                next.wards.insert((ward.id().index, ward.id().generation), *number);
            }
            Order::Work => return Ok(()),
            Order::Told(index, generation) => {
                let ward = (*index, *generation);
                let name = self.wards.get(&ward).map(|number| format!("ward {number}"));
                let sponsors = handle().sponsors();
                let is_exhausted = sponsors.iter().any(|one| {
                    Some(&one.name) == name.as_ref() && one.index == *index && one.state.starts_with("no ")
                });
                match name.and_then(|name| handle().find_sponsor(&name)).filter(|_| is_exhausted) {
                    Some(sponsor) => {
                        work.stop_sponsor(&sponsor);
                        next.wards.remove(&ward);
                        next.told += 1;
                    }
                    None => next.strays += 1,
                }
            }
            Order::Read(reply) => {
                work.send(reply, (self.wards.len(), self.told, self.strays));
                return Ok(());
            }
        }
        work.become_next(next);
        Ok(())
    }
}

impl DurableActor for Guardian {
    const KIND: &'static str = "test.guardian";
}

/// Is told, and tells the guardian.
#[derive(Clone, Serialize, Deserialize)]
struct Ear(Addr<Order>);

impl Actor for Ear {
    type Message = Signal;
    fn receive(&self, signal: &Signal, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        work.send(&self.0, Order::Told(signal.sponsor.index, signal.sponsor.generation));
        Ok(())
    }
}

impl DurableActor for Ear {
    const KIND: &'static str = "test.ear";
}

fn open_guardian(handle: &Handle, directory: &Path, kill: Option<KillPoint>) -> Addr<Order> {
    let kinds = Kinds::new().with::<Guardian>();
    let store = DurableStore::open(&directory.join("guardian.arena"), kinds).unwrap();
    let store = if let Some(kill) = kill { store.kill_at(kill) } else { store };
    handle
        .open(Configuration::new("guardian").stay_on_host(0).durable(store, Guardian::default()))
        .unwrap()
        .typed()
}

fn open_ear(
    handle: &Handle,
    directory: &Path,
    guardian: &Addr<Order>,
    kill: Option<KillPoint>,
) -> Addr<Signal> {
    let store = DurableStore::open(&directory.join("ear.arena"), Kinds::new().with::<Ear>()).unwrap();
    let store = if let Some(kill) = kill { store.kill_at(kill) } else { store };
    handle.open(Configuration::new("ear").durable(store, Ear(guardian.clone()))).unwrap().typed()
}

/// Works.
#[derive(Clone, Serialize, Deserialize)]
struct Helper;

impl Actor for Helper {
    type Message = u64;
    fn receive(&self, _: &u64, _: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

impl DurableActor for Helper {
    const KIND: &'static str = "test.helper";
}

fn open_helper(handle: &Handle, directory: &Path) -> Addr<u64> {
    let kinds = Kinds::new().with::<Helper>();
    let store = DurableStore::open(&directory.join("helper.arena"), kinds).unwrap();
    let configuration = Configuration::new("helper").stay_on_host(1);
    handle.open(configuration.durable(store, Helper)).unwrap().typed()
}

fn start(directory: &Path) -> Runtime {
    let options = RuntimeOptions { hosts: 2, pin: false, grant: GRANT, refill: None };
    Runtime::start_kept(options, &directory.join("budgets.arena")).unwrap()
}

/// The program that is killed; as a test it does nothing.
#[test]
fn child() {
    let Some(directory) = std::env::var_os("BANYAN_TEST_GUARDIAN") else { return };
    let directory = Path::new(&directory);
    let runtime = start(directory);
    assert!(HANDLE.set((*runtime).clone()).is_ok());
    // Each crash takes a part of what the root has.
    runtime.grant(&runtime.root_sponsor(), GRANT);
    let (mut guardian_kill, mut ear_kill) = (killed::point_from_environment(), None);
    if let Some(kill) = &mut guardian_kill
        && let Some(point) = kill.point.strip_prefix("ear ")
    {
        kill.point = point.to_owned();
        ear_kill = guardian_kill.take();
    }
    let guardian = open_guardian(&runtime, directory, guardian_kill);
    let ear = open_ear(&runtime, directory, &guardian, ear_kill);
    let helper = open_helper(&runtime, directory);
    let begun = Instant::now();
    let (seen, told, strays) = loop {
        let before = runtime.last_seen("guardian", "client").unwrap();
        let (wards, told, strays) = runtime.ask(&guardian, DEADLINE, Order::Read).unwrap();
        if wards == 0 && before == runtime.last_seen("guardian", "client").unwrap() {
            break (before, told, strays);
        }
        assert!(begun.elapsed() < DEADLINE, "{wards} wards wait: {:?}", runtime.sponsors());
        std::thread::sleep(Duration::from_micros(500));
    };
    assert!(runtime.is_conserved());
    println!("STATE {seen} {told} {strays}");
    for line in std::io::stdin().lines() {
        let number: u64 = line.unwrap().parse().unwrap();
        runtime.send_once("client", number, &guardian, Order::Ward(number, ear.clone(), helper.clone()));
        if number.is_multiple_of(4) {
            println!("SEEN {}", runtime.last_seen("guardian", "client").unwrap());
        }
    }
}

/// Of seven rounds, one is killed at random and each of the others at a named point of the controller or of
/// the maker of sponsors.
#[test]
fn killed_at_random_and_named_points_a_controller_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let campaign = Campaign {
        program: "child",
        variables: &[("BANYAN_TEST_GUARDIAN", directory.path().to_str().unwrap())],
        points: &["ear dispatched", "dispatched", "ear committed", "told", "ear sent", "committed"],
        batch: 4,
        rounds: killed::rounds(210),
        patience: Duration::from_millis(250),
    };
    let killed = campaign.run(|number| number.to_string(), |seen| format!("{seen} 0"));
    assert!(killed.orders > killed.rounds / 4, "{} orders in all", killed.orders);
}

struct Simulated {
    simulation: Simulation,
    guardian: Addr<Order>,
    ear: Addr<Signal>,
    helper: Addr<u64>,
}

impl Simulated {
    fn send(&self, number: u64) {
        self.send_ward(number, number);
    }

    fn send_ward(&self, number: u64, ward: u64) {
        let order = Order::Ward(ward, self.ear.clone(), self.helper.clone());
        self.simulation.send_once("client", number, &self.guardian, order);
    }
}

fn simulate(seed: u64, directory: &Path) -> Simulated {
    let simulation = Simulation::kept(seed, 2, GRANT, &directory.join("budgets.arena")).unwrap();
    SIMULATED.set(Some((*simulation).clone()));
    simulation.grant(&simulation.root_sponsor(), GRANT);
    let guardian = open_guardian(&simulation, directory, None);
    let ear = open_ear(&simulation, directory, &guardian, None);
    let helper = open_helper(&simulation, directory);
    Simulated { simulation, guardian, ear, helper }
}

/// Without running what is left to do.
fn end(simulation: Simulation, clean: bool) {
    SIMULATED.set(None);
    if clean { simulation.close() } else { drop(simulation) }
}

/// What is left of wards, how many were told of, and strays, when all is done.
fn read(simulated: &mut Simulated) -> (usize, u64, u64) {
    let Simulated { simulation, guardian, .. } = simulated;
    assert_eq!(simulation.run(1_000_000), Ending::Drained);
    let (sender, receiver) = std::sync::mpsc::channel();
    let listener = closure(sender, |sender, found: &(usize, u64, u64), _| {
        sender.send(*found).unwrap();
        Ok(())
    });
    let listener = simulation.create(Configuration::new("listener").with_behaviour(listener));
    simulation.send(guardian, Order::Read(listener.typed()));
    assert_eq!(simulation.run(1_000_000), Ending::Drained);
    receiver.try_recv().unwrap()
}

/// Lives a first life of no steps, of one, and so on, and a second one after each, until the first one comes
/// to its end.
fn after_every_step(mut live: impl FnMut(u64) -> Ending) {
    let done = (0..1000).find(|steps| live(*steps) == Ending::Drained);
    assert!(done.is_some_and(|steps| steps > 10), "it is done after {done:?} steps");
}

/// Each step of two wards' lives is the last of the first process. The worker on the other host for a ward
/// is durable, or is not there any more in the second one: then a ward may be left that is never exhausted,
/// but what has been told is true.
#[test]
fn stopped_after_every_number_of_steps_a_controller_is_told_once() {
    for (seed, is_durable) in [(1, true), (2, true), (1, false)] {
        after_every_step(|steps| {
            let directory = tempfile::tempdir().unwrap();
            let live = |seed| {
                let mut simulated = simulate(seed, directory.path());
                if !is_durable {
                    let forgetful = closure((), |(), _: &u64, _| Ok(()));
                    let forgetful = Configuration::new("forgetful").stay_on_host(1).with_behaviour(forgetful);
                    simulated.helper = simulated.simulation.create(forgetful).typed();
                }
                (1..=2).for_each(|number| simulated.send_ward(number, 2 * number + seed % 2));
                simulated
            };
            let mut simulated = live(seed);
            let ending = simulated.simulation.run(steps);
            end(simulated.simulation, false);
            let mut simulated = live(seed + 100);
            let (left, told, strays) = read(&mut simulated);
            let at = format!("seed {seed}, ended after {steps} steps");
            assert_eq!((left as u64 + told, strays), (2, 0), "{at}");
            let sponsors = simulated.simulation.sponsors();
            assert!(sponsors.iter().all(|one| one.state == "running"), "{at}: {sponsors:?}");
            assert!(left == 0 || !is_durable, "{at}: {left} are left");
            end(simulated.simulation, true);
            ending
        });
    }
}

#[test]
fn stopped_after_any_number_of_steps_a_controller_is_told_once() {
    let mut random = Random(11);
    for round in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let mut sent = 0;
        for _ in 0..8 {
            let mut simulated = simulate(random.below(u64::MAX), directory.path());
            // What was not taken before is sent again.
            sent += random.below(6);
            (1..=sent).for_each(|number| simulated.send(number));
            if random.below(3) > 0 {
                simulated.simulation.run(random.below(120));
            } else {
                assert_eq!(simulated.simulation.run(1_000_000), Ending::Drained);
                assert_eq!(read(&mut simulated), (0, sent, 0), "round {round}");
            }
            assert!(simulated.simulation.is_conserved());
            end(simulated.simulation, random.below(3) == 0);
        }
    }
}

fn close_ear(simulation: &mut Simulation) {
    let status = simulation.configurations();
    simulation.remove(status.iter().find(|one| one.name == "ear").unwrap().number);
    assert_eq!(simulation.run(1_000_000), Ending::Drained);
}

/// A sponsor is exhausted while its controller's configuration is not open, or not even known but by its
/// name.
#[test]
fn a_controller_is_told_when_it_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let mut simulated = simulate(1, directory.path());
    simulated.send(1);
    assert_eq!(read(&mut simulated), (0, 1, 0));
    close_ear(&mut simulated.simulation);
    simulated.send(2);
    simulated.send(3);
    assert_eq!(read(&mut simulated), (2, 1, 0), "nobody is there to be told");
    // In this process.
    open_ear(&simulated.simulation, directory.path(), &simulated.guardian, None);
    assert_eq!(read(&mut simulated), (0, 3, 0));
    // In another one, after one in which it was never opened.
    close_ear(&mut simulated.simulation);
    simulated.send(4);
    assert_eq!(simulated.simulation.run(1_000_000), Ending::Drained);
    end(simulated.simulation, false);
    let mut simulation = Simulation::kept(2, 2, GRANT, &directory.path().join("budgets.arena")).unwrap();
    assert_eq!(simulation.run(1_000_000), Ending::Drained);
    drop(simulation);
    let mut simulated = simulate(3, directory.path());
    assert_eq!(read(&mut simulated), (0, 4, 0));
    end(simulated.simulation, true);
}

/// Gives a sponsor that is exhausted a little more, and starts it again.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Patron {
    given: u64,
}

impl Actor for Patron {
    type Message = Signal;
    fn receive(&self, signal: &Signal, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        let sponsor = work.controlled(signal.sponsor).ok_or_else(|| Failure::because("it is not mine"))?;
        work.transfer(&sponsor, Quota { events: PORTION, ..Quota::ZERO })?;
        let me = work.me();
        work.start(&sponsor, &me)?;
        work.become_next(Self { given: self.given + PORTION });
        Ok(())
    }
}

impl DurableActor for Patron {
    const KIND: &'static str = "test.patron";
}

const PORTION: u64 = 2;

fn open_patron(handle: &Handle, directory: &Path) -> Addr<Signal> {
    let kinds = Kinds::new().with::<Patron>();
    let store = DurableStore::open(&directory.join("patron.arena"), kinds).unwrap();
    handle.open(Configuration::new("patron").durable(store, Patron::default())).unwrap().typed()
}

/// A controller that is kept gets at the sponsor that it is told of, wherever the process has ended in
/// between, and so the work under it goes on to its end; nobody else gets at it.
#[test]
fn a_kept_controller_has_its_sponsor_after_a_restart() {
    after_every_step(|steps| {
        let directory = tempfile::tempdir().unwrap();
        let live = |seed| {
            let mut simulated = simulate(seed, directory.path());
            simulated.ear = open_patron(&simulated.simulation, directory.path());
            simulated.send(1);
            simulated
        };
        let mut simulated = live(1);
        let ending = simulated.simulation.run(steps);
        end(simulated.simulation, false);
        let mut simulated = live(2);
        assert_eq!(simulated.simulation.run(1_000_000), Ending::Drained);
        let sponsors = simulated.simulation.sponsors();
        let ward = sponsors.iter().find(|one| one.name == "ward 1").unwrap();
        assert_eq!((ward.state.as_str(), ward.waiting), ("running", 0), "ended after {steps} steps");
        assert!(ward.consumed[2] >= AFFORDED + ASKED, "ended after {steps} steps: {ward:?}");
        // No other actor gets at it, whatever it says.
        let sponsor = simulated.simulation.find_sponsor("ward 1").unwrap().id();
        let (sender, receiver) = std::sync::mpsc::channel();
        let impostor = closure(sender, |sender, signal: &Signal, context| {
            sender.send(context.controlled(signal.sponsor)).unwrap();
            Ok(())
        });
        let impostor = Configuration::new("impostor").with_behaviour(impostor);
        let impostor = simulated.simulation.create(impostor).typed();
        simulated.simulation.send(&impostor, Signal { sponsor, resource: Resource::Events });
        assert_eq!(simulated.simulation.run(1_000_000), Ending::Drained);
        assert_eq!(receiver.try_recv().unwrap(), None, "it is the patron's");
        let log = simulated.simulation.log_lines();
        assert!(log.iter().all(|line| !line.contains("not mine")), "{log:?}");
        assert!(simulated.simulation.is_conserved());
        end(simulated.simulation, true);
        ending
    });
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A durable controller of another process is told once, although nobody is connected when the sponsor is
/// exhausted, the process with the ledger is another by then, and so is that of the controller afterwards.
#[test]
fn a_controller_of_another_process_is_told_once() {
    /// Counts what it is told.
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Told(u64);
    impl Actor for Told {
        type Message = Signal;
        fn receive(&self, _: &Signal, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
            work.become_next(Self(self.0 + 1));
            Ok(())
        }
    }
    impl DurableActor for Told {
        const KIND: &'static str = "test.told";
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("router.sock");
    let open = |runtime: &Runtime| {
        let store = directory.path().join("told.arena");
        let store = DurableStore::open(&store, Kinds::new().with::<Told>()).unwrap();
        let told = runtime.open(Configuration::new("told").durable(store, Told(0))).unwrap();
        runtime.durable_address(&told).unwrap()
    };
    let events = |runtime: &Runtime| {
        runtime.configurations().into_iter().find(|one| one.name == "told").unwrap().events
    };
    let options = || RuntimeOptions { hosts: 1, pin: false, ..RuntimeOptions::default() };
    let there = Runtime::start(options()).unwrap();
    let durable = open(&there);
    // The sponsor is made and exhausted with nobody connected.
    let here = start(directory.path());
    let controller: Addr<Signal> = here.address_of(&durable).typed();
    let sink = closure((), |(), _: &u64, _| Ok(()));
    let sink: Addr<u64> = here.create(Configuration::new("sink").with_behaviour(sink)).typed();
    let starter = closure((controller, sink), |(controller, sink), name: &String, context| {
        let watched = context.new_sponsor(name)?;
        context.transfer(&watched, Quota { memory: 1 << 20, cycles: 1 << 40, events: 1 })?;
        context.start(&watched, controller)?;
        // The second cannot be paid for.
        context.send_under(&watched, sink, 1)?;
        context.send_under(&watched, sink, 2)?;
        Ok(())
    });
    let starter: Addr<String> = here.create(Configuration::new("starter").with_behaviour(starter)).typed();
    let is_exhausted = |runtime: &Runtime, name: &str| {
        runtime.sponsors().iter().any(|one| one.name == name && one.state.starts_with("no "))
    };
    here.send(&starter, "first".to_owned());
    until("the first is exhausted", || is_exhausted(&here, "first"));
    drop(here);
    let here = start(directory.path());
    assert!(is_exhausted(&here, "first"));
    for _ in 0..3 {
        let listening = UnixRouter::listen(&there, &path).unwrap();
        let connected = UnixRouter::connect(&here, &path, None).unwrap();
        until("it is told", || events(&there) == 1);
        // Whatever was sent twice would have come by now.
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(events(&there), 1);
        drop(listening);
        until("the end is noticed", || !connected.is_connected());
    }
}

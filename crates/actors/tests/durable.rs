//! Durable configurations: killed at any instant, every effect has happened exactly once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod killed;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use banyan_actor_examples::bank::{self, Bank, BranchMessage, FIRST_BALANCE};
use banyan_actors::durable::StoreHealth;
use banyan_actors::simulation::Ending;
use banyan_actors::{
    Actor, Addr, Configuration, DurableActor, DurableStore, Failure, Kinds, OpenDurableError, Quota, Runtime,
    RuntimeOptions, Simulation, Work,
};
use killed::{Campaign, Process, Random};
use serde::{Deserialize, Serialize};

const DEADLINE: Duration = Duration::from_secs(20);
const ACCOUNTS: u32 = 8;

fn runtime() -> Runtime {
    Runtime::start(RuntimeOptions { hosts: 2, pin: false, ..RuntimeOptions::default() }).unwrap()
}

/// Waits until no money is on its way.
fn settled(bank: &Bank, runtime: &Runtime) -> [Vec<u64>; 2] {
    let begun = Instant::now();
    loop {
        let balances = bank.balances(runtime, DEADLINE).unwrap();
        let sum: u64 = balances.iter().flatten().sum();
        if sum == 2 * u64::from(ACCOUNTS) * FIRST_BALANCE {
            return balances;
        }
        assert!(begun.elapsed() < DEADLINE, "money is missing: {balances:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The program that is killed; as a test it does nothing.
#[test]
fn child() {
    let Some(directory) = std::env::var_os("BANYAN_TEST_BANK") else { return };
    let runtime = runtime();
    let bank =
        Bank::open(&runtime, Path::new(&directory), ACCOUNTS, killed::point_from_environment()).unwrap();
    let balances = settled(&bank, &runtime);
    let seen = runtime.last_seen("north", "client").unwrap();
    println!("STATE {seen} {balances:?}");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let [sequence, from, to, amount] = numbers[..] else { panic!("{line}") };
        let transfer = BranchMessage::Transfer { from: from as u32, to: to as u32, amount, reply: None };
        runtime.send_once("client", sequence, &bank.north, transfer);
        if sequence % 16 == 0 {
            println!("SEEN {}", runtime.last_seen("north", "client").unwrap());
        }
    }
}

/// The transfer of a number: always the same.
fn transfer(sequence: u64) -> [u64; 3] {
    let mut random = Random(sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    [random.below(u64::from(ACCOUNTS)), random.below(u64::from(ACCOUNTS)), 1 + random.below(9)]
}

/// The balances after that number of transfers.
struct Model {
    done: u64,
    balances: [Vec<u64>; 2],
}

impl Model {
    fn new() -> Self {
        let branch = vec![FIRST_BALANCE; ACCOUNTS as usize];
        Self { done: 0, balances: [branch.clone(), branch] }
    }

    fn advance(&mut self, to: u64) {
        for sequence in self.done + 1..=to {
            let [from, account, amount] = transfer(sequence);
            if let Some(left) = self.balances[0][from as usize].checked_sub(amount) {
                self.balances[0][from as usize] = left;
                self.balances[1][account as usize] += amount;
            }
        }
        self.done = to;
    }
}

/// Of four rounds, one is killed at random and each of the others at another named point.
/// `BANYAN_KILL_ROUNDS=4000` gives a thousand at random.
#[test]
fn killed_at_random_and_named_points_every_transfer_happens_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    let campaign = Campaign {
        program: "child",
        variables: &[("BANYAN_TEST_BANK", directory.path().to_str().unwrap())],
        points: &["dispatched", "committed", "sent"],
        batch: 16,
        rounds: killed::rounds(1000),
        patience: Duration::from_millis(200),
    };
    let order = |number| {
        let [from, to, amount] = transfer(number);
        format!("{number} {from} {to} {amount}")
    };
    let killed = campaign.run(order, |seen| {
        model.advance(seen);
        format!("{:?}", model.balances)
    });
    assert!(killed.orders > killed.rounds, "{} transfers in all", killed.orders);
}

#[derive(Clone, Serialize, Deserialize)]
struct Counter(u64);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Count {
    Add(u64),
    Read(Addr<u64>),
    CreateForgetful,
    /// Ask what actor this is.
    Ask(Addr<Count>),
    Adapt,
    GiveRevocably,
    /// Add an amount after a number of milliseconds.
    Later(u64, u64),
    /// Set a timer, and cancel it.
    Never,
    /// Have the pool do something, and look for a while whether it has, before the batch ends.
    WorkThenLook,
    Work,
    Look,
    /// Ask the host for a configuration.
    Plant,
}

/// The pool has done what [`Count::Work`] asks for.
static WORKED: AtomicBool = AtomicBool::new(false);

#[derive(Clone)]
struct Forgetful;

impl Actor for Forgetful {
    type Message = ();
    fn receive(&self, (): &(), _: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

impl DurableActor for Counter {
    const KIND: &'static str = "test.counter";
}

impl Actor for Counter {
    type Message = Count;
    fn receive(&self, message: &Count, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            Count::Add(n) => work.become_next(Self(self.0 + n)),
            Count::Read(reply) => work.send(reply, self.0),
            Count::CreateForgetful => drop(work.create_actor(Forgetful)),
            Count::Ask(other) => {
                work.ask(other, DEADLINE, Count::Read, |answer| Count::Add(answer.unwrap_or_default()));
            }
            Count::Adapt => drop(work.adapter(|n: &u64| Count::Add(*n))),
            Count::GiveRevocably => {
                let me = work.me();
                drop(work.revocable(me.address())?);
            }
            Count::Later(n, milliseconds) => {
                let me = work.me();
                work.send_after(Duration::from_millis(*milliseconds), &me, Count::Add(*n))?;
            }
            Count::Never => {
                let me = work.me();
                let timer = work.send_after(Duration::from_millis(100), &me, Count::Add(1_000_000))?;
                work.cancel(timer);
            }
            Count::WorkThenLook => {
                let me = work.me();
                work.send(&me, Count::Work);
                work.send(&me, Count::Look);
            }
            Count::Work => {
                let me = work.me();
                work.blocking(&me, || {
                    WORKED.store(true, Ordering::SeqCst);
                    Count::Add(1)
                })?;
            }
            Count::Plant => drop(work.ask_host(Configuration::new("planted").with_actor(Forgetful))?),
            Count::Look => {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(100) {
                    if WORKED.load(Ordering::SeqCst) {
                        work.become_next(Self(self.0 + 1_000));
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        Ok(())
    }
}

fn open(runtime: &Runtime, path: &Path, name: &str) -> Result<Addr<Count>, OpenDurableError> {
    let store = DurableStore::open(path, Kinds::new().with::<Counter>())?;
    Ok(runtime.open(Configuration::new(name).durable(store, Counter(0)))?.typed())
}

#[test]
fn restored_reloaded_and_looked_at_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counter.arena");
    let copy = directory.path().join("copy.arena");
    {
        let runtime = runtime();
        let counter = open(&runtime, &path, "counter").unwrap();
        runtime.send(&counter, Count::Add(5));
        assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(5));
        runtime.snapshot("counter", Some("at five"), Some(&copy)).unwrap();
        assert!(runtime.snapshot("counter", Some("at five"), None).is_err(), "the name is taken");
        runtime.send(&counter, Count::Add(2));
        assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(7));
        // A copy goes on by itself, under its own name, while the original runs.
        let twin = open(&runtime, &copy, "twin").unwrap();
        assert_eq!(runtime.ask(&twin, DEADLINE, Count::Read), Ok(5));
        // Locked, and taken: errors that say what and where.
        let error = open(&runtime, &path, "other").unwrap_err().to_string();
        assert!(error.contains("counter.arena"), "{error}");
        let fresh = directory.path().join("fresh.arena");
        let error = open(&runtime, &fresh, "counter").unwrap_err().to_string();
        assert!(error.contains("named counter is open"), "{error}");
    }
    let runtime = runtime();
    let then =
        Configuration::new("then").at_snapshot(&path, Kinds::new().with::<Counter>(), "at five").unwrap();
    let then: Addr<Count> = runtime.open(then).unwrap().typed();
    assert_eq!(runtime.ask(&then, DEADLINE, Count::Read), Ok(5), "time travel");
    drop(runtime);
    let runtime = self::runtime();
    let counter = open(&runtime, &path, "counter").unwrap();
    assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(7), "what was looked at is unchanged");
}

#[test]
fn what_cannot_be_kept_is_refused_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let counter = open(&runtime, &directory.path().join("counter.arena"), "counter").unwrap();
    let cases = [
        (Count::CreateForgetful, "use `create_kept`"),
        (Count::Ask(counter.clone()), "`ask` does not work in a durable configuration"),
        (Count::Adapt, "`adapter` does not work in a durable configuration"),
        (Count::GiveRevocably, "make it in another configuration"),
    ];
    for (number, (message, words)) in (1..).zip(cases) {
        runtime.send(&counter, message);
        runtime.send(&counter, Count::Add(1));
        assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(number));
        let line = runtime.log_lines().pop().unwrap_or_default();
        assert!(line.contains("counter actor 0.0: ") && line.contains(words), "{line}");
        assert!(!line.contains("panicked"), "{line}");
    }
}

/// Waits until the sum is no less; on a busy machine it may be more by then.
fn until(runtime: &Runtime, counter: &Addr<Count>, sum: u64) {
    let begun = Instant::now();
    while runtime.ask(counter, DEADLINE, Count::Read).unwrap() < sum {
        assert!(begun.elapsed() < DEADLINE, "{:?}", runtime.ask(counter, DEADLINE, Count::Read));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Killed before the commit, an event is run again: what it had given to the pool would be done twice.
#[test]
fn work_for_the_pool_waits_for_the_commit() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let counter = open(&runtime, &directory.path().join("counter.arena"), "counter").unwrap();
    runtime.send(&counter, Count::WorkThenLook);
    until(&runtime, &counter, 1);
    assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(1), "it was not done before the commit");
    assert!(WORKED.load(Ordering::SeqCst));
}

/// The program that is killed between the commit and what is begun after it; as a test it does nothing.
#[test]
fn child_with_work() {
    let Some(path) = std::env::var_os("BANYAN_TEST_WORK") else { return };
    // Nothing runs before it is told to, so that the first commit is that of the event.
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let store = DurableStore::open(Path::new(&path), Kinds::new().with::<Counter>()).unwrap();
    let store = store.kill_at(killed::point_from_environment().unwrap());
    let counter = simulation.open(Configuration::new("counter").durable(store, Counter(0))).unwrap();
    let counter = counter.typed();
    simulation.send_once("client", 1, &counter, Count::Work);
    simulation.send_once("client", 2, &counter, Count::Plant);
    simulation.run(10_000);
}

/// What the pool is given, or the host is asked for, is done at most once: the events are committed and are
/// not run again, and what they wanted is lost.
#[test]
fn what_is_wanted_of_the_pool_and_the_host_is_not_begun_again_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counter.arena");
    let variables = [("BANYAN_TEST_WORK", path.to_str().unwrap())];
    let process = Process::start("child_with_work", &variables, Some("committed:1"));
    assert!(process.end(DEADLINE), "it kills itself");
    let runtime = runtime();
    let counter = open(&runtime, &path, "counter").unwrap();
    assert_eq!(runtime.last_seen("counter", "client"), Ok(2), "the events were committed");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(0), "and their work was not done");
    let is_planted = |runtime: &Runtime| runtime.configurations().iter().any(|one| one.name == "planted");
    assert!(!is_planted(&runtime), "nor was the configuration made");
    runtime.send(&counter, Count::Plant);
    assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(0));
    let begun = Instant::now();
    while !is_planted(&runtime) {
        assert!(begun.elapsed() < DEADLINE, "what is committed without a kill is made");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The program whose store cannot grow, until it can again; as a test it does nothing.
#[test]
fn child_in_little_room() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let Some(directory) = std::env::var_os("BANYAN_TEST_ROOM") else { return };
    let runtime = runtime();
    let counter = open(&runtime, &Path::new(&directory).join("counter.arena"), "counter").unwrap();
    let neighbour = open(&runtime, &Path::new(&directory).join("neighbour.arena"), "neighbour").unwrap();
    let health = || {
        let found = runtime.configurations().into_iter().find(|one| one.name == "counter");
        found.map(|one| one.store)
    };
    let begun = Instant::now();
    let (mut sent, mut answered) = (0, 0);
    while health() != Some(StoreHealth::Full) {
        runtime.send(&counter, Count::Add(1));
        sent += 1;
        // What is kept grows: a store of constant size finds room in what it has freed.
        for _ in 0..50 {
            runtime.send(&counter, Count::Later(0, 3_600_000));
        }
        // The last one is not answered: what is not committed is not said.
        answered = runtime.ask(&counter, Duration::from_millis(500), Count::Read).unwrap_or(answered);
        assert!(begun.elapsed() < DEADLINE, "{answered} were answered, and there is room for more");
    }
    assert!(answered < sent, "{answered} of {sent}");
    assert_eq!(runtime.ask(&neighbour, DEADLINE, Count::Read), Ok(0), "a neighbour goes on");
    // Some looks at a disk that is still full.
    std::thread::sleep(Duration::from_millis(300));
    runtime.send(&counter, Count::Add(1));
    setrlimit(Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(sent + 1), "nothing was lost");
    assert_eq!(health(), Some(StoreHealth::Well));
    let lines = runtime.log_lines();
    let said = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
    assert_eq!(said("counter: the batch was not committed: the disk is full"), 1, "{lines:?}");
    assert_eq!(said("it rests until there is room"), 1, "{lines:?}");
    assert_eq!(said("counter: there is room on the disk again"), 1, "{lines:?}");
    println!("WENT ON {}", sent + 1);
}

/// A store that finds no room: its configuration waits and says so once, and when there is room it goes on by
/// itself, with everything that was asked of it meanwhile.
#[test]
fn a_store_without_room_waits_for_it_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counter.arena");
    for name in ["counter", "neighbour"] {
        open(&runtime(), &directory.path().join(name).with_extension("arena"), name).unwrap();
    }
    // Blocks of 512 bytes, and ignoring the signal is inherited. The child may raise the limit again.
    let blocks = std::fs::metadata(&path).unwrap().len() / 512 + 64;
    let script =
        format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" --exact child_in_little_room --nocapture");
    let program = std::env::current_exe().unwrap();
    let mut shell = std::process::Command::new("sh");
    let output = shell.args(["-c", &script]).arg(program).env("BANYAN_TEST_ROOM", directory.path()).output();
    let output = output.unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    let after =
        |begins: &str| text.split_once(begins).map(|(_, rest)| rest.lines().next().unwrap().to_owned());
    let sum: u64 = after("WENT ON ").unwrap_or_else(|| panic!("{text}")).parse().unwrap();
    let runtime = runtime();
    let counter = open(&runtime, &path, "counter").unwrap();
    assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(sum), "and it is all there");
}

/// The same in deterministic mode, also for what one durable configuration sends another, and for timers.
#[test]
fn what_waits_for_room_comes_once_and_in_its_order() {
    for seed in 0..40 {
        let directory = tempfile::tempdir().unwrap();
        let mut simulation = Simulation::new(seed, 2, Quota::AMPLE);
        let store =
            DurableStore::open(&directory.path().join("counter.arena"), Kinds::new().with::<Counter>());
        let store = store.unwrap().without_room(u32::try_from(seed % 7).unwrap());
        let counter =
            simulation.open(Configuration::new("counter").durable(store, Counter(0))).unwrap().typed();
        for number in 1..=5 {
            simulation.send_once("client", number, &counter, Count::Add(number));
            simulation.send_once("client", number, &counter, Count::Add(number));
            simulation.send(&counter, Count::Later(100, 1));
            assert_eq!(simulation.run(100_000), Ending::Drained);
        }
        let said = simulation.log_lines().iter().filter(|line| line.contains("until there is room")).count();
        assert_eq!(said, usize::from(seed % 7 > 0), "seed {seed}");
        drop(simulation);
        let runtime = runtime();
        let counter = open(&runtime, &directory.path().join("counter.arena"), "counter").unwrap();
        assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(515), "seed {seed}");
    }
}

/// A failed write or sync, after which the commit may be durable or not: the configuration is shown as
/// faulty, opens its store again and goes on, and each message counts once.
#[test]
fn a_faulty_store_is_opened_again_and_goes_on() {
    for seed in 0..40 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("counter.arena");
        let mut simulation = Simulation::new(seed, 2, Quota::AMPLE);
        let store = DurableStore::open(&path, Kinds::new().with::<Counter>());
        let store = store.unwrap().with_faults(u32::try_from(seed % 7).unwrap());
        let counter =
            simulation.open(Configuration::new("counter").durable(store, Counter(0))).unwrap().typed();
        for number in 1..=5 {
            simulation.send_once("client", number, &counter, Count::Add(number));
            simulation.send_once("client", number, &counter, Count::Add(number));
            simulation.send(&counter, Count::Later(100, 1));
            assert_eq!(simulation.run(100_000), Ending::Drained);
        }
        let said = |words: &str| simulation.log_lines().iter().filter(|line| line.contains(words)).count();
        let times = usize::from(seed % 7 > 0);
        assert_eq!(said("until its store can be written again"), times, "seed {seed}");
        assert_eq!(said("its store is written again"), times, "seed {seed}");
        drop(simulation);
        let runtime = runtime();
        let counter = open(&runtime, &path, "counter").unwrap();
        assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(515), "seed {seed}");
    }
}

#[test]
fn a_faulty_store_is_shown_until_it_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counter.arena");
    let runtime = runtime();
    let store = DurableStore::open(&path, Kinds::new().with::<Counter>()).unwrap().with_faults(3);
    let counter: Addr<Count> =
        runtime.open(Configuration::new("counter").durable(store, Counter(0))).unwrap().typed();
    runtime.send(&counter, Count::Add(5));
    let health = || runtime.configurations().into_iter().find(|one| one.name == "counter").unwrap().store;
    let deadline = Instant::now() + DEADLINE;
    while health() != StoreHealth::Faulty {
        assert!(Instant::now() < deadline, "it is never shown");
        std::thread::yield_now();
    }
    assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(5));
    assert_eq!(health(), StoreHealth::Well);
}

/// Timers are kept with their dates: those that are due while nobody has the store open are fired when it is
/// opened.
#[test]
fn timers_are_kept_and_fired_once_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counter.arena");
    {
        let runtime = runtime();
        let counter = open(&runtime, &path, "counter").unwrap();
        // One fires now; the others later than this process lives, one of them sooner than the next one is
        // there.
        let all = [Count::Later(1, 0), Count::Later(10, 100), Count::Later(100, 2500), Count::Never];
        all.into_iter().for_each(|message| runtime.send(&counter, message));
        until(&runtime, &counter, 1);
    }
    std::thread::sleep(Duration::from_millis(150));
    let opened = Instant::now();
    let runtime = runtime();
    let counter = open(&runtime, &path, "counter").unwrap();
    until(&runtime, &counter, 11);
    assert!(opened.elapsed() < Duration::from_secs(2), "the overdue one is due at once");
    until(&runtime, &counter, 111);
    drop(runtime);
    let runtime = self::runtime();
    let counter = open(&runtime, &path, "counter").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(111), "none is fired twice");
}

#[test]
fn events_that_wait_for_their_sponsor_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counter.arena");
    {
        let runtime = runtime();
        let counter = open(&runtime, &path, "counter").unwrap();
        let poor = Quota { memory: 1 << 20, cycles: 1 << 40, events: 3 };
        let sponsor = runtime.sponsor("poor", poor).unwrap();
        for _ in 0..5 {
            runtime.send_under(&sponsor, &counter, Count::Add(1));
        }
        assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(3));
        let begun = Instant::now();
        while !runtime.sponsors().iter().any(|one| one.name == "poor" && one.waiting == 2) {
            assert!(begun.elapsed() < DEADLINE, "{:?}", runtime.sponsors());
            std::thread::yield_now();
        }
        runtime.grant(&sponsor, Quota { events: 1, ..Quota::ZERO });
        let begun = Instant::now();
        while runtime.ask(&counter, DEADLINE, Count::Read) != Ok(4) {
            assert!(begun.elapsed() < DEADLINE);
        }
        assert!(runtime.is_conserved());
    }
    let runtime = runtime();
    let counter = open(&runtime, &path, "counter").unwrap();
    assert_eq!(runtime.ask(&counter, DEADLINE, Count::Read), Ok(5), "now paid for by the configuration");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("letter.txt");
    std::fs::write(&path, "dear reader, this is not an arena").unwrap();
    let runtime = runtime();
    assert!(open(&runtime, &path, "letter").is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear reader, this is not an arena");
    assert!(bank::kinds().with::<Counter>().knows("test.counter"));
}

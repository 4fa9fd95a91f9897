//! The stores of a durable configuration and of budgets, as each version wrote them, are opened by this
//! build: states, waiting events, unsent messages, timers and sponsors. A change of the format that cannot
//! read them shows here.
//!
//! Version 1 has two fixtures: stores of before the version was written into them, and stores that name it. A
//! new version gets a fixture of its own: `BANYAN_REGENERATE=1 cargo test -p banyan-actors --test format`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use banyan_actors::simulation::Ending;
use banyan_actors::{
    Actor, Addr, Address, Configuration, Door, DurableActor, DurableStore, Failure, Kinds, Message, Quota,
    Simulation, SponsorId, Work,
};
use serde::{Deserialize, Serialize};

const STORES: [&str; 2] = ["till", "budgets"];
/// Events that are committed; the three after them wait.
const COMMITTED: u64 = 1024;
const LAST: u64 = COMMITTED + 3;
/// What the timer brings.
const LATE: u64 = 7_000_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
enum TillMessage {
    Take(u64),
    Read(Addr<u64>),
}

#[derive(Clone, Serialize, Deserialize)]
struct Till {
    vault: Addr<u64>,
    total: u64,
}

impl Actor for Till {
    type Message = TillMessage;
    fn receive(&self, message: &TillMessage, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            TillMessage::Take(amount) => {
                if amount.is_multiple_of(500) && *amount <= LAST {
                    work.send(&self.vault, *amount);
                }
                if *amount == 1 {
                    let me = work.me();
                    work.send_after(Duration::from_secs(3600), &me, TillMessage::Take(LATE))?;
                }
                work.become_next(Self { total: self.total + amount, ..self.clone() });
            }
            TillMessage::Read(reply) => work.send(reply, self.total),
        }
        Ok(())
    }
}

impl DurableActor for Till {
    const KIND: &'static str = "format.till";
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Vault {
    received: Vec<u64>,
}

impl Actor for Vault {
    type Message = u64;
    fn receive(&self, amount: &u64, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        // Zero is a question: the answer goes to whom the name is given.
        if *amount == 0 {
            if let Some(reply) = work.lookup("reply") {
                work.send(&reply.typed::<Vec<u64>>(), self.received.clone());
            }
            return Ok(());
        }
        let received = self.received.iter().copied().chain([*amount]).collect();
        work.become_next(Self { received });
        Ok(())
    }
}

impl DurableActor for Vault {
    const KIND: &'static str = "format.vault";
}

/// Gives what it gets to a test.
struct Exit<T>(Sender<T>);

impl<T: Clone + Send + Sync + Serialize + for<'de> Deserialize<'de> + 'static> Door for Exit<T> {
    fn deliver(&self, message: Message, _: SponsorId) {
        self.0.send(message.view::<T>().unwrap().clone()).unwrap();
    }

    fn describe(&self) -> String {
        "a test".to_owned()
    }
}

fn fixture(name: &str, store: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}-{store}.image"))
}

fn open(simulation: &Simulation, directory: &Path) -> (Addr<TillMessage>, Addr<u64>) {
    let kinds = || Kinds::new().with::<Till>().with::<Vault>();
    let store = DurableStore::open(&directory.join("vault.arena"), kinds()).unwrap();
    let vault =
        simulation.open(Configuration::new("vault").durable(store, Vault::default())).unwrap().typed();
    let store = DurableStore::open(&directory.join("till.arena"), kinds()).unwrap();
    let sponsor = simulation.find_sponsor("project").unwrap();
    let settings = Configuration::new("till").weight(COMMITTED as u32).sponsor(&sponsor);
    let till = simulation.open(settings.durable(store, Till { vault: vault.clone(), total: 0 })).unwrap();
    (till.typed(), vault)
}

fn simulation(directory: &Path) -> Simulation {
    Simulation::kept(
        1,
        1,
        Quota { memory: 1 << 40, cycles: 1 << 40, events: 1 << 30 },
        &directory.join("budgets.arena"),
    )
    .unwrap()
}

/// Stores with something of everything, of a process that is killed right after a commit.
fn make(directory: &Path) {
    let mut simulation = simulation(directory);
    let budget = Quota { memory: 1 << 30, cycles: 1 << 30, events: 1 << 20 };
    simulation.sponsor("project", budget).unwrap();
    let (till, _) = open(&simulation, directory);
    for amount in 1..=LAST {
        simulation.send(&till, TillMessage::Take(amount));
    }
    while simulation.configurations().iter().all(|one| one.events < COMMITTED) {
        simulation.run(1);
    }
}

fn read_back(directory: &Path) {
    let mut simulation = simulation(directory);
    assert!(simulation.sponsors().iter().any(|sponsor| sponsor.name == "project"));
    let (till, vault) = open(&simulation, directory);
    assert_eq!(simulation.run(1_000_000), Ending::Drained);
    let (answer, total) = channel::<u64>();
    simulation.send(&till, TillMessage::Read(Address::of_door(Box::new(Exit(answer))).typed()));
    let (answer, received) = channel::<Vec<u64>>();
    simulation.register("reply", &Address::of_door(Box::new(Exit(answer)))).unwrap();
    simulation.send(&vault, 0);
    assert_eq!(simulation.run(1_000_000), Ending::Drained);
    assert_eq!(total.try_recv().unwrap(), LAST * (LAST + 1) / 2 + LATE, "states, waiting events and a timer");
    assert_eq!(received.try_recv().unwrap(), [500, 1000], "unsent messages, each once");
    assert!(simulation.is_conserved());
}

#[test]
fn stores_of_each_version_are_read() {
    let directory = tempfile::tempdir().unwrap();
    if std::env::var_os("BANYAN_REGENERATE").is_some() {
        let made = tempfile::tempdir().unwrap();
        make(made.path());
        std::fs::create_dir_all(fixture("", "").parent().unwrap()).unwrap();
        for store in STORES {
            let bytes = std::fs::read(made.path().join(format!("{store}.arena"))).unwrap();
            std::fs::write(fixture("version-1", store), pack(&bytes)).unwrap();
        }
    }
    for name in ["before-versions", "version-1"] {
        let place = directory.path().join(name);
        std::fs::create_dir(&place).unwrap();
        for store in STORES {
            let image = std::fs::read(fixture(name, store)).unwrap();
            std::fs::write(place.join(format!("{store}.arena")), unpack(&image)).unwrap();
        }
        read_back(&place);
    }
}

/// What this build writes is read back as a fixture is.
#[test]
fn what_is_written_today_is_read() {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path());
    std::fs::remove_file(directory.path().join("vault.arena")).unwrap();
    read_back(directory.path());
}

/// Runs of zeroes are left out, so that a fixture is small: pairs of offset and length, each followed by its
/// bytes.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = (bytes.len() as u64).to_le_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == 0 {
            at += 1;
            continue;
        }
        let zeroes = |from: usize| bytes[from..].iter().take(16).all(|byte| *byte == 0);
        let end = (at..bytes.len()).find(|end| zeroes(*end)).unwrap_or(bytes.len());
        packed.extend_from_slice(&(at as u32).to_le_bytes());
        packed.extend_from_slice(&((end - at) as u32).to_le_bytes());
        packed.extend_from_slice(&bytes[at..end]);
        at = end;
    }
    packed
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let word = |at: usize| u32::from_le_bytes(packed[at..at + 4].try_into().unwrap()) as usize;
    let mut bytes = vec![0; u64::from_le_bytes(packed[..8].try_into().unwrap()) as usize];
    let mut at = 8;
    while at < packed.len() {
        let (offset, length) = (word(at), word(at + 4));
        bytes[offset..offset + length].copy_from_slice(&packed[at + 8..at + 8 + length]);
        at += 8 + length;
    }
    bytes
}

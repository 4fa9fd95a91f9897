//! Two processes over a socket, each with a durable configuration: either is killed at any instant, and what
//! one sends to the other is taken once, in order.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod killed;

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use banyan_actors::router::UnixRouter;
use banyan_actors::{
    Actor, Addr, Configuration, DurableActor, DurableAddress, DurableStore, Failure, KillPoint, Kinds,
    Runtime, RuntimeOptions, Work,
};
use killed::{Process, Random};
use serde::{Deserialize, Serialize};

const DEADLINE: Duration = Duration::from_secs(20);

fn runtime() -> Runtime {
    Runtime::start(RuntimeOptions { hosts: 1, pin: false, ..RuntimeOptions::default() }).unwrap()
}

/// Takes deposits. Their order is part of its state.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Vault {
    count: u64,
    state: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum VaultMessage {
    Deposit(u64),
    Read(Addr<(u64, u64)>),
}

fn mix(state: u64, amount: u64) -> u64 {
    state.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ amount
}

impl Actor for Vault {
    type Message = VaultMessage;
    fn receive(&self, message: &VaultMessage, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            VaultMessage::Deposit(amount) => {
                work.become_next(Self { count: self.count + 1, state: mix(self.state, *amount) });
            }
            VaultMessage::Read(reply) => work.send(reply, (self.count, self.state)),
        }
        Ok(())
    }
}

impl DurableActor for Vault {
    const KIND: &'static str = "test.vault";
}

/// Passes deposits on. Its address of the vault is part of its state, so it is kept.
#[derive(Clone, Serialize, Deserialize)]
struct Teller {
    vault: Addr<VaultMessage>,
    count: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum TellerMessage {
    Pass(u64),
    Count(Addr<u64>),
}

impl Actor for Teller {
    type Message = TellerMessage;
    fn receive(&self, message: &TellerMessage, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            TellerMessage::Pass(amount) => {
                work.send(&self.vault, VaultMessage::Deposit(*amount));
                work.become_next(Self { vault: self.vault.clone(), count: self.count + 1 });
            }
            TellerMessage::Count(reply) => work.send(reply, self.count),
        }
        Ok(())
    }
}

impl DurableActor for Teller {
    const KIND: &'static str = "test.teller";
}

fn open_vault(
    runtime: &Runtime,
    directory: &Path,
    kill: Option<KillPoint>,
) -> (Addr<VaultMessage>, DurableAddress) {
    let store = DurableStore::open(&directory.join("vault.arena"), Kinds::new().with::<Vault>()).unwrap();
    let store = match kill {
        Some(kill) => store.kill_at(kill),
        None => store,
    };
    let vault = runtime.open(Configuration::new("vault").durable(store, Vault::default())).unwrap();
    let durable = runtime.durable_address(&vault).unwrap();
    (vault.typed(), durable)
}

fn open_teller(
    runtime: &Runtime,
    directory: &Path,
    vault: &DurableAddress,
    kill: Option<KillPoint>,
) -> Addr<TellerMessage> {
    let store = DurableStore::open(&directory.join("teller.arena"), Kinds::new().with::<Teller>()).unwrap();
    let store = match kill {
        Some(kill) => store.kill_at(kill),
        None => store,
    };
    let first = Teller { vault: runtime.address_of(vault).typed(), count: 0 };
    runtime.open(Configuration::new("teller").durable(store, first)).unwrap().typed()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The amount of a number: always the same.
fn amount(number: u64) -> u64 {
    number.wrapping_mul(0xd134_2543_de82_ef95) >> 40
}

/// The vault after that number of deposits.
fn model(count: u64) -> u64 {
    (1..=count).fold(0, |state, number| mix(state, amount(number)))
}

/// The connection breaks and is made again while both sides live, and while one is closed: what was sent
/// meanwhile comes.
#[test]
fn what_a_broken_connection_loses_is_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("router.sock");
    let here = runtime();
    let there = runtime();
    let (vault, durable) = open_vault(&there, directory.path(), None);
    let teller = open_teller(&here, directory.path(), &durable, None);
    let mut sent = 0;
    let mut send = |many: u64| {
        for _ in 0..many {
            sent += 1;
            here.send_once("client", sent, &teller, TellerMessage::Pass(amount(sent)));
        }
        until("the teller has passed them on", || here.last_seen("teller", "client") == Ok(sent));
        sent
    };
    // Nobody is connected yet.
    send(10);
    for _ in 0..5 {
        let listening = UnixRouter::listen(&there, &path).unwrap();
        let connected = UnixRouter::connect(&here, &path, None).unwrap();
        let sent = send(100);
        until("the vault has all", || {
            there.ask(&vault, DEADLINE, VaultMessage::Read) == Ok((sent, model(sent)))
        });
        drop(listening);
        until("the end is noticed", || !connected.is_connected());
        send(100);
    }
    // The other side as a new process would be: the same address leads to it.
    drop(there);
    let there = runtime();
    let (vault, again) = open_vault(&there, directory.path(), None);
    assert_eq!(again, durable, "the address outlives the process");
    let _listening = UnixRouter::listen(&there, &path).unwrap();
    let _connected = UnixRouter::connect(&here, &path, None).unwrap();
    let sent = send(1);
    until("the vault has all", || there.ask(&vault, DEADLINE, VaultMessage::Read) == Ok((sent, model(sent))));
    // A copy of an open store has the same identity: refused, with words that say what to do.
    let copy = directory.path().join("copied.arena");
    std::fs::copy(directory.path().join("vault.arena"), &copy).unwrap();
    let store = DurableStore::open(&copy, Kinds::new().with::<Vault>()).unwrap();
    let error = there.open(Configuration::new("copied").durable(store, Vault::default())).unwrap_err();
    assert!(error.to_string().contains("make copies by a snapshot"), "{error}");
    // An address with another seal leads nowhere, here and there.
    let forged = DurableAddress { seal: [7; 16], ..durable };
    let before = there.dead_letters();
    here.deliver(&here.address_of(&forged), banyan_actors::Message::new(VaultMessage::Deposit(1)));
    until("it is dropped", || there.dead_letters() > before);
    assert_eq!(there.ask(&vault, DEADLINE, VaultMessage::Read), Ok((sent, model(sent))));
}

/// The process with the vault; as a test it does nothing.
#[test]
fn vault_process() {
    let Some(directory) = std::env::var_os("BANYAN_TEST_VAULT") else { return };
    let directory = Path::new(&directory);
    let runtime = runtime();
    let (vault, durable) = open_vault(&runtime, directory, killed::point_from_environment());
    let socket = directory.join("router.sock");
    // What a killed process has left there.
    let _ = std::fs::remove_file(&socket);
    let _listening = UnixRouter::listen(&runtime, &socket).unwrap();
    let digits = durable.to_bytes().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    println!("ADDRESS {digits}");
    for _ in std::io::stdin().lines() {
        let (count, state) = runtime.ask(&vault, DEADLINE, VaultMessage::Read).unwrap();
        println!("STATE {count} {state}");
    }
}

/// The process with the teller; as a test it does nothing.
#[test]
fn teller_process() {
    let Some(directory) = std::env::var_os("BANYAN_TEST_TELLER") else { return };
    let directory = Path::new(&directory);
    let digits = std::env::var("BANYAN_TEST_ADDRESS").unwrap();
    let bytes: Vec<u8> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
    let vault = DurableAddress::from_bytes(bytes.as_slice().try_into().unwrap());
    let runtime = runtime();
    let teller = open_teller(&runtime, directory, &vault, killed::point_from_environment());
    let handle = (*runtime).clone();
    let socket = directory.join("router.sock");
    // Connects again whenever the other process was started again, for as long as this one lives.
    std::thread::spawn(move || {
        let mut connected: Option<UnixRouter> = None;
        let begun = Instant::now();
        while begun.elapsed() < 10 * DEADLINE {
            if connected.as_ref().is_none_or(|router| !router.is_connected()) {
                connected = UnixRouter::connect(&handle, &socket, None).ok();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    println!("SEEN {}", runtime.last_seen("teller", "client").unwrap());
    for line in std::io::stdin().lines() {
        let number: u64 = line.unwrap().parse().unwrap();
        if number > 0 {
            runtime.send_once("client", number, &teller, TellerMessage::Pass(amount(number)));
        } else {
            println!("SEEN {}", runtime.last_seen("teller", "client").unwrap());
        }
    }
}

fn end(process: Process) {
    process.end(Duration::ZERO);
}

/// A named point, or none.
fn point(random: &mut Random) -> Option<String> {
    let point = ["dispatched", "committed", "sent"].get(random.below(6) as usize)?;
    Some(format!("{point}:{}", 1 + random.below(5)))
}

/// `BANYAN_KILL_ROUNDS` gives another number of rounds than 150.
#[test]
fn two_processes_killed_at_any_instant_take_each_message_once() {
    let rounds: u64 =
        std::env::var("BANYAN_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(150);
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().to_str().unwrap();
    let mut random = Random(3);
    let mut address = String::new();
    let mut acknowledged = 0;
    let mut taken = 0;
    let mut vault: Option<Process> = None;
    let mut teller: Option<Process> = None;
    for round in 0..=rounds {
        let last = round == rounds;
        if last {
            teller.take().into_iter().chain(vault.take()).for_each(end);
        }
        if vault.is_none() {
            let at = point(&mut random).filter(|_| !last);
            let mut started = Process::start("vault_process", &[("BANYAN_TEST_VAULT", text)], at.as_deref());
            if let Some(digits) = started.line("ADDRESS ") {
                assert!(address.is_empty() || digits == address, "the address outlives the process");
                address = digits;
            }
            vault = Some(started);
        }
        if teller.is_none() && !address.is_empty() {
            let at = point(&mut random).filter(|_| !last);
            let variables = [("BANYAN_TEST_TELLER", text), ("BANYAN_TEST_ADDRESS", address.as_str())];
            let mut started = Process::start("teller_process", &variables, at.as_deref());
            if let Some(seen) = started.line("SEEN ") {
                let seen: u64 = seen.parse().unwrap();
                assert!(
                    seen >= acknowledged,
                    "round {round}: {acknowledged} were acknowledged, {seen} are there"
                );
                acknowledged = seen;
            }
            teller = Some(started);
        }
        if let Some(process) = &mut teller {
            let lines: String = (acknowledged + 1..=acknowledged + 8 + random.below(32)).fold(
                String::new(),
                |mut lines, n| {
                    writeln!(lines, "{n}").unwrap();
                    lines
                },
            );
            if process.say(&lines)
                && random.below(2) == 0
                && process.say("0\n")
                && let Some(seen) = process.line("SEEN ")
            {
                acknowledged = seen.parse().unwrap();
            }
        }
        let mut look = |vault: &mut Process| -> Option<u64> {
            let state = vault.say("?\n").then(|| vault.line("STATE "))??;
            let (count, state) = state.split_once(' ').unwrap();
            let count: u64 = count.parse().unwrap();
            assert_eq!(
                state.parse(),
                Ok(model(count)),
                "round {round}: {count} deposits, each once, in order"
            );
            assert!(count >= taken, "round {round}: {taken} were there, {count} are");
            taken = count;
            Some(count)
        };
        if let Some(process) = &mut vault {
            look(process);
        }
        if last {
            let process = teller.as_mut().unwrap();
            assert!(process.say("0\n"));
            let seen: u64 = process.line("SEEN ").unwrap().parse().unwrap();
            assert!(seen > rounds, "{seen} messages in all");
            let process = vault.as_mut().unwrap();
            until("the vault has all that the teller has passed on", || {
                look(process).expect("nobody kills it now") == seen
            });
        } else {
            std::thread::sleep(Duration::from_micros(random.below(3000)));
            if random.below(3) > 0 {
                teller.take().into_iter().for_each(end);
            }
            if random.below(2) > 0 {
                vault.take().into_iter().for_each(end);
            }
            // One that has ended at a named point is started again.
            for process in [&mut vault, &mut teller] {
                if process.as_mut().is_some_and(|one| one.child.try_wait().unwrap().is_some()) {
                    process.take().into_iter().for_each(end);
                }
            }
        }
    }
    teller.into_iter().chain(vault).for_each(end);
}

//! What is kept outlives the program that has kept it: first events, messages put aside, states of earlier
//! versions.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;
use std::time::Duration;

use banyan_actors::simulation::Ending;
use banyan_actors::{
    Actor, Addr, Configuration, DurableActor, DurableStore, Failure, Kinds, Quota, Simulation, Work,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
enum Message {
    Add(u64),
    Read(Addr<String>),
    /// Makes so many others, each of which adds one to this when it begins.
    Make(u32),
    /// From now on numbers are put aside, or no more.
    Close,
    Open,
}

#[derive(Serialize, Deserialize)]
struct Count(u32);

impl Actor for Count {
    type Message = Message;
    fn receive(&self, message: &Message, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            Message::Add(number) => work.become_next(Self(self.0 + *number as u32)),
            Message::Read(reply) => work.send(reply, format!("{}", self.0)),
            Message::Make(_) | Message::Close | Message::Open => {}
        }
        Ok(())
    }
}

impl DurableActor for Count {
    const KIND: &'static str = "count";
}

/// The next version: it counts further, and has a name.
#[derive(Clone, Serialize, Deserialize)]
struct Named {
    name: String,
    count: u64,
    is_closed: bool,
}

impl Named {
    fn new(count: u64) -> Self {
        Self { name: "unnamed".to_owned(), count, is_closed: false }
    }
}

impl Actor for Named {
    type Message = Message;
    fn receive(&self, message: &Message, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            Message::Add(_) if self.is_closed => work.stash(),
            Message::Add(number) => {
                let count = self.count.wrapping_mul(10).wrapping_add(*number);
                work.become_next(Self { count, ..self.clone() });
            }
            Message::Read(reply) => work.send(reply, format!("{} {}", self.name, self.count)),
            Message::Make(others) => {
                for _ in 0..*others {
                    let me = work.me();
                    work.create_kept(Beginner(me));
                }
            }
            Message::Close => work.become_next(Self { is_closed: true, ..self.clone() }),
            Message::Open => {
                work.unstash();
                work.become_next(Self { is_closed: false, ..self.clone() });
            }
        }
        Ok(())
    }
}

impl DurableActor for Named {
    const KIND: &'static str = "count.2";
}

#[derive(Serialize, Deserialize)]
struct Beginner(Addr<Message>);

impl Actor for Beginner {
    type Message = ();
    const HAS_START: bool = true;

    fn started(&self, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        work.send(&self.0, Message::Add(1));
        Ok(())
    }

    fn receive(&self, (): &(), _: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

impl DurableActor for Beginner {
    const KIND: &'static str = "beginner";
}

fn kinds() -> Kinds {
    let migrate = |Count(count)| Named { name: "of old".to_owned(), ..Named::new(u64::from(count)) };
    Kinds::new().with::<Named>().with::<Beginner>().with_earlier(Count::KIND, migrate)
}

/// Opens the store in deterministic mode, sends, runs for so many steps, and gives what the actor says.
fn session<A: DurableActor>(path: &Path, kinds: Kinds, first: A, messages: &[Message], steps: u64) {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let store = DurableStore::open(path, kinds).unwrap();
    let counter = simulation.open(Configuration::new("counter").durable(store, first)).unwrap();
    for message in messages {
        simulation.send(&counter.clone().typed(), message.clone());
    }
    simulation.run(steps);
}

fn read(path: &Path, kinds: Kinds) -> String {
    let (sender, answers) = std::sync::mpsc::channel();
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let store = DurableStore::open(path, kinds).unwrap();
    let counter = simulation.open(Configuration::new("counter").durable(store, Named::new(0))).unwrap();
    let listener =
        banyan_actors::closure(sender, |sender, answer: &String, _: &mut banyan_actors::Context<'_>| {
            sender.send(answer.clone()).map_err(|error| Failure::because(error.to_string()))
        });
    let listener = simulation.create(Configuration::new("listener").with_behaviour(listener));
    simulation.send(&counter.typed(), Message::Read(listener.typed()));
    assert_eq!(simulation.run(100_000), Ending::Drained);
    answers.recv_timeout(Duration::from_secs(1)).unwrap()
}

#[test]
fn a_state_of_an_earlier_version_becomes_one_of_this_and_is_kept_as_that() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counter.arena");
    session(&path, Kinds::new().with::<Count>(), Count(0), &[Message::Add(4)], 1_000);
    assert_eq!(read(&path, kinds()), "of old 4");
    // What was opened once is of this version: the earlier one need not be known any more.
    assert_eq!(read(&path, Kinds::new().with::<Named>()), "of old 4");
    let error = DurableStore::open(&path, Kinds::new().with::<Count>()).map(|store| {
        let simulation = Simulation::new(1, 1, Quota::AMPLE);
        simulation.open(Configuration::new("counter").durable(store, Count(0))).unwrap_err().to_string()
    });
    assert!(error.unwrap().contains("an actor of kind count.2 was kept"));
}

/// An actor that was committed before its first event has that when the store is opened again, once.
#[test]
fn a_first_event_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    for steps in 0..40 {
        let path = directory.path().join(format!("{steps}.arena"));
        // More than one commit: those that were made begin in the next one.
        let others = 1_500;
        session(&path, kinds(), Named::new(0), &[Message::Make(others)], steps);
        let said = read(&path, kinds());
        if said == "unnamed 0" {
            // The crash was before the first commit.
            continue;
        }
        let (_, count) = said.split_once(' ').unwrap();
        // Each has appended a 1, modulo what 64 bits hold.
        let all = (0..others).fold(0_u64, |count, _| count.wrapping_mul(10).wrapping_add(1));
        assert_eq!(count.parse::<u64>().unwrap(), all, "after {steps} steps");
    }
}

/// Opened again, what was put aside is there and comes before what was sent later.
#[test]
fn what_was_put_aside_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counter.arena");
    let aside = [Message::Close, Message::Add(1), Message::Add(2)];
    session(&path, kinds(), Named::new(0), &aside, 1_000);
    assert_eq!(read(&path, kinds()), "unnamed 0");
    session(&path, kinds(), Named::new(0), &[Message::Add(3), Message::Open], 1_000);
    assert_eq!(read(&path, kinds()), "unnamed 123");
}

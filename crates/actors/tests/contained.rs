//! Code of actors that panics outside of their events: it ends there, the log says so, and everything else
//! goes on.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use banyan_actors::address::Door;
use banyan_actors::{
    Addr, Address, Behaviour, Configuration, Context, Directive, Failure, Message, Runtime, RuntimeOptions,
    SponsorId, Supervisor, closure,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Panics when it is dropped, even while another panic is under way, and so does what that panic throws.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any(Bomb);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Stop,
    Become,
    Panic,
    Fail,
}

struct Holder(Bomb, Way);

impl Behaviour for Holder {
    fn receive(&mut self, _: &Message, context: &mut Context<'_>) -> Result<(), Failure> {
        match self.1 {
            Way::Stop => context.stop(),
            Way::Become => context.become_behaviour(closure((), |(), _: &u32, _| Ok(()))),
            Way::Panic => std::panic::panic_any(Bomb),
            Way::Fail => {
                // What it has made goes with the event, several at a time.
                for _ in 0..2 {
                    context.create(Box::new(Self(Bomb, Way::Stop)))?;
                    context.deliver(&context.this(), Message::new(Letter::Dropped))?;
                }
                return Err(Failure::because("on purpose"));
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Letter {
    Dropped,
    Written,
}

impl serde::Serialize for Letter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!matches!(self, Self::Written), "written on purpose");
        serializer.serialize_u32(0)
    }
}

impl<'de> serde::Deserialize<'de> for Letter {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("read on purpose");
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        if matches!(self, Self::Dropped) {
            std::panic::panic_any(Bomb);
        }
    }
}

/// Writes what it gets, as a router does.
struct Writing;

impl Door for Writing {
    fn deliver(&self, message: Message, _: SponsorId) {
        assert!(message.to_packet().is_ok(), "no bytes");
    }

    fn describe(&self) -> String {
        "a door".to_owned()
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        std::panic::panic_any(Bomb);
    }
}

fn runtime() -> Runtime {
    Runtime::start(RuntimeOptions { hosts: 1, ..RuntimeOptions::default() }).unwrap()
}

/// The only host goes on, and its log has words about it.
fn goes_on(runtime: &Runtime, words: &str) {
    let other = closure((), |(), reply: &Addr<u32>, context: &mut Context<'_>| {
        context.send(reply, 1);
        Ok(())
    });
    let other: Addr<Addr<u32>> = runtime.create(Configuration::new("other").with_behaviour(other)).typed();
    assert_eq!(runtime.ask(&other, PATIENCE, |reply| reply), Ok(1));
    let until = Instant::now() + PATIENCE;
    while !runtime.log_lines().iter().any(|line| line.contains(words)) {
        assert!(Instant::now() < until, "nothing of {words:?} in {:?}", runtime.log_lines());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_behaviour_that_panics_when_it_is_dropped() {
    for way in [Way::Stop, Way::Become, Way::Panic, Way::Fail] {
        let runtime = runtime();
        let actor = runtime.create(Configuration::new("a").with_behaviour(Box::new(Holder(Bomb, way))));
        runtime.send(&actor.typed(), 0_u32);
        goes_on(&runtime, if way == Way::Panic { "panicked: no words" } else { "panicked" });
    }
}

#[test]
fn a_message_that_panics_when_it_is_dropped() {
    let runtime = runtime();
    let actor = closure((), |(), _: &Letter, _| Ok(()));
    let actor = runtime.create(Configuration::new("a").with_behaviour(actor));
    runtime.send(&actor.typed(), Letter::Dropped);
    goes_on(&runtime, "Letter panicked");
}

#[test]
fn a_configuration_is_removed_with_what_panics_when_it_is_dropped() {
    let runtime = runtime();
    let actor = runtime.create(Configuration::new("a").with_behaviour(Box::new(Holder(Bomb, Way::Fail))));
    for _ in 0..3 {
        runtime.send(&actor.clone().typed(), Letter::Dropped);
    }
    let number = runtime.configurations()[0].number;
    goes_on(&runtime, "Letter panicked");
    runtime.remove(number);
    // The behaviour itself is dropped with the configuration, and not before.
    goes_on(&runtime, "Behaviour> panicked");
}

#[test]
fn an_actor_whose_making_anew_panics_ends() {
    let runtime = runtime();
    let made = Arc::new(AtomicBool::new(false));
    let maker = closure((), move |(), _: &u32, context: &mut Context<'_>| {
        let supervisor = context.create_actor(Supervisor::new(Directive::Restart, 10));
        let made = made.clone();
        let child = context.create_supervised(&supervisor, move || {
            assert!(!made.swap(true, Ordering::SeqCst), "not again");
            closure((), |(), _: &u32, _| Err(Failure::because("on purpose")))
        })?;
        let watcher = closure((), |(), ended: &banyan_actors::Ended, _| {
            Err(Failure::because(format!("seen: {:?}", ended.how)))
        });
        let watcher = context.create(watcher)?;
        context.monitor(&child, &watcher.typed());
        context.send(&child.typed(), 1_u32);
        Ok(())
    });
    runtime.send(&runtime.create(Configuration::new("a").with_behaviour(maker)).typed(), 0_u32);
    goes_on(&runtime, "(making it anew panicked: not again)");
}

#[test]
fn a_message_that_panics_when_it_is_written_or_read() {
    let runtime = runtime();
    let door = Address::of_door(Box::new(Writing));
    let sender = closure(door, |door, _: &u32, context: &mut Context<'_>| {
        context.deliver(door, Message::new(Letter::Written))?;
        let packet = banyan_actors::Packet { bytes: vec![0], addresses: vec![] };
        assert!(packet.decode::<Letter>().unwrap_err().to_string().contains("read on purpose"));
        let written = Message::new(Letter::Written).to_packet();
        assert!(written.unwrap_err().to_string().contains("written on purpose"));
        context.stop();
        Ok(())
    });
    let sender = runtime.create(Configuration::new("a").with_behaviour(sender));
    runtime.send(&sender.typed(), 0_u32);
    goes_on(&runtime, "no bytes");
    goes_on(&runtime, "Door> panicked");
}

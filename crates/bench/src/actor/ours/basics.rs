//! Messages, questions, new actors and durable events, one at a time.

use std::cell::Cell;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use super::{Ball, Counter, Done, finish, player, runtime, timed, with_setup};
use banyan_actor_examples::bank::{Bank, BranchMessage};
use banyan_actors::Configuration;
use banyan_actors::actor::{Actor, Work};
use banyan_actors::address::Addr;

/// Sends a number of messages, a hundred an event.
#[derive(Clone)]
struct Producer {
    target: Addr<u64>,
    left: u64,
}

impl Actor for Producer {
    type Message = ();
    fn receive(&self, (): &(), work: &mut Work<'_, '_, Self>) -> Done {
        let now = self.left.min(100);
        for number in 0..now {
            work.send(&self.target, number);
        }
        if self.left > now {
            let me = work.me();
            work.send(&me, ());
            work.become_next(Self { target: self.target.clone(), left: self.left - now });
        }
        Ok(())
    }
}

pub(in crate::actor) fn tell_same(count: usize) -> Duration {
    let runtime = runtime(1);
    let (done, arrived) = channel();
    let first = with_setup(&runtime, 0, move |context| {
        let counter = context.create_actor(Counter { left: Cell::new(count as u64), done: done.clone() });
        let producer = context.create_actor(Producer { target: counter, left: count as u64 });
        context.send(&producer, ());
    });
    timed(&runtime, &first, &arrived)
}

pub(in crate::actor) fn tell_across(count: usize) -> Duration {
    tell_to(Configuration::new("counter").on_host(1), count)
}

/// The same where the receiver may not move.
pub(in crate::actor) fn tell_pinned(count: usize) -> Duration {
    tell_to(Configuration::new("counter").stay_on_host(1), count)
}

fn tell_to(receiver: Configuration, count: usize) -> Duration {
    let runtime = runtime(2);
    let (done, arrived) = channel();
    let counter = Counter { left: Cell::new(count as u64), done };
    let counter = runtime.create(receiver.with_actor(counter)).typed();
    let first = with_setup(&runtime, 0, move |context| {
        let producer = context.create_actor(Producer { target: counter.clone(), left: count as u64 });
        context.send(&producer, ());
    });
    timed(&runtime, &first, &arrived)
}

pub(in crate::actor) fn ask_across(count: usize) -> Duration {
    let runtime = runtime(2);
    let (done, arrived) = channel();
    let pong = runtime.create(Configuration::new("pong").on_host(1).with_actor(player(1, None))).typed();
    let first = with_setup(&runtime, 0, move |context| {
        let ping = context.create_actor(player(count, Some(done.clone())));
        context.send(&ping, Ball(pong.clone()));
    });
    timed(&runtime, &first, &arrived)
}

/// The same where neither configuration may move.
pub(in crate::actor) fn ask_pinned(count: usize) -> Duration {
    let runtime = runtime(2);
    let (done, arrived) = channel();
    let pong = Configuration::new("pong").stay_on_host(1).with_actor(player(1, None));
    let pong = runtime.create(pong).typed();
    let ping = player(count, Some(done));
    let ping: Addr<Ball> =
        runtime.create(Configuration::new("ping").stay_on_host(0).with_actor(ping)).typed();
    let begun = Instant::now();
    runtime.send(&ping, Ball(pong));
    arrived.recv_timeout(Duration::from_secs(60)).expect("a bench comes to its end");
    begun.elapsed()
}

#[derive(Clone)]
struct Idle(#[expect(dead_code, reason = "the state that an idle actor keeps")] u64);

impl Actor for Idle {
    type Message = u64;
    fn receive(&self, _: &u64, _: &mut Work<'_, '_, Self>) -> Done {
        Ok(())
    }
}

/// Creates a number of actors, a thousand an event.
#[derive(Clone)]
struct Creator {
    left: u64,
    done: Sender<()>,
}

impl Actor for Creator {
    type Message = ();
    fn receive(&self, (): &(), work: &mut Work<'_, '_, Self>) -> Done {
        let now = self.left.min(1000);
        for number in 0..now {
            work.create_actor(Idle(number));
        }
        if self.left == now {
            finish(&self.done);
        } else {
            let me = work.me();
            work.send(&me, ());
        }
        work.become_next(Self { left: self.left - now, done: self.done.clone() });
        Ok(())
    }
}

pub(in crate::actor) fn spawn(count: usize) -> Duration {
    let runtime = runtime(1);
    let (done, arrived) = channel();
    let creator = Creator { left: count as u64, done };
    let creator = runtime.create(Configuration::new("creator").with_actor(creator)).typed();
    timed(&runtime, &creator, &arrived)
}

/// Resident bytes of this process.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = status.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0.0);
    pages * rustix::param::page_size() as f64
}

pub(in crate::actor) fn idle_bytes(count: usize) -> f64 {
    let runtime = runtime(1);
    let (done, arrived) = channel();
    let before = resident();
    let creator = Creator { left: count as u64, done };
    let creator = runtime.create(Configuration::new("creator").with_actor(creator)).typed();
    timed(&runtime, &creator, &arrived);
    (resident() - before) / count as f64
}

/// Durable events a second of one host: transfers within the bank's two branches, in a directory of the
/// system's for temporary files. A transfer is four events.
pub(in crate::actor) fn durable_events() -> Result<f64, String> {
    const TRANSFERS: u64 = 20_000;
    let directory = std::env::temp_dir().join(format!("banyan-actors-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let measured = (|| {
        let runtime = runtime(1);
        let bank = Bank::open(&runtime, &directory, 64, None).map_err(|error| error.to_string())?;
        let begun = Instant::now();
        for number in 0..TRANSFERS {
            let (from, to) = (number as u32 % 64, number as u32 * 7 % 64);
            let transfer = BranchMessage::Transfer { from, to, amount: 1, reply: None };
            runtime.send_once("bench", number + 1, &bank.north, transfer);
        }
        // Asked after them and answered after they are committed.
        let deadline = Duration::from_secs(60);
        bank.balances(&runtime, deadline).map_err(|error| error.to_string())?;
        let events: u64 = runtime.configurations().iter().map(|one| one.events).sum();
        Ok(events as f64 / begun.elapsed().as_secs_f64())
    })();
    // What is left behind would be in the way of nobody.
    let _ = std::fs::remove_dir_all(&directory);
    measured
}

//! The measured programs as actors of this crate.

pub(super) mod basics;
pub(super) mod programs;

use std::cell::Cell;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use banyan_actors::Configuration;
use banyan_actors::actor::{Actor, Work};
use banyan_actors::address::Addr;
use banyan_actors::behaviour::Failure;
use banyan_actors::runtime::{Runtime, RuntimeOptions};

type Done = Result<(), Failure>;

fn runtime(hosts: usize) -> Runtime {
    let options = RuntimeOptions { hosts, pin: hosts > 1, ..RuntimeOptions::default() };
    Runtime::start(options).expect("a bench needs threads")
}

/// Tells the thread that measures that all is done.
fn finish(done: &Sender<()>) {
    // It waits, so it is there.
    let _ = done.send(());
}

/// Counts messages, in place as the rivals do, and says when there were enough.
struct Counter {
    left: Cell<u64>,
    done: Sender<()>,
}

impl Actor for Counter {
    type Message = u64;
    fn receive(&self, _: &u64, _: &mut Work<'_, '_, Self>) -> Done {
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            finish(&self.done);
        }
        Ok(())
    }
}

/// A configuration whose first actor makes the others: a closure that is called once.
fn with_setup(
    runtime: &Runtime,
    host: usize,
    setup: impl Fn(&mut banyan_actors::Context<'_>) + Send + Clone + 'static,
) -> Addr<()> {
    let first =
        banyan_actors::actor::closure(setup, |setup, (): &(), context: &mut banyan_actors::Context<'_>| {
            setup(context);
            Ok(())
        });
    runtime.create(Configuration::new("bench").on_host(host).with_behaviour(first)).typed()
}

fn timed(runtime: &Runtime, first: &Addr<()>, arrived: &std::sync::mpsc::Receiver<()>) -> Duration {
    let begun = Instant::now();
    runtime.send(first, ());
    arrived.recv_timeout(Duration::from_secs(60)).expect("a bench comes to its end");
    begun.elapsed()
}

#[derive(Clone, Serialize, Deserialize)]
struct Ball(Addr<Ball>);

struct Player {
    left: Cell<u64>,
    done: Option<Sender<()>>,
}

impl Actor for Player {
    type Message = Ball;
    fn receive(&self, ball: &Ball, work: &mut Work<'_, '_, Self>) -> Done {
        let me = work.me();
        if self.left.get() == 0 {
            self.done.iter().for_each(finish);
            return Ok(());
        }
        work.send(&ball.0, Ball(me));
        if self.done.is_some() {
            self.left.set(self.left.get() - 1);
        }
        Ok(())
    }
}

fn player(left: usize, done: Option<Sender<()>>) -> Player {
    Player { left: Cell::new(left as u64), done }
}

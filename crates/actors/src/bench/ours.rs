//! The measured programs as actors of this crate.

use std::cell::{Cell, RefCell};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::savina::{ACCOUNTS, CREATURES, PHILOSOPHERS, Part, QUEENS_WORKERS, Word};
use crate::actor::{Actor, Work};
use crate::address::Addr;
use crate::behaviour::Failure;
use crate::configuration::Configuration;
use crate::examples::bank::{Bank, BranchMessage};
use crate::runtime::{Runtime, RuntimeOptions};

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

/// Sends so many messages, a hundred an event.
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

/// A configuration whose first actor makes the others: a closure that is called once.
fn with_setup(
    runtime: &Runtime,
    host: usize,
    setup: impl Fn(&mut crate::Context<'_>) + Send + Clone + 'static,
) -> Addr<()> {
    let first = crate::actor::closure(setup, |setup, (): &(), context: &mut crate::Context<'_>| {
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

pub(super) fn tell_same(count: usize) -> Duration {
    let runtime = runtime(1);
    let (done, arrived) = channel();
    let first = with_setup(&runtime, 0, move |context| {
        let counter = context.create_actor(Counter { left: Cell::new(count as u64), done: done.clone() });
        let producer = context.create_actor(Producer { target: counter, left: count as u64 });
        context.send(&producer, ());
    });
    timed(&runtime, &first, &arrived)
}

pub(super) fn tell_across(count: usize) -> Duration {
    let runtime = runtime(2);
    let (done, arrived) = channel();
    let counter = Counter { left: Cell::new(count as u64), done };
    let counter = runtime.create(Configuration::new("counter").on_host(1).with_actor(counter)).typed();
    let first = with_setup(&runtime, 0, move |context| {
        let producer = context.create_actor(Producer { target: counter.clone(), left: count as u64 });
        context.send(&producer, ());
    });
    timed(&runtime, &first, &arrived)
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

pub(super) fn ask_across(count: usize) -> Duration {
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
pub(super) fn ask_pinned(count: usize) -> Duration {
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

pub(super) fn pingpong(count: usize) -> Duration {
    let runtime = runtime(2);
    let (done, arrived) = channel();
    let first = with_setup(&runtime, 0, move |context| {
        let pong = context.create_actor(player(1, None));
        let ping = context.create_actor(player(count, Some(done.clone())));
        context.send(&ping, Ball(pong));
    });
    timed(&runtime, &first, &arrived)
}

pub(super) fn count(count: usize) -> Duration {
    tell_same(count)
}

#[derive(Clone)]
struct Idle(#[expect(dead_code, reason = "the state that an idle actor keeps")] u64);

impl Actor for Idle {
    type Message = u64;
    fn receive(&self, _: &u64, _: &mut Work<'_, '_, Self>) -> Done {
        Ok(())
    }
}

/// Creates so many, a thousand an event.
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

pub(super) fn spawn(count: usize) -> Duration {
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

pub(super) fn idle_bytes(count: usize) -> f64 {
    let runtime = runtime(1);
    let (done, arrived) = channel();
    let before = resident();
    let creator = Creator { left: count as u64, done };
    let creator = runtime.create(Configuration::new("creator").with_actor(creator)).typed();
    timed(&runtime, &creator, &arrived);
    (resident() - before) / count as f64
}

const WORKERS: usize = 60;

pub(super) fn fork_join_throughput(count: usize) -> Duration {
    let runtime = runtime(2);
    let (done, arrived) = channel();
    let each = count / WORKERS;
    let first = with_setup(&runtime, 0, move |context| {
        let workers: Vec<Addr<u64>> = (0..WORKERS)
            .map(|_| context.create_actor(Counter { left: Cell::new(each as u64), done: done.clone() }))
            .collect();
        for number in 0..each {
            for worker in &workers {
                context.send(worker, number as u64);
            }
        }
    });
    let begun = Instant::now();
    runtime.send(&first, ());
    for _ in 0..WORKERS {
        arrived.recv_timeout(Duration::from_secs(60)).expect("a bench comes to its end");
    }
    begun.elapsed()
}

/// Counts in common, outside of the actors, as the rivals do.
#[derive(Clone)]
struct Once {
    joined: Addr<u64>,
}

impl Actor for Once {
    type Message = u64;
    fn receive(&self, number: &u64, work: &mut Work<'_, '_, Self>) -> Done {
        work.send(&self.joined, *number);
        work.stop();
        Ok(())
    }
}

pub(super) fn fork_join_create(count: usize) -> Duration {
    let runtime = runtime(2);
    let (done, arrived) = channel();
    let first = with_setup(&runtime, 0, move |context| {
        let joined = context.create_actor(Counter { left: Cell::new(count as u64), done: done.clone() });
        for number in 0..count {
            let once = context.create_actor(Once { joined: joined.clone() });
            context.send(&once, number as u64);
        }
    });
    timed(&runtime, &first, &arrived)
}

#[derive(Clone, Serialize, Deserialize)]
enum Ring {
    Next(Addr<Ring>),
    Token(u64),
}

#[derive(Clone)]
struct Link {
    next: Option<Addr<Ring>>,
    done: Sender<()>,
}

impl Actor for Link {
    type Message = Ring;
    fn receive(&self, message: &Ring, work: &mut Work<'_, '_, Self>) -> Done {
        match (message, &self.next) {
            (Ring::Next(next), _) => {
                work.become_next(Self { next: Some(next.clone()), done: self.done.clone() });
            }
            (Ring::Token(0), _) => finish(&self.done),
            (Ring::Token(left), Some(next)) => work.send(next, Ring::Token(left - 1)),
            (Ring::Token(_), None) => {}
        }
        Ok(())
    }
}

pub(super) fn thread_ring(hops: usize) -> Duration {
    let runtime = runtime(2);
    let (done, arrived) = channel();
    let first = with_setup(&runtime, 0, move |context| {
        let links: Vec<Addr<Ring>> =
            (0..100).map(|_| context.create_actor(Link { next: None, done: done.clone() })).collect();
        for (one, next) in links.iter().zip(links.iter().cycle().skip(1)) {
            context.send(one, Ring::Next(next.clone()));
        }
        context.send(&links[0], Ring::Token(hops as u64));
    });
    timed(&runtime, &first, &arrived)
}

#[derive(Clone, Serialize, Deserialize)]
enum Big {
    Peers(Vec<Addr<Big>>),
    Ping(Addr<Big>),
    Pong,
}

/// Pings a peer, and the next one when it has the answer.
struct Peer {
    peers: RefCell<Vec<Addr<Big>>>,
    left: Cell<u64>,
    random: Cell<u64>,
    done: Sender<()>,
}

impl Actor for Peer {
    type Message = Big;
    fn receive(&self, message: &Big, work: &mut Work<'_, '_, Self>) -> Done {
        match message {
            Big::Ping(from) => {
                work.send(from, Big::Pong);
                return Ok(());
            }
            Big::Peers(peers) => self.peers.replace(peers.clone()),
            Big::Pong => Vec::new(),
        };
        if self.left.get() == 0 {
            finish(&self.done);
            return Ok(());
        }
        self.left.set(self.left.get() - 1);
        let random = self.random.get().wrapping_mul(6_364_136_223_846_793_005);
        self.random.set(random.wrapping_add(1_442_695_040_888_963_407));
        let peers = self.peers.borrow();
        let me = work.me();
        work.send(&peers[(self.random.get() >> 33) as usize % peers.len()], Big::Ping(me));
        Ok(())
    }
}

const PEERS: usize = 120;

pub(super) fn big(count: usize) -> Duration {
    let runtime = runtime(2);
    let (done, arrived) = channel();
    let each = (count / PEERS) as u64;
    let first = with_setup(&runtime, 0, move |context| {
        let peers: Vec<Addr<Big>> = (0..PEERS as u64)
            .map(|random| {
                let (left, random) = (Cell::new(each), Cell::new(random));
                context.create_actor(Peer { peers: RefCell::default(), left, random, done: done.clone() })
            })
            .collect();
        for peer in &peers {
            context.send(peer, Big::Peers(peers.clone()));
        }
    });
    let begun = Instant::now();
    runtime.send(&first, ());
    for _ in 0..PEERS {
        arrived.recv_timeout(Duration::from_secs(60)).expect("a bench comes to its end");
    }
    begun.elapsed()
}

/// A part of one of the programs in `savina`. It is changed in place, as the rivals do.
struct Savina {
    part: RefCell<Part<Reference>>,
    done: Sender<()>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Reference(Addr<SavinaWord>);

#[derive(Clone, Serialize, Deserialize)]
struct SavinaWord(Word<Reference>);

impl Actor for Savina {
    type Message = SavinaWord;
    fn receive(&self, word: &SavinaWord, work: &mut Work<'_, '_, Self>) -> Done {
        let me = work.me();
        let mut tell = |to: &Reference, word| work.send(&to.0, SavinaWord(word));
        if self.part.borrow_mut().handle(word.0.clone(), || Reference(me), &mut tell) {
            finish(&self.done);
        }
        Ok(())
    }
}

/// Runs a program whose parts `setup` makes.
fn savina(
    setup: impl Fn(&mut dyn FnMut(Part<Reference>) -> Reference) -> Vec<(Reference, Word<Reference>)>
    + Send
    + Clone
    + 'static,
) -> Duration {
    let runtime = runtime(2);
    let (done, arrived) = channel();
    let first = with_setup(&runtime, 0, move |context| {
        let mut spawn =
            |part| Reference(context.create_actor(Savina { part: RefCell::new(part), done: done.clone() }));
        for (to, word) in setup(&mut spawn) {
            context.send(&to.0, SavinaWord(word));
        }
    });
    timed(&runtime, &first, &arrived)
}

pub(super) fn chameneos(meetings: usize) -> Duration {
    savina(move |spawn| {
        let mall = spawn(Part::mall(meetings as u64));
        let creature = |one| Part::Creature { mall: mall.clone(), color: (one % 3) as u8, met: 0 };
        (0..CREATURES).map(|one| (spawn(creature(one)), Word::Begin)).collect()
    })
}

pub(super) fn banking(transfers: usize) -> Duration {
    savina(move |spawn| {
        let accounts = (0..ACCOUNTS).map(|_| spawn(Part::account())).collect();
        let (begun, left) = (transfers as u64, transfers as u64);
        vec![(spawn(Part::Teller { accounts, begun, left }), Word::Begin)]
    })
}

pub(super) fn philosopher(meals: usize) -> Duration {
    savina(move |spawn| {
        let arbiter = spawn(Part::arbiter());
        let rounds = (meals / PHILOSOPHERS) as u64;
        let philosopher = |number| Part::Philosopher { number, rounds, arbiter: arbiter.clone() };
        (0..PHILOSOPHERS as u32).map(|number| (spawn(philosopher(number)), Word::Begin)).collect()
    })
}

pub(super) fn queens(size: usize) -> Duration {
    savina(move |spawn| {
        let master = spawn(Part::master(size as u8));
        let workers = (0..QUEENS_WORKERS).map(|_| spawn(Part::Worker { master: master.clone() })).collect();
        vec![(master.clone(), Word::Workers(workers)), (master, Word::Begin)]
    })
}

/// Durable events a second of one host: transfers within the bank's two branches, in a directory of the system's for
/// temporary files. A transfer is four events.
pub(super) fn durable_events() -> Result<f64, String> {
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

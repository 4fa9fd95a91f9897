//! The Savina programs.

use std::cell::{Cell, RefCell};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::basics::tell_same;
use super::{Ball, Counter, Done, finish, player, runtime, timed, with_setup};
use crate::actor::savina::{ACCOUNTS, CREATURES, PHILOSOPHERS, Part, QUEENS_WORKERS, Word};
use banyan_actors::actor::{Actor, Work};
use banyan_actors::address::Addr;

pub(in crate::actor) fn pingpong(count: usize) -> Duration {
    let runtime = runtime(2);
    let (done, arrived) = channel();
    let first = with_setup(&runtime, 0, move |context| {
        let pong = context.create_actor(player(1, None));
        let ping = context.create_actor(player(count, Some(done.clone())));
        context.send(&ping, Ball(pong));
    });
    timed(&runtime, &first, &arrived)
}

pub(in crate::actor) fn count(count: usize) -> Duration {
    tell_same(count)
}

const WORKERS: usize = 60;

pub(in crate::actor) fn fork_join_throughput(count: usize) -> Duration {
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

pub(in crate::actor) fn fork_join_create(count: usize) -> Duration {
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

pub(in crate::actor) fn thread_ring(hops: usize) -> Duration {
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

pub(in crate::actor) fn big(count: usize) -> Duration {
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

pub(in crate::actor) fn chameneos(meetings: usize) -> Duration {
    savina(move |spawn| {
        let mall = spawn(Part::mall(meetings as u64));
        let creature = |one| Part::Creature { mall: mall.clone(), color: (one % 3) as u8, met: 0 };
        (0..CREATURES).map(|one| (spawn(creature(one)), Word::Begin)).collect()
    })
}

pub(in crate::actor) fn banking(transfers: usize) -> Duration {
    savina(move |spawn| {
        let accounts = (0..ACCOUNTS).map(|_| spawn(Part::account())).collect();
        let (begun, left) = (transfers as u64, transfers as u64);
        vec![(spawn(Part::Teller { accounts, begun, left }), Word::Begin)]
    })
}

pub(in crate::actor) fn philosopher(meals: usize) -> Duration {
    savina(move |spawn| {
        let arbiter = spawn(Part::arbiter());
        let rounds = (meals / PHILOSOPHERS) as u64;
        let philosopher = |number| Part::Philosopher { number, rounds, arbiter: arbiter.clone() };
        (0..PHILOSOPHERS as u32).map(|number| (spawn(philosopher(number)), Word::Begin)).collect()
    })
}

pub(in crate::actor) fn queens(size: usize) -> Duration {
    savina(move |spawn| {
        let master = spawn(Part::master(size as u8));
        let workers = (0..QUEENS_WORKERS).map(|_| spawn(Part::Worker { master: master.clone() })).collect();
        vec![(master.clone(), Word::Workers(workers)), (master, Word::Begin)]
    })
}

//! The measured programs for other libraries: each program once ([`Role`]), and each library behind
//! [`Library`].
//!
//! A library's part is what its documentation shows for an actor with one message type and an unbounded
//! mailbox. State is changed in place, and nothing is accounted for.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver as Receiver, UnboundedSender as Sender, unbounded_channel};

use super::savina::{ACCOUNTS, CREATURES, PHILOSOPHERS, Part, QUEENS_WORKERS, Word};

#[path = "actix.rs"]
mod actix_library;
#[path = "kameo.rs"]
mod kameo_library;
#[path = "ractor.rs"]
mod ractor_library;

/// The reference to an actor of a library, and what the programs need of it.
trait Library: Clone + Send + Sync + Sized + 'static {
    fn tell(&self, message: Message<Self>);
    fn spawn(role: Role<Self>) -> impl Future<Output = Self> + Send;
    /// On another thread, where the library lets one choose.
    fn spawn_elsewhere(role: Role<Self>) -> impl Future<Output = Self> + Send {
        Self::spawn(role)
    }
    /// Runs `first` inside the library, on `threads` threads, and waits for `words` words that it is done.
    fn run(threads: usize, first: First, done: &mut Receiver<()>, words: usize) -> Duration;
}

type First = Box<dyn FnOnce() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

enum Message<L> {
    Go,
    Work,
    Ball(L),
    Next(L),
    Token(u64),
    Peers(Arc<Vec<L>>),
    Ping(L),
    Pong,
    Savina(Word<L>),
}

enum Role<L> {
    Counter { left: u64, done: Sender<()> },
    Producer { target: L, left: u64 },
    Player { left: u64, done: Option<Sender<()>> },
    Idle,
    Once { joined: L },
    Link { next: Option<L>, done: Sender<()> },
    Peer { peers: Arc<Vec<L>>, left: u64, random: u64, done: Sender<()> },
    Savina { part: Part<L>, done: Sender<()> },
}

impl<L: Library> Role<L> {
    /// Handles one message; whether the actor goes on.
    #[inline]
    fn handle(&mut self, message: Message<L>, me: impl FnOnce() -> L) -> bool {
        match (self, message) {
            (Self::Counter { left, done }, _) => {
                *left -= 1;
                if *left == 0 {
                    let _ = done.send(());
                }
            }
            (Self::Producer { target, left }, _) => {
                let now = (*left).min(100);
                (0..now).for_each(|_| target.tell(Message::Work));
                *left -= now;
                if *left > 0 {
                    me().tell(Message::Go);
                }
            }
            (Self::Player { left, done }, Message::Ball(other)) => {
                if *left == 0 {
                    // The bench waits, so it is there.
                    let _ = done.as_ref().map(|done| done.send(()));
                    return true;
                }
                other.tell(Message::Ball(me()));
                *left -= u64::from(done.is_some());
            }
            (Self::Once { joined }, _) => {
                joined.tell(Message::Work);
                return false;
            }
            (Self::Link { next, .. }, Message::Next(other)) => *next = Some(other),
            (Self::Link { done, .. }, Message::Token(0)) => {
                let _ = done.send(());
            }
            (Self::Link { next: Some(next), .. }, Message::Token(left)) => {
                next.tell(Message::Token(left - 1))
            }
            (Self::Savina { part, done }, Message::Savina(word)) => {
                if part.handle(word, me, &mut |to: &L, word| to.tell(Message::Savina(word))) {
                    let _ = done.send(());
                }
            }
            (Self::Peer { .. }, Message::Ping(from)) => from.tell(Message::Pong),
            (Self::Peer { peers, left, random, done }, message) => {
                if let Message::Peers(all) = message {
                    *peers = all;
                }
                if *left == 0 {
                    let _ = done.send(());
                    return true;
                }
                *left -= 1;
                *random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                peers[(*random >> 33) as usize % peers.len()].tell(Message::Ping(me()));
            }
            _ => {}
        }
        true
    }
}

fn run<L: Library, F>(
    threads: usize,
    words: usize,
    first: impl FnOnce(Sender<()>) -> F + Send + 'static,
) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    let (done, mut arrived) = unbounded_channel();
    L::run(threads, Box::new(move || Box::pin(first(done))), &mut arrived, words)
}

/// Waits for the end of a program.
async fn wait(begun: Instant, done: &mut Receiver<()>, words: usize) -> Duration {
    for _ in 0..words {
        let word = tokio::time::timeout(Duration::from_secs(120), done.recv());
        word.await.expect("a bench comes to its end");
    }
    begun.elapsed()
}

fn tell_same<L: Library>(count: usize) -> Duration {
    run::<L, _>(1, 1, move |done| async move {
        let target = L::spawn(Role::Counter { left: count as u64, done }).await;
        L::spawn(Role::Producer { target, left: count as u64 }).await.tell(Message::Go);
    })
}

fn tell_across<L: Library>(count: usize) -> Duration {
    run::<L, _>(2, 1, move |done| async move {
        let target = L::spawn_elsewhere(Role::Counter { left: count as u64, done }).await;
        L::spawn(Role::Producer { target, left: count as u64 }).await.tell(Message::Go);
    })
}

fn ask<L: Library>(count: usize) -> Duration {
    run::<L, _>(2, 1, move |done| async move {
        let pong = L::spawn_elsewhere(Role::Player { left: 1, done: None }).await;
        let ping = L::spawn(Role::Player { left: count as u64, done: Some(done) }).await;
        ping.tell(Message::Ball(pong));
    })
}

fn pingpong<L: Library>(threads: usize, count: usize) -> Duration {
    run::<L, _>(threads, 1, move |done| async move {
        let pong = L::spawn(Role::Player { left: 1, done: None }).await;
        let ping = L::spawn(Role::Player { left: count as u64, done: Some(done) }).await;
        ping.tell(Message::Ball(pong));
    })
}

fn spawn<L: Library>(count: usize) -> Duration {
    run::<L, _>(1, 1, move |done| async move {
        let mut last = Vec::with_capacity(count);
        for _ in 0..count {
            last.push(L::spawn(Role::Idle).await);
        }
        let _ = done.send(());
        drop(last);
    })
}

fn fork_join_throughput<L: Library>(threads: usize, count: usize) -> Duration {
    const WORKERS: usize = 60;
    run::<L, _>(threads, WORKERS, move |done| async move {
        let each = count / WORKERS;
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            workers.push(L::spawn(Role::Counter { left: each as u64, done: done.clone() }).await);
        }
        for _ in 0..each {
            workers.iter().for_each(|worker| worker.tell(Message::Work));
        }
    })
}

fn fork_join_create<L: Library>(threads: usize, count: usize) -> Duration {
    run::<L, _>(threads, 1, move |done| async move {
        let joined = L::spawn(Role::Counter { left: count as u64, done }).await;
        for _ in 0..count {
            L::spawn(Role::Once { joined: joined.clone() }).await.tell(Message::Work);
        }
    })
}

fn thread_ring<L: Library>(threads: usize, hops: usize) -> Duration {
    run::<L, _>(threads, 1, move |done| async move {
        let mut links = Vec::new();
        for _ in 0..100 {
            links.push(L::spawn(Role::Link { next: None, done: done.clone() }).await);
        }
        for (one, next) in links.iter().zip(links.iter().cycle().skip(1)) {
            one.tell(Message::Next(next.clone()));
        }
        links[0].tell(Message::Token(hops as u64));
    })
}

fn big<L: Library>(threads: usize, count: usize) -> Duration {
    const PEERS: usize = 120;
    run::<L, _>(threads, PEERS, move |done| async move {
        let mut peers = Vec::new();
        for random in 0..PEERS as u64 {
            let (left, done) = ((count / PEERS) as u64, done.clone());
            peers.push(L::spawn(Role::Peer { peers: Arc::default(), left, random, done }).await);
        }
        let peers = Arc::new(peers);
        peers.iter().for_each(|peer| peer.tell(Message::Peers(peers.clone())));
    })
}

async fn part<L: Library>(part: Part<L>, done: &Sender<()>) -> L {
    L::spawn(Role::Savina { part, done: done.clone() }).await
}

fn begin<L: Library>(actors: &[L]) {
    actors.iter().for_each(|actor| actor.tell(Message::Savina(Word::Begin)));
}

fn chameneos<L: Library>(threads: usize, meetings: usize) -> Duration {
    run::<L, _>(threads, 1, move |done| async move {
        let mall: L = part(Part::mall(meetings as u64), &done).await;
        let mut creatures = Vec::new();
        for one in 0..CREATURES {
            let creature = Part::Creature { mall: mall.clone(), color: (one % 3) as u8, met: 0 };
            creatures.push(part(creature, &done).await);
        }
        begin(&creatures);
    })
}

fn banking<L: Library>(threads: usize, transfers: usize) -> Duration {
    run::<L, _>(threads, 1, move |done| async move {
        let mut accounts: Vec<L> = Vec::new();
        for _ in 0..ACCOUNTS {
            accounts.push(part(Part::account(), &done).await);
        }
        let (begun, left) = (transfers as u64, transfers as u64);
        begin(&[part(Part::Teller { accounts, begun, left }, &done).await]);
    })
}

fn philosopher<L: Library>(threads: usize, meals: usize) -> Duration {
    run::<L, _>(threads, 1, move |done| async move {
        let arbiter: L = part(Part::arbiter(), &done).await;
        let rounds = (meals / PHILOSOPHERS) as u64;
        let mut all = Vec::new();
        for number in 0..PHILOSOPHERS as u32 {
            all.push(part(Part::Philosopher { number, rounds, arbiter: arbiter.clone() }, &done).await);
        }
        begin(&all);
    })
}

fn queens<L: Library>(threads: usize, size: usize) -> Duration {
    run::<L, _>(threads, 1, move |done| async move {
        let master: L = part(Part::master(size as u8), &done).await;
        let mut workers = Vec::new();
        for _ in 0..QUEENS_WORKERS {
            workers.push(part(Part::Worker { master: master.clone() }, &done).await);
        }
        master.tell(Message::Savina(Word::Workers(workers)));
        begin(&[master]);
    })
}

/// The programs of one library, on as many threads as suit it best.
macro_rules! library {
    ($name:ident, $reference:ty, $threads:expr) => {
        pub(super) mod $name {
            use std::time::Duration;
            type Reference = $reference;
            pub(in crate::actor) fn tell_same(count: usize) -> Duration {
                super::tell_same::<Reference>(count)
            }
            pub(in crate::actor) fn tell_across(count: usize) -> Duration {
                super::tell_across::<Reference>(count)
            }
            pub(in crate::actor) fn ask(count: usize) -> Duration {
                super::ask::<Reference>(count)
            }
            pub(in crate::actor) fn spawn(count: usize) -> Duration {
                super::spawn::<Reference>(count)
            }
            pub(in crate::actor) fn pingpong(count: usize) -> Duration {
                super::pingpong::<Reference>($threads, count)
            }
            pub(in crate::actor) fn fork_join_throughput(count: usize) -> Duration {
                super::fork_join_throughput::<Reference>($threads, count)
            }
            pub(in crate::actor) fn fork_join_create(count: usize) -> Duration {
                super::fork_join_create::<Reference>($threads, count)
            }
            pub(in crate::actor) fn thread_ring(count: usize) -> Duration {
                super::thread_ring::<Reference>($threads, count)
            }
            pub(in crate::actor) fn big(count: usize) -> Duration {
                super::big::<Reference>($threads, count)
            }
            pub(in crate::actor) fn chameneos(count: usize) -> Duration {
                super::chameneos::<Reference>($threads, count)
            }
            pub(in crate::actor) fn banking(count: usize) -> Duration {
                super::banking::<Reference>($threads, count)
            }
            pub(in crate::actor) fn philosopher(count: usize) -> Duration {
                super::philosopher::<Reference>($threads, count)
            }
            pub(in crate::actor) fn queens(count: usize) -> Duration {
                super::queens::<Reference>($threads, count)
            }
        }
    };
}

library!(actix, super::actix_library::Reference, 1);
library!(kameo, super::kameo_library::Reference, 2);
library!(kameo_one_thread, super::kameo_library::Reference, 1);
library!(ractor, super::ractor_library::Reference, 2);
library!(ractor_one_thread, super::ractor_library::Reference, 1);

/// The tokio runtime that two of the libraries run on.
fn on_tokio(threads: usize, first: First, done: &mut Receiver<()>, words: usize) -> Duration {
    let runtime = match threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    };
    let runtime = runtime.expect("a bench needs threads");
    let begun = Instant::now();
    runtime.spawn(async { first().await });
    runtime.block_on(wait(begun, done, words))
}

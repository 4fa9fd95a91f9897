//! A ring: each actor hands a token to the next, which counts down; the first one tells when it is done.

use serde::{Deserialize, Serialize};

use banyan_actors::{Actor, Addr, Configuration, Failure, Handle, Work};

/// What goes round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Round {
    /// Make the rest of the ring: how many more, and the first one.
    Build(u32, Option<Addr<Round>>),
    /// Hops to go, and who waits for the end.
    Token(u64, Addr<u64>),
}

/// One of the ring.
#[derive(Clone, Default)]
pub struct Link {
    next: Option<Addr<Round>>,
}

impl Actor for Link {
    type Message = Round;
    fn receive(&self, message: &Round, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            Round::Build(more, first) => {
                let first = first.clone().unwrap_or_else(|| work.me());
                let next = match more {
                    0 => first,
                    _ => {
                        let next = work.create_actor(Self::default());
                        work.send(&next, Round::Build(more - 1, Some(first)));
                        next
                    }
                };
                work.become_next(Self { next: Some(next) });
            }
            Round::Token(0, done) => work.send(done, 0),
            Round::Token(left, done) => match &self.next {
                Some(next) => work.send(next, Round::Token(left - 1, done.clone())),
                // The ring is not closed yet: the token goes round by the queue until it is.
                None => {
                    let me = work.me();
                    work.send(&me, Round::Token(*left, done.clone()));
                }
            },
        }
        Ok(())
    }
}

/// Makes a ring of actors in a configuration, and returns the first.
pub fn start(handle: &Handle, actors: u32) -> Addr<Round> {
    let first = handle.create(Configuration::new("ring").with_actor(Link::default())).typed();
    handle.send(&first, Round::Build(actors.saturating_sub(1), None));
    first
}

//! [`Names`]: the registry of actors by name. Lock: its own.
//!
//! A name is reserved by an event, and given when that completes. The registry monitors the actor by a door,
//! so that the name goes when the actor does.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use banyan_core::sponsors::SponsorId;
use parking_lot::Mutex;

use crate::model::address::{Address, Door, Local, Place};
use crate::model::message::Message;
use crate::mutation::{Mutation, makes};

/// A name is given to another actor already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name {name} is taken by {by}; choose another or unregister it")]
pub struct NameTaken {
    /// The name.
    pub name: String,
    /// Who has it.
    pub by: String,
}

/// Whether others may see a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reserved,
    Given,
}

struct Named {
    actor: Address,
    state: State,
    /// What monitors the actor.
    watcher: Address,
}

type Table = Mutex<BTreeMap<String, Named>>;

/// Words that are the same each time that a seed is run: numbers of configurations are not.
fn words_for(actor: &Address) -> String {
    match &actor.0 {
        Place::Local(Local { slot, generation, .. }) => format!("actor {slot}.{generation}"),
        Place::Beyond(proxy) => proxy.door().describe(),
    }
}

/// Actors by name.
#[derive(Default)]
pub(crate) struct Names(Arc<Table>);

/// Takes a name away when its actor has ended.
struct Watcher {
    names: Weak<Table>,
    name: String,
    actor: Address,
}

impl Door for Watcher {
    fn deliver(&self, _: Message, _: SponsorId) {
        let Some(names) = self.names.upgrade().filter(|_| !makes(Mutation::KeepNameOfDead)) else { return };
        let mut names = names.lock();
        // It may have been given to another one meanwhile.
        let is_this = |named: &Named| named.state == State::Given && named.actor == self.actor;
        let is_this = names.get(&self.name).is_some_and(is_this);
        let removed = if is_this { names.remove(&self.name) } else { None };
        drop(names);
        drop(removed);
    }

    fn describe(&self) -> String {
        format!("the registry, for the name {}", self.name)
    }
}

impl Names {
    /// Reserves a name; gives what is to monitor the actor.
    pub(crate) fn reserve(&self, name: &str, actor: &Address) -> Result<Address, NameTaken> {
        let names = Arc::downgrade(&self.0);
        let watcher = Watcher { names, name: name.to_owned(), actor: actor.clone() };
        let watcher = Address::of_door(Box::new(watcher));
        let named = Named { actor: actor.clone(), state: State::Reserved, watcher: watcher.clone() };
        let mut names = self.0.lock();
        if let Some(Named { actor: by, .. }) = names.get(name) {
            return Err(NameTaken { name: name.to_owned(), by: words_for(by) });
        }
        names.insert(name.to_owned(), named);
        Ok(watcher)
    }

    /// What was reserved is given.
    pub(crate) fn confirm(&self, name: &str) {
        if let Some(named) = self.0.lock().get_mut(name) {
            named.state = State::Given;
        }
    }

    /// The event that has reserved a name has failed.
    pub(crate) fn release(&self, name: &str) {
        drop(self.remove(name, State::Reserved));
    }

    /// Takes a name away that was given; gives the actor, and what monitors it. What is reserved is the
    /// event's, and nothing but its end changes that.
    pub(crate) fn unregister(&self, name: &str) -> Option<(Address, Address)> {
        let state = if makes(Mutation::TakeReserved) { State::Reserved } else { State::Given };
        self.remove(name, state).map(|named| (named.actor, named.watcher))
    }

    fn remove(&self, name: &str, state: State) -> Option<Named> {
        let mut names = self.0.lock();
        let is_so = names.get(name).is_some_and(|named| named.state == state);
        // Dropped without the lock: the last copy of an address may have something to say to a peer.
        if is_so { names.remove(name) } else { None }
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<Address> {
        let names = self.0.lock();
        let is_seen = |named: &&Named| named.state == State::Given || makes(Mutation::SeeReserved);
        names.get(name).filter(is_seen).map(|named| named.actor.clone())
    }

    /// The same for the event that has reserved it.
    pub(crate) fn reserved(&self, name: &str) -> Option<Address> {
        self.0.lock().get(name).map(|named| named.actor.clone())
    }

    pub(crate) fn all(&self) -> Vec<(String, Address)> {
        let names = self.0.lock();
        let given = names.iter().filter(|(_, named)| named.state == State::Given);
        given.map(|(name, named)| (name.clone(), named.actor.clone())).collect()
    }
}

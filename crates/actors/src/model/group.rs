//! [`Group`]: an actor that sends on what it gets to all that have joined it.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};

use crate::model::actor::{Actor, Work};
use crate::model::address::Addr;
use crate::model::behaviour::Failure;
use crate::model::message::Payload;
use crate::model::supervision::Ended;

/// What a group takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Grouped<M> {
    /// This actor gets what is published from now on, until it leaves or ends. Joining twice is joining once.
    Join(Addr<M>),
    /// This one does not any more.
    Leave(Addr<M>),
    /// All members get this: every one of them, or none if the event's sponsor cannot pay for all.
    Publish(M),
    /// A member has ended. The group itself sees to that; of any other actor it says nothing.
    Ended(Ended),
}

/// A group of actors that take messages of type `M`. Give it a name for others to find it by.
pub struct Group<M> {
    /// Changed as the last thing of an event, which nothing undoes then.
    members: RefCell<Members<M>>,
}

struct Members<M> {
    all: Vec<Addr<M>>,
    /// What hears of their ends.
    ends: Option<Addr<Ended>>,
}

impl<M> Default for Group<M> {
    fn default() -> Self {
        Self { members: RefCell::new(Members { all: Vec::new(), ends: None }) }
    }
}

impl<M: Payload + Clone> Actor for Group<M> {
    type Message = Grouped<M>;

    fn receive(&self, message: &Grouped<M>, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        let mut members = self.members.borrow_mut();
        match message {
            Grouped::Join(member) if members.all.contains(member) => {}
            Grouped::Join(member) => {
                let ends = match &members.ends {
                    Some(ends) => ends.clone(),
                    None => work.adapter(|ended: &Ended| Grouped::Ended(ended.clone())),
                };
                work.monitor(member.address(), &ends);
                members.ends = Some(ends);
                members.all.push(member.clone());
            }
            Grouped::Leave(member) => {
                if let Some(ends) = &members.ends {
                    work.unmonitor(member.address(), ends);
                }
                members.all.retain(|one| one != member);
            }
            Grouped::Publish(message) => {
                members.all.iter().for_each(|member| work.send(member, message.clone()));
            }
            Grouped::Ended(Ended { actor, .. }) => members.all.retain(|one| one.address() != actor),
        }
        Ok(())
    }
}

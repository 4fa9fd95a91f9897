//! Questions: a message with an address for the answer, and a deadline.
//!
//! From inside an event the answer comes back as an event ([`Work::ask`]); from outside of any event the
//! thread waits ([`Handle::ask`](crate::Handle::ask)). Inside an event nothing ever waits.

use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use banyan_core::sponsors::SponsorId;
use serde::{Deserialize, Serialize};

use crate::configuration::effects::Deferred;
use crate::model::actor::{Actor, Work, cut_off};
use crate::model::address::{Addr, Address, Door, Place};
use crate::model::behaviour::{Behaviour, Failure};
use crate::model::context::Context;
use crate::model::message::{CodecError, Message, Payload};
use crate::model::timers::TimerId;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AskError {
    /// None came in time. One that comes later is dropped.
    #[error("no answer within the deadline")]
    Deadline,
    /// What came was no answer of the type asked for.
    #[error("the answer was not understood: {0}")]
    NotUnderstood(String),
    /// The question went to an actor that is gone, or whose event failed; or the work for the answer
    /// panicked.
    #[error("the actor that was asked has dropped the question, or the work for it failed")]
    Dropped,
}

const CANNOT_ASK: &str = "`ask` does not work in a durable configuration, since what waits for the answer would not \
    outlive the process: send the question with the address of an actor of your own made by `create_kept`, whose state \
    says what the answer is for, and set the deadline with `send_after`";
const CANNOT_ADAPT: &str = "`adapter` does not work in a durable configuration, since its closure would not outlive the \
    process: make an actor with `create_kept` that sends on what it gets";

/// The deadline has passed.
struct Late;

/// No address for the answer is left.
pub(crate) struct Dropped;

/// Waits in place of the actor that asked, for the answer, its absence or the deadline, whichever is first.
struct Waiting<R, M, F> {
    owner: Addr<M>,
    timer: TimerId,
    then: F,
    answer: PhantomData<fn(R)>,
}

impl<R, M, F> Behaviour for Waiting<R, M, F>
where
    R: Payload + Clone,
    M: Payload,
    F: Fn(Result<R, AskError>) -> M + Send + 'static,
{
    fn receive(&mut self, message: &Message, context: &mut Context<'_>) -> Result<(), Failure> {
        let answer = if message.downcast::<Late>().is_some() {
            Err(AskError::Deadline)
        } else if message.downcast::<Dropped>().is_some() {
            context.cancel(self.timer);
            Err(AskError::Dropped)
        } else {
            context.cancel(self.timer);
            let view = message.view::<R>().map(|answer| answer.clone());
            view.map_err(|error: CodecError| AskError::NotUnderstood(error.to_string()))
        };
        context.deliver(self.owner.address(), Message::new((self.then)(answer)))?;
        context.stop();
        Ok(())
    }
}

/// Turns what it gets into a message of another actor.
struct Adapter<T, M, F> {
    owner: Addr<M>,
    turn: F,
    takes: PhantomData<fn(T)>,
}

impl<T, M, F> Behaviour for Adapter<T, M, F>
where
    T: Payload,
    M: Payload,
    F: Fn(&T) -> M + Send + 'static,
{
    fn receive(&mut self, message: &Message, context: &mut Context<'_>) -> Result<(), Failure> {
        let message = message.view::<T>()?;
        context.deliver(self.owner.address(), Message::new((self.turn)(&message)))?;
        Ok(())
    }
}

impl<A: Actor> Work<'_, '_, A> {
    /// Asks `target`: `question` makes the message from the address for the answer, and `then` makes, from
    /// the answer or from its absence, the message that this actor gets. It hears at once of a question that
    /// was dropped with all copies of that address.
    ///
    /// Not in a durable configuration: what waits for the answer holds a closure, which cannot be kept, so an
    /// answer that comes after a restart would have no receiver. The event fails with words that say what to
    /// use instead.
    pub fn ask<Q: Payload, R: Payload + Clone>(
        &mut self,
        target: &Addr<Q>,
        deadline: Duration,
        question: impl FnOnce(Addr<R>) -> Q,
        then: impl Fn(Result<R, AskError>) -> A::Message + Send + 'static,
    ) {
        let answer = self.expect_answer(deadline, then);
        self.send(target, question(answer));
    }

    /// Does work that may block on a thread of the pool, as [`Context::blocking`]; `then` makes the message
    /// that this actor gets, from what the work returns or from why it does not. Of work that panics it hears
    /// at once, as of a question that was dropped. Not in a durable configuration, as [`Work::ask`] says.
    pub fn ask_pool<R: Payload + Clone>(
        &mut self,
        deadline: Duration,
        work: impl FnOnce() -> R + Send + 'static,
        then: impl Fn(Result<R, AskError>) -> A::Message + Send + 'static,
    ) {
        let answer = self.expect_answer(deadline, then);
        self.blocking(&answer, work).unwrap_or_else(|exhausted| cut_off(exhausted));
    }

    /// The address for an answer, whose last copy tells when it is dropped.
    fn expect_answer<R: Payload + Clone>(
        &mut self,
        deadline: Duration,
        then: impl Fn(Result<R, AskError>) -> A::Message + Send + 'static,
    ) -> Addr<R> {
        self.refuse_where_durable(CANNOT_ASK);
        let owner = self.me();
        let timer = self.running.timers.new_id();
        let waiting = Waiting { owner, timer, then, answer: PhantomData::<fn(R)> };
        let waiting = self.create(Box::new(waiting)).unwrap_or_else(|exhausted| cut_off(exhausted));
        self.set_timer(timer, deadline, &waiting);
        // The notice that the question was dropped must always be sent, so it is paid for now.
        self.prepay_event().unwrap_or_else(|exhausted| cut_off(exhausted));
        let Place::Local(local) = waiting.0 else { return waiting.typed() };
        (self.facilities.answers)(local, self.sponsor).typed()
    }

    fn set_timer(&mut self, id: TimerId, delay: Duration, target: &Address) {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let due = self.now().saturating_add(delay);
        let (target, message) = (target.clone(), Message::internal(Late));
        self.running.effects.deferred.push(Deferred::Timer { id, due, target, message });
    }

    /// An address at which others reach this actor with messages of another type, until this actor ends or
    /// ends the address ([`Context::end`]). Not in a durable configuration, as [`Work::ask`] says.
    pub fn adapter<T: Payload>(&mut self, turn: impl Fn(&T) -> A::Message + Send + 'static) -> Addr<T> {
        self.refuse_where_durable(CANNOT_ADAPT);
        let adapter = Adapter { owner: self.me(), turn, takes: PhantomData::<fn(T)> };
        let adapter = self.create(Box::new(adapter)).unwrap_or_else(|exhausted| cut_off(exhausted));
        if let Place::Local(local) = &adapter.0 {
            self.running.effects.deferred.push(Deferred::Belong(local.slot));
        }
        adapter.typed()
    }
}

/// The door at which a thread waits for one answer.
struct Reply<R> {
    sender: SyncSender<Result<R, AskError>>,
}

impl<R: Payload + Clone> Door for Reply<R> {
    fn deliver(&self, message: Message, _: SponsorId) {
        let view = message.view::<R>().map(|answer| answer.clone());
        let answer = view.map_err(|error| AskError::NotUnderstood(error.to_string()));
        // A second answer, or one after the deadline, has nowhere to go.
        let _ = self.sender.try_send(answer);
    }

    fn describe(&self) -> String {
        "a thread that waits for an answer".to_owned()
    }
}

/// An address for one answer, and where it arrives.
pub(crate) fn reply<R: Payload + Clone>() -> (Addr<R>, Receiver<Result<R, AskError>>) {
    let (sender, receiver) = sync_channel(1);
    (Address::of_door(Box::new(Reply { sender })).typed(), receiver)
}

/// Waits for the answer.
pub(crate) fn wait<R>(receiver: &Receiver<Result<R, AskError>>, deadline: Duration) -> Result<R, AskError> {
    receiver.recv_timeout(deadline).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(AskError::Deadline),
        RecvTimeoutError::Disconnected => Err(AskError::Dropped),
    })
}

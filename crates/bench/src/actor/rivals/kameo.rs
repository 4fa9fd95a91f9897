//! kameo: an actor is a task of tokio's.

use std::time::Duration;

use kameo::actor::{Actor, ActorRef, Spawn};
use kameo::mailbox;

use super::{First, Library, Message, Receiver, Role, on_tokio};

pub(super) struct Node(Role<Reference>);

#[derive(Clone)]
pub(super) struct Reference(ActorRef<Node>);

impl Actor for Node {
    type Args = Self;
    type Error = kameo::error::Infallible;
    async fn on_start(args: Self, _: ActorRef<Self>) -> Result<Self, Self::Error> {
        Ok(args)
    }
}

impl kameo::message::Message<Message<Reference>> for Node {
    type Reply = ();
    async fn handle(&mut self, message: Message<Reference>, context: &mut kameo::message::Context<Self, ()>) {
        if !self.0.handle(message, || Reference(context.actor_ref().clone())) {
            context.stop();
        }
    }
}

impl Library for Reference {
    #[inline]
    fn tell(&self, message: Message<Self>) {
        // An actor that is gone takes no messages.
        let _ = self.0.tell(message).try_send();
    }

    async fn spawn(role: Role<Self>) -> Self {
        Self(Node::spawn_with_mailbox(Node(role), mailbox::unbounded()))
    }

    fn run(threads: usize, first: First, done: &mut Receiver<()>, words: usize) -> Duration {
        on_tokio(threads, first, done, words)
    }
}

//! ractor: an actor is a task of tokio's.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{First, Library, Message, Receiver, Role, on_tokio};

pub(super) struct Node;

#[derive(Clone)]
pub(super) struct Reference(ActorRef<Message<Reference>>);

impl Actor for Node {
    type Msg = Message<Reference>;
    type State = Role<Reference>;
    type Arguments = Role<Reference>;

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        role: Role<Reference>,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(role)
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        role: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if !role.handle(message, || Reference(me.clone())) {
            me.stop(None);
        }
        Ok(())
    }
}

impl Library for Reference {
    #[inline]
    fn tell(&self, message: Message<Self>) {
        // An actor that is gone takes no messages.
        let _ = self.0.send_message(message);
    }

    async fn spawn(role: Role<Self>) -> Self {
        let spawned = Actor::spawn(None, Node, role).await;
        Self(spawned.expect("nothing hinders the start of a bench's actor").0)
    }

    fn run(threads: usize, first: First, done: &mut Receiver<()>, words: usize) -> Duration {
        on_tokio(threads, first, done, words)
    }
}

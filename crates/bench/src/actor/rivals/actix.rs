//! actix: an arbiter is a thread; its actors stay on it.

use std::time::{Duration, Instant};

use actix::prelude::{Actor, ActorContext, Addr, Arbiter, AsyncContext, Context, Handler};

use super::{First, Library, Message, Receiver, Role, wait};

pub(super) struct Node(Role<Reference>);

#[derive(Clone)]
pub(super) struct Reference(Addr<Node>);

impl Actor for Node {
    type Context = Context<Self>;
}

impl actix::Message for Message<Reference> {
    type Result = ();
}

impl Handler<Message<Reference>> for Node {
    type Result = ();
    fn handle(&mut self, message: Message<Reference>, context: &mut Context<Self>) {
        let me = context.address();
        if !self.0.handle(message, || Reference(me)) {
            context.stop();
        }
    }
}

impl Library for Reference {
    #[inline]
    fn tell(&self, message: Message<Self>) {
        self.0.do_send(message);
    }

    async fn spawn(role: Role<Self>) -> Self {
        Self(Node(role).start())
    }

    async fn spawn_elsewhere(role: Role<Self>) -> Self {
        Self(Node::start_in_arbiter(&Arbiter::new().handle(), |_| Node(role)))
    }

    fn run(_: usize, first: First, done: &mut Receiver<()>, words: usize) -> Duration {
        let begun = Instant::now();
        actix::System::new().block_on(async {
            first().await;
            wait(begun, done, words).await
        })
    }
}

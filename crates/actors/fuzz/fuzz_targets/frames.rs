//! Any bytes from a peer: each frame is taken or refused, and nothing is created for a token that nobody gave out.
#![no_main]

use std::sync::{Arc, LazyLock};

use banyan_actors::router::{Exchange, Link, Router};
use banyan_actors::{Configuration, Context, Quota, Simulation, closure};
use libfuzzer_sys::fuzz_target;

struct Nowhere;

impl Link for Nowhere {
    fn carry(&self, _: Vec<u8>) {}
}

fuzz_target!(|bytes: &[u8]| {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let actor = closure((), |(), _: &(u64, String), _: &mut Context<'_>| Ok(()));
    let actor = simulation.create(Configuration::new("target").with_behaviour(actor));
    let exchange: Arc<Exchange> = Exchange::new((*simulation).clone(), Box::new(Nowhere), None);
    exchange.publish(&actor);
    static GREETING: LazyLock<Vec<u8>> = LazyLock::new(|| vec![1, 1, 0, 0, 0]);
    let _ = exchange.take(&GREETING);
    for frame in bytes.chunks(64) {
        let _ = exchange.take(frame);
    }
    assert_eq!(exchange.counts(), (0, 0));
    simulation.run(1000);
});

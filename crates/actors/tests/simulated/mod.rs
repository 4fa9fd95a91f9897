//! What tests in deterministic mode share: an actor that passes on what it hears, and one event with all that
//! follows it.

use std::sync::mpsc::{Receiver, channel};

use banyan_actors::simulation::Ending;
use banyan_actors::{Addr, Configuration, Context, Failure, Payload, Simulation, closure};

/// An actor in a configuration for itself, and what it hears.
pub(crate) fn listener<M: Payload + Clone>(simulation: &Simulation) -> (Addr<M>, Receiver<M>) {
    let (sender, receiver) = channel();
    let behaviour = closure(sender, |sender, message: &M, _: &mut Context<'_>| {
        sender.send(message.clone()).map_err(|error| Failure::because(error.to_string()))
    });
    let address = simulation.create(Configuration::new("listener").with_behaviour(behaviour));
    (address.typed(), receiver)
}

/// Runs one event in a configuration made for it, and all that follows.
pub(crate) fn run(
    simulation: &mut Simulation,
    event: impl Fn(&mut Context<'_>) -> Result<(), Failure> + Send + 'static,
) {
    let root = closure((), move |(), _: &(), context: &mut Context<'_>| event(context));
    let root = simulation.create(Configuration::new("root").with_behaviour(root));
    simulation.send(&root.typed(), ());
    assert_eq!(simulation.run(100_000), Ending::Drained);
}

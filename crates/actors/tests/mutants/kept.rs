//! Rules of what is kept.

use banyan_actors::simulation::Ending;
use banyan_actors::{
    Actor, Addr, Configuration, DurableActor, DurableStore, Failure, Kinds, Quota, Simulation, Work,
};
use serde::{Deserialize, Serialize};

use super::simulated::listener;
use super::{Check, expect};

pub(super) const CHECKS: &[(&str, Check)] = &[("a full disk is looked at again", full_disk)];

/// Tells the sum of what it was sent.
#[derive(Serialize, Deserialize)]
struct Sum(u64, Addr<u64>);

impl Actor for Sum {
    type Message = u64;
    fn receive(&self, number: &u64, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        work.send(&self.1, self.0 + number);
        work.become_next(Self(self.0 + number, self.1.clone()));
        Ok(())
    }
}

impl DurableActor for Sum {
    const KIND: &'static str = "sum";
}

fn full_disk() -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (sums, told) = listener::<u64>(&simulation);
    let store = DurableStore::open(&directory.path().join("sum.arena"), Kinds::new().with::<Sum>());
    let store = store.map_err(|error| error.to_string())?.without_room(3);
    let sum = simulation.open(Configuration::new("sum").durable(store, Sum(0, sums)));
    let sum = sum.map_err(|error| error.to_string())?.typed::<u64>();
    for number in [1, 2] {
        simulation.send(&sum, number);
        expect(&simulation.run(10_000), &Ending::Drained)?;
    }
    expect(&told.try_iter().collect::<Vec<_>>(), &vec![1, 3])
}

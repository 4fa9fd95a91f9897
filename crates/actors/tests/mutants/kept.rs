//! Rules of what is kept.

use banyan_actors::durable::StoreHealth;
use banyan_actors::simulation::Ending;
use banyan_actors::{
    Actor, Addr, Configuration, Context, DurableActor, DurableStore, Failure, Kinds, Quota, Simulation, Work,
    closure,
};
use serde::{Deserialize, Serialize};

use super::simulated::listener;
use super::{Check, expect};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("a full disk is looked at again", full_disk),
    ("a gift is told of when it is kept", unkept_gift),
    ("a sponsor is made when it is kept", unkept_sponsor),
];

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

/// A gift that is told of is there after a crash at that moment, though the disk was full.
fn unkept_gift() -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let budgets = directory.path().join("budgets.arena");
    let kept = |seed| Simulation::kept(seed, 1, Quota::AMPLE, &budgets).map_err(|error| error.to_string());
    let mut simulation = kept(1)?;
    let (tell, told) = listener::<()>(&simulation);
    let giver = closure(tell, |tell, (): &(), context: &mut Context<'_>| {
        let heir = context.new_sponsor("heir")?;
        context.transfer(&heir, Quota { memory: 0, cycles: 0, events: 7 })?;
        context.send(tell, ());
        Ok(())
    });
    let giver = simulation.create(Configuration::new("giver").with_behaviour(giver));
    simulation.run(10_000);
    simulation.spoil_budgets(StoreHealth::Full, 2);
    simulation.send(&giver.typed(), ());
    let is_told = (0..10_000).any(|_| {
        simulation.run(1);
        told.try_recv().is_ok()
    });
    drop(simulation);
    let heir = kept(2)?.sponsors().into_iter().find(|one| one.name == "heir").map(|one| one.left[2]);
    expect(&(is_told, heir), &(true, Some(7)))
}

fn unkept_sponsor() -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let budgets = directory.path().join("budgets.arena");
    let simulation = Simulation::kept(1, 1, Quota::AMPLE, &budgets).map_err(|error| error.to_string())?;
    simulation.spoil_budgets(StoreHealth::Full, 1);
    expect(&simulation.sponsor("early", Quota { memory: 0, cycles: 0, events: 7 }).is_some(), &false)
}

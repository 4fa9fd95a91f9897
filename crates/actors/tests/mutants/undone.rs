//! What a failed event leaves behind, which is nothing; names and addresses.

use std::time::Duration;

use banyan_actors::simulation::Ending;
use banyan_actors::{Addr, Address, Configuration, Context, Failure, Quota, Simulation, TimerId, closure};

use super::simulated::{listener, run};
use super::{Check, expect};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("a failed event leaves nothing", failed_event),
    ("an address is never another's", addresses),
    ("names", names),
    ("the names of the dead", names_of_the_dead),
    ("cancelled timers", cancelled_timers),
    ("timers of others", timers_of_others),
];

const ENOUGH: Quota = Quota { memory: 1 << 20, cycles: 1 << 30, events: 1 << 10 };

fn failed_event() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    let (poor, other) = (simulation.sponsor("poor", ENOUGH), simulation.sponsor("other", ENOUGH));
    let (Some(poor), Some(other)) = (poor, other) else { return Err("no sponsors".into()) };
    let actor = closure((), move |(), number: &u32, context: &mut Context<'_>| {
        context.send(&values, *number);
        if *number > 0 {
            return Ok(());
        }
        let me: Addr<u32> = context.this().typed();
        context.send(&me, 9);
        context.create(closure((), |(), (): &(), _: &mut Context<'_>| Ok(())))?;
        let silent = closure((), |(), _: &u32, _: &mut Context<'_>| Ok(()));
        context.become_behaviour(silent);
        context.stop();
        let _ = context.register("name", me.address());
        context.transfer(&other, Quota { memory: 0, cycles: 1 << 20, events: 100 })?;
        Err(Failure::because("on purpose"))
    });
    let actor = simulation.create(Configuration::new("actor").with_behaviour(actor));
    let left = |simulation: &Simulation| {
        let sponsors = simulation.sponsors();
        sponsors.iter().find(|sponsor| sponsor.name == "poor").map(|sponsor| sponsor.left)
    };
    let before = left(&simulation);
    simulation.send_under(&poor, &actor.clone().typed(), 0_u32);
    expect(&simulation.run(10_000), &Ending::Drained)?;
    let after = left(&simulation);
    let [memory, cycles, events] = before.unwrap_or_default();
    // The event itself has taken its time, and was delivered.
    expect(&after, &Some([memory, cycles - 100, events - 1]))?;
    for number in 1..4_u32 {
        simulation.send(&actor.clone().typed(), number);
        expect(&simulation.run(10_000), &Ending::Drained)?;
    }
    expect(&received.try_iter().collect::<Vec<_>>(), &vec![1, 2, 3])?;
    let actors: Vec<usize> = simulation.configurations().iter().map(|one| one.actors).collect();
    expect(&actors, &vec![1, 1])?;
    expect(&simulation.lookup("name"), &None)?;
    simulation.register("name", &actor).map_err(|error| error.to_string())
}

fn addresses() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    run(&mut simulation, move |context| {
        let actor = |values: Addr<u32>, number: u32| {
            closure((), move |(), _: &u32, context: &mut Context<'_>| {
                context.send(&values, number);
                context.stop();
                Ok(())
            })
        };
        let first: Addr<u32> = context.create(actor(values.clone(), 1))?.typed();
        let values = values.clone();
        let second = closure(first.clone(), move |first, (): &(), context: &mut Context<'_>| {
            context.create(actor(values.clone(), 2))?;
            context.send(first, 0);
            Ok(())
        });
        let second = context.create(second)?;
        context.send(&first, 0);
        context.send(&second.typed(), ());
        Ok(())
    });
    expect(&received.try_iter().collect::<Vec<_>>(), &vec![1])
}

fn names() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (found, finds) = listener::<bool>(&simulation);
    let handle = (*simulation).clone();
    run(&mut simulation, move |context| {
        let _ = context.register("name", &context.this());
        let is_seen = handle.lookup("name").is_some();
        handle.unregister("name");
        context.send(&found, is_seen);
        Ok(())
    });
    expect(&finds.try_iter().collect::<Vec<_>>(), &vec![false])?;
    expect(&simulation.lookup("name").is_some(), &true)
}

fn names_of_the_dead() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    run(&mut simulation, move |context| {
        let _ = context.register("name", &context.this());
        context.stop();
        Ok(())
    });
    expect(&simulation.lookup("name"), &None)
}

/// Of two timers that are due at once, the first cancels the second.
fn cancelled_timers() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    run(&mut simulation, move |context| {
        let values = values.clone();
        let actor = closure(Vec::<TimerId>::new(), move |timers, number: &u32, context: &mut Context<'_>| {
            let me: Addr<u32> = context.this().typed();
            if *number == 0 {
                let soon = Duration::from_millis(1);
                *timers = vec![context.send_after(soon, &me, 1)?, context.send_after(soon, &me, 2)?];
            } else {
                context.cancel(timers[1]);
            }
            context.send(&values, *number);
            Ok(())
        });
        let actor = context.create(actor)?;
        context.send(&actor.typed(), 0_u32);
        Ok(())
    });
    expect(&received.try_iter().collect::<Vec<_>>(), &vec![0, 1])
}

fn timers_of_others() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    run(&mut simulation, move |context| {
        let stranger: Address =
            context.create(closure((), |(), timer: &TimerId, context: &mut Context<'_>| {
                context.cancel(*timer);
                Ok(())
            }))?;
        let timer = context.send_after(Duration::from_millis(1), &values, 7)?;
        context.send(&stranger.typed(), timer);
        Ok(())
    });
    expect(&received.try_iter().collect::<Vec<_>>(), &vec![7])
}

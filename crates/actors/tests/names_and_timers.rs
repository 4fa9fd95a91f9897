//! Names lead to actors that live, and to those of events that completed; timers that were cancelled, or set
//! in a former life, do not come.

mod simulated;

use std::time::Duration;

use banyan_actors::simulation::Ending;
use banyan_actors::{
    Addr, Configuration, Context, Directive, Failure, Quota, Simulation, Supervisor, TimerId, closure,
};

use simulated::{listener, run};

#[test]
fn a_name_goes_with_its_actor() {
    let mut simulation = Simulation::new(1, 2, Quota::AMPLE);
    run(&mut simulation, |context| {
        let mortal = closure((), |(), _: &u32, context: &mut Context<'_>| {
            context.stop();
            Ok(())
        });
        let mortal = context.create(mortal)?;
        context.register("mortal", &mortal).unwrap();
        assert_eq!(context.lookup("mortal"), Some(mortal), "the event itself sees it");
        Ok(())
    });
    let mortal = simulation.lookup("mortal").unwrap();
    assert!(simulation.register("mortal", &mortal).is_err());
    simulation.send(&mortal.clone().typed(), 1_u32);
    assert_eq!(simulation.run(100_000), Ending::Drained);
    assert_eq!((simulation.lookup("mortal"), simulation.names()), (None, vec![]));
    // That of an actor that is gone already goes at once.
    simulation.register("ghost", &mortal).unwrap();
    assert_eq!(simulation.run(100_000), Ending::Drained);
    assert_eq!(simulation.lookup("ghost"), None);
}

/// The notice that an actor has ended may come when its name is another one's already, whether the registry
/// has said by then that it is not interested any more or not.
#[test]
fn a_name_goes_with_its_configuration_and_only_from_its_own_actor() {
    let mut simulation = Simulation::new(1, 2, Quota::AMPLE);
    let (one, _) = listener::<u32>(&simulation);
    let (other, _) = listener::<u32>(&simulation);
    let numbers: Vec<u32> = simulation.configurations().iter().map(|one| one.number).collect();
    simulation.register("listener", one.address()).unwrap();
    assert_eq!(simulation.run(100_000), Ending::Drained);
    // It ends with its watcher, before that is taken back.
    simulation.remove(numbers[0]);
    simulation.unregister("listener");
    simulation.register("listener", other.address()).unwrap();
    assert_eq!(simulation.run(100_000), Ending::Drained);
    assert_eq!(simulation.lookup("listener").as_ref(), Some(other.address()));
    simulation.remove(numbers[1]);
    assert_eq!(simulation.run(100_000), Ending::Drained);
    assert_eq!(simulation.lookup("listener"), None);
}

#[test]
fn a_name_is_seen_when_its_event_has_completed() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let handle = (*simulation).clone();
    run(&mut simulation, move |context| {
        context.register("early", &context.this()).unwrap();
        assert_eq!((handle.lookup("early"), handle.names()), (None, vec![]));
        Ok(())
    });
    assert!(simulation.lookup("early").is_some());
    let undone = |context: &mut Context<'_>| {
        context.register("undone", &context.this()).unwrap();
        Err(Failure::because("on purpose"))
    };
    run(&mut simulation, undone);
    assert_eq!(simulation.lookup("undone"), None);
    simulation.register("undone", &simulation.lookup("early").unwrap()).unwrap();
}

/// What an event has reserved is its own until it ends: a name cannot be taken away and given on meanwhile.
#[test]
fn a_reserved_name_is_not_taken_away() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (other, _) = listener::<u64>(&simulation);
    let handle = (*simulation).clone();
    run(&mut simulation, move |context| {
        context.register("reserved", &context.this()).unwrap();
        handle.unregister("reserved");
        assert!(handle.register("reserved", other.address()).is_err());
        Ok(())
    });
    assert!(simulation.lookup("reserved").is_some());
    simulation.unregister("reserved");
    assert_eq!(simulation.lookup("reserved"), None);
}

/// The timer's message waits behind the event that cancels it.
#[test]
fn a_timer_that_is_cancelled_while_its_message_waits_does_not_come() {
    for seed in 0..50 {
        let mut simulation = Simulation::new(seed, 2, Quota::AMPLE);
        let (values, received) = listener(&simulation);
        run(&mut simulation, move |context| {
            let values = values.clone();
            let actor =
                closure(Vec::<TimerId>::new(), move |timers, number: &u32, context: &mut Context<'_>| {
                    let me: Addr<u32> = context.this().typed();
                    let soon = Duration::from_millis(1);
                    match *number {
                        0 => {
                            // Of four that are due at once, the first cancels the second and the third keeps
                            // the fourth.
                            *timers =
                                (1..5).map(|n| context.send_after(soon, &me, n)).collect::<Result<_, _>>()?;
                        }
                        1 => context.cancel(timers[1]),
                        _ => {}
                    }
                    context.send(&values, *number);
                    Ok(())
                });
            let actor = context.create(actor)?;
            context.send(&actor.typed(), 0_u32);
            Ok(())
        });
        assert_eq!(received.try_iter().collect::<Vec<_>>(), [0, 1, 3, 4], "seed {seed}");
    }
}

/// What it has set for itself was for its former life, due already or not; what others have set comes.
#[test]
fn an_actor_that_is_restarted_gets_no_timers_of_its_former_life() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener(&simulation);
    run(&mut simulation, move |context| {
        let supervisor = context.create_actor(Supervisor::new(Directive::Restart, 1));
        let values = values.clone();
        let child = context.create_supervised(&supervisor, move || {
            let values = values.clone();
            closure((), move |(), number: &u32, context: &mut Context<'_>| {
                let me: Addr<u32> = context.this().typed();
                match *number {
                    0 => {
                        for (late, number) in [(1, 1), (1, 11), (2, 12), (9, 13)] {
                            context.send_after(Duration::from_millis(late), &me, number)?;
                        }
                    }
                    1 => return Err(Failure::because("on purpose")),
                    number => context.send(&values, number),
                }
                Ok(())
            })
        })?;
        let child: Addr<u32> = child.typed();
        context.send(&child, 0);
        context.send_after(Duration::from_millis(1), &child, 2)?;
        context.send_after(Duration::from_millis(5), &child, 3)?;
        Ok(())
    });
    assert_eq!(received.try_iter().collect::<Vec<_>>(), [2, 3]);
}

/// Its event was met already, and waits with its sponsor.
#[test]
fn a_timer_that_is_cancelled_while_its_sponsor_has_nothing_does_not_come() {
    for cancelled in [false, true] {
        let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
        let (values, received) = listener(&simulation);
        let root = closure(Option::<TimerId>::None, move |timer, step: &u32, context: &mut Context<'_>| {
            let me: Addr<u32> = context.this().typed();
            match *step {
                0 => *timer = Some(context.send_after(Duration::from_millis(1), &me, 7)?),
                1 => {
                    if let Some(timer) = timer.filter(|_| cancelled) {
                        context.cancel(timer);
                    }
                }
                step => context.send(&values, step),
            }
            Ok(())
        });
        let root: Addr<u32> = simulation.create(Configuration::new("root").with_behaviour(root)).typed();
        let poor = simulation.sponsor("poor", Quota { memory: 1 << 12, cycles: 1 << 20, events: 1 }).unwrap();
        simulation.send_under(&poor, &root, 0);
        assert_eq!(simulation.run(100_000), Ending::Drained);
        simulation.send(&root, 1);
        assert_eq!(simulation.run(100_000), Ending::Drained);
        assert_eq!(received.try_iter().count(), 0);
        simulation.grant(&poor, Quota { memory: 0, cycles: 0, events: 10 });
        assert_eq!(simulation.run(100_000), Ending::Drained);
        assert_eq!(received.try_iter().collect::<Vec<_>>(), if cancelled { vec![] } else { vec![7] });
    }
}

/// The number of a timer is no right to it.
#[test]
fn a_timer_is_cancelled_by_its_own_actors_alone() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    run(&mut simulation, move |context| {
        let stranger = closure((), |(), timer: &TimerId, context: &mut Context<'_>| {
            context.cancel(*timer);
            Ok(())
        });
        let stranger = context.create(stranger)?;
        let timer = context.send_after(Duration::from_millis(1), &values, 7)?;
        context.send(&stranger.typed(), timer);
        Ok(())
    });
    assert_eq!(received.try_iter().collect::<Vec<_>>(), [7]);
}

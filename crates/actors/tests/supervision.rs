//! Supervision without holes: whatever becomes of a supervisor, an actor is not held for ever, and who waits
//! for an end hears of it. And who may decide about an actor.

mod simulated;

use std::time::Duration;

use banyan_actors::simulation::Ending;
use banyan_actors::{
    Actor, Addr, Address, Configuration, Context, Directive, End, Ended, Failed, Failure, Quota, Runtime,
    RuntimeOptions, Signal, Simulation, Supervisor, Work, closure,
};

use simulated::{listener, run};

/// Fails at every message.
fn failing() -> Box<dyn banyan_actors::Behaviour> {
    closure((), |(), _: &u32, _: &mut Context<'_>| Err(Failure::because("on purpose")))
}

fn failed(words: &str) -> End {
    End::Failed(words.to_owned())
}

/// A supervisor that decides nothing: it ends, fails, or does not understand.
fn undecided(way: u32) -> Box<dyn banyan_actors::Behaviour> {
    match way {
        0 => closure((), |(), _: &Failed, context: &mut Context<'_>| {
            context.stop();
            Ok(())
        }),
        1 => closure((), |(), _: &Failed, _: &mut Context<'_>| Err(Failure::because("no idea"))),
        _ => closure((), |(), _: &String, _: &mut Context<'_>| Ok(())),
    }
}

#[test]
fn an_actor_whose_supervisor_does_not_decide_ends() {
    for (way, words) in [
        (0, "on purpose (its supervisor has ended)"),
        (1, "on purpose (its supervisor failed at it: no idea)"),
        (2, "on purpose (its supervisor failed at it: "),
    ] {
        for seed in 0..10 {
            let mut simulation = Simulation::new(seed, 2, Quota::AMPLE);
            let (ends, ended) = listener::<Ended>(&simulation);
            run(&mut simulation, move |context| {
                let supervisor = context.create(undecided(way))?;
                let child = context.create_supervised(&supervisor.typed(), failing)?;
                context.monitor(&child, &ends);
                context.send(&child.clone().typed(), 1_u32);
                context.send(&child.typed(), 2_u32);
                Ok(())
            });
            let ends: Vec<End> = ended.try_iter().map(|ended| ended.how).collect();
            assert!(matches!(&ends[..], [End::Failed(found)] if found.starts_with(words)), "{ends:?}");
        }
    }
}

#[test]
fn a_failure_under_a_supervisor_that_is_gone_is_escalated() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    run(&mut simulation, move |context| {
        let supervisor = context.create(undecided(2))?;
        let child = context.create_supervised(&supervisor.clone().typed(), failing)?;
        context.monitor(&child, &ends);
        context.end(&supervisor);
        context.send(&child.typed(), 1_u32);
        Ok(())
    });
    assert_eq!(ended.try_recv().unwrap().how, failed("on purpose (its supervisor is gone)"));
}

/// Each child may fail as often as it is said, within the window.
#[test]
fn failures_count_for_each_child_and_for_a_while() {
    for (apart, children, expected) in [(1, 3, 0), (1, 1, 1), (200, 1, 0)] {
        let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
        let (ends, ended) = listener::<Ended>(&simulation);
        run(&mut simulation, move |context| {
            let supervisor = Supervisor::new(Directive::Resume, 2).within(Duration::from_millis(100));
            let supervisor = context.create_actor(supervisor);
            for _ in 0..children {
                let child = context.create_supervised(&supervisor, failing)?;
                context.monitor(&child, &ends);
                for failure in 0_u32..6 / children {
                    let when = Duration::from_millis(apart * u64::from(failure));
                    context.send_after(when, &child.clone().typed(), failure)?;
                }
            }
            Ok(())
        });
        assert_eq!(ended.try_iter().count(), expected, "{children} children, {apart} ms apart");
    }
}

#[test]
fn who_monitors_hears_of_a_configuration_that_is_removed_and_of_one_that_was() {
    let mut simulation = Simulation::new(1, 2, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    let watched = simulation.create(Configuration::new("watched").with_behaviour(failing()));
    let number = simulation.configurations().iter().find(|one| one.name == "watched").unwrap().number;
    let (target, watcher) = (watched.clone(), ends.clone());
    run(&mut simulation, move |context| {
        context.monitor(&target, &watcher);
        Ok(())
    });
    simulation.remove(number);
    assert_eq!(simulation.run(100_000), Ending::Drained);
    let how = failed("its configuration was removed");
    assert_eq!(ended.try_iter().collect::<Vec<_>>(), [Ended { actor: watched.clone(), how }]);
    let (target, watcher) = (watched.clone(), ends);
    run(&mut simulation, move |context| {
        context.monitor(&target, &watcher);
        Ok(())
    });
    assert_eq!(ended.try_iter().collect::<Vec<_>>(), [Ended { actor: watched, how: End::Unknown }]);
}

#[test]
fn who_monitors_no_more_hears_nothing() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    run(&mut simulation, move |context| {
        let actor = context.create(failing())?;
        context.monitor(&actor, &ends);
        context.unmonitor(&actor, &ends);
        context.end(&actor);
        Ok(())
    });
    assert_eq!(ended.try_iter().count(), 0);
}

/// A link to what is gone ends who links, even one that stops with the same event.
#[test]
fn a_link_to_the_dead_is_an_end() {
    for stops in [false, true] {
        let mut simulation = Simulation::new(1, 2, Quota::AMPLE);
        let (ends, ended) = listener::<Ended>(&simulation);
        run(&mut simulation, move |context| {
            let dead = context.create(failing())?;
            context.end(&dead);
            let linking = closure(dead, move |dead, _: &(), context: &mut Context<'_>| {
                context.link(dead);
                if stops {
                    context.stop();
                }
                Ok(())
            });
            let linking = context.create(linking)?;
            context.monitor(&linking, &ends);
            context.send(&linking.typed(), ());
            Ok(())
        });
        let how = failed("an actor that it links to is gone");
        assert_eq!(ended.try_iter().map(|ended| ended.how).collect::<Vec<_>>(), [how]);
    }
}

/// An address is a right to send: not to end its actor, to decide about it, or to end it by a link.
#[test]
fn an_address_alone_ends_nobody() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    let healthy = closure((), |(), _: &u32, _: &mut Context<'_>| Ok(()));
    let healthy = simulation.create(Configuration::new("healthy").with_behaviour(healthy));
    run(&mut simulation, move |context| {
        context.monitor(&healthy, &ends);
        let linking = closure(healthy.clone(), |healthy, _: &(), context: &mut Context<'_>| {
            context.link(healthy);
            context.end(healthy);
            context.direct(healthy, Directive::Stop);
            Ok(())
        });
        let supervisor = context.create_actor(Supervisor::new(Directive::Stop, 0));
        let factory = move || -> Box<dyn banyan_actors::Behaviour> { failing() };
        let linking = context.create(linking)?;
        context.send(&linking.typed(), ());
        let failing = context.create_supervised(&supervisor, factory)?;
        context.send(&failing.typed(), 1_u32);
        Ok(())
    });
    assert_eq!(ended.try_iter().count(), 0);
    let complaints = simulation.log_lines();
    assert_eq!(complaints.iter().filter(|line| line.contains("may not decide about")).count(), 2);
}

/// The actor that made one supervised decides about it, also where reports come to it by an adapter; and its
/// adapter ends with it.
#[test]
fn an_actor_supervises_by_its_adapter() {
    #[derive(Clone)]
    struct Parent(Addr<Ended>);
    #[derive(serde::Serialize, serde::Deserialize)]
    enum Family {
        Begin,
        Failed(Address),
    }
    impl Actor for Parent {
        type Message = Family;
        fn receive(&self, message: &Family, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
            match message {
                Family::Begin => {
                    let reports = work.adapter(|failed: &Failed| Family::Failed(failed.actor.clone()));
                    let child = work.create_supervised(&reports, failing)?;
                    work.monitor(&child, &self.0);
                    work.monitor(reports.address(), &self.0);
                    work.send(&child.typed(), 1_u32);
                }
                Family::Failed(child) => {
                    work.direct(child, Directive::Stop);
                    work.stop();
                }
            }
            Ok(())
        }
    }
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    let parent = simulation.create(Configuration::new("family").with_actor(Parent(ends)));
    simulation.send(&parent.typed(), Family::Begin);
    assert_eq!(simulation.run(100_000), Ending::Drained);
    let how: Vec<End> = ended.try_iter().map(|ended| ended.how).collect();
    assert_eq!(how, [failed("on purpose"), End::Stopped]);
}

#[test]
fn an_address_of_one_system_leads_nowhere_in_another() {
    let one = Simulation::new(1, 1, Quota::AMPLE);
    let (stranger, _) = listener::<u32>(&one);
    let mut other = Simulation::new(1, 1, Quota::AMPLE);
    let (_here, received) = listener::<u32>(&other);
    other.send(&stranger, 7);
    assert_eq!(other.run(1_000), Ending::Drained);
    assert_eq!((received.try_iter().count(), other.dead_letters()), (0, 1));
}

#[test]
fn sponsors_below_a_stopped_one_stop_with_it_and_their_money_goes_to_the_heir() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    let (signals, _) = listener::<Signal>(&simulation);
    run(&mut simulation, move |context| {
        let amount = Quota { memory: 1 << 20, cycles: 1 << 30, events: 1 << 10 };
        let above = context.new_sponsor("above")?;
        context.transfer(&above, amount)?;
        context.start(&above, &signals)?;
        let (above_too, values, signals) = (above.clone(), values.clone(), signals.clone());
        let maker = closure((), move |(), _: &u32, context: &mut Context<'_>| {
            let below = context.new_sponsor("below")?;
            context.transfer(&below, Quota { memory: 1 << 18, cycles: 1 << 28, events: 1 << 8 })?;
            context.start(&below, &signals)?;
            let values = values.clone();
            let late = closure(values, |values, number: &u32, context: &mut Context<'_>| {
                context.send(values, *number);
                let me = context.this().typed();
                context.send_after(Duration::from_millis(10), &me, *number + 1)?;
                Ok(())
            });
            let late = context.create(late)?;
            context.send_under(&below, &late.typed(), 0_u32)?;
            Ok(())
        });
        let maker = context.create(maker)?;
        context.send_under(&above, &maker.typed(), 0_u32)?;
        let stopper = closure(above_too, |above, _: &(), context: &mut Context<'_>| {
            context.stop_sponsor(above);
            Ok(())
        });
        let stopper = context.create(stopper)?;
        context.send_after(Duration::from_millis(35), &stopper.typed(), ())?;
        Ok(())
    });
    let values: Vec<u32> = received.try_iter().collect();
    assert_eq!(values, [0, 1, 2, 3], "what it causes ends with it: {:?}", simulation.log_lines());
    assert!(simulation.is_conserved());
    let left: Vec<String> = simulation.sponsors().into_iter().map(|sponsor| sponsor.name).collect();
    assert_eq!(left, ["root"]);
}

/// A sponsor does not inherit from itself, so it does not stop itself; nor those below it.
#[test]
fn sponsors_below_one_that_is_not_stopped_live_on() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (signals, _) = listener::<Signal>(&simulation);
    run(&mut simulation, move |context| {
        let above = context.new_sponsor("above")?;
        context.transfer(&above, Quota { memory: 1 << 20, cycles: 1 << 30, events: 1 << 10 })?;
        context.start(&above, &signals)?;
        let above_too = above.clone();
        let stopping = closure((), move |(), _: &(), context: &mut Context<'_>| {
            context.new_sponsor("below")?;
            context.stop_sponsor(&above_too);
            Ok(())
        });
        let stopping = context.create(stopping)?;
        context.send_under(&above, &stopping.typed(), ())?;
        Ok(())
    });
    assert!(simulation.is_conserved());
    let left: Vec<String> = simulation.sponsors().into_iter().map(|sponsor| sponsor.name).collect();
    assert_eq!(left, ["root", "above", "below"]);
}

#[test]
fn a_signal_to_a_controller_that_is_gone_is_logged() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    run(&mut simulation, move |context| {
        let poor = context.new_sponsor("poor")?;
        context.transfer(&poor, Quota { memory: 1 << 10, cycles: 1 << 20, events: 1 })?;
        let controller = context.create(closure((), |(), _: &Signal, _: &mut Context<'_>| Ok(())))?;
        context.start(&poor, &controller.clone().typed())?;
        context.end(&controller);
        let again = closure((), |(), _: &u32, context: &mut Context<'_>| {
            let me = context.this().typed();
            context.send(&me, 1_u32);
            Ok(())
        });
        let again = context.create(again)?;
        context.send_under(&poor, &again.typed(), 1_u32)?;
        Ok(())
    });
    let lines = simulation.log_lines();
    let words = "sponsor poor has no events left, and its controller is gone";
    assert!(lines.iter().any(|line| line.contains(words)), "{lines:?}");
}

/// A supervisor that links to what it supervises, and fails at its failure, ends once: its slot is free once.
#[test]
fn a_supervisor_that_ends_with_what_it_failed_at_ends_once() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    let root = closure((), move |(), step: &u32, context: &mut Context<'_>| {
        if *step == 0 {
            let supervisor = closure((), |(), failed: &Failed, context: &mut Context<'_>| {
                if failed.reason.is_empty() {
                    context.link(&failed.actor);
                    return Ok(());
                }
                Err(Failure::because("no idea"))
            });
            let supervisor = context.create(supervisor)?;
            let child = context.create_supervised(&supervisor.clone().typed(), failing)?;
            context.send(&supervisor.typed(), Failed { actor: child.clone(), reason: String::new() });
            context.send_after(Duration::from_millis(1), &child.typed(), 1_u32)?;
            return Ok(());
        }
        for number in 0..3 {
            let values = values.clone();
            let actor = closure((), move |(), (): &(), context: &mut Context<'_>| {
                context.send(&values, number);
                Ok(())
            });
            let actor = context.create(actor)?;
            context.send(&actor.typed(), ());
        }
        Ok(())
    });
    let strict = Configuration::new("strict").default_directive(Directive::Stop);
    let root = simulation.create(strict.with_behaviour(root)).typed();
    for step in 0..2_u32 {
        simulation.send(&root, step);
        assert_eq!(simulation.run(100_000), Ending::Drained);
    }
    assert_eq!(received.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
}

/// An actor that ends by a link to the dead has its adapters end with it, and not the next one of its slot.
#[test]
fn what_an_actor_makes_in_the_event_that_ends_it_belongs_to_no_stranger() {
    struct Linking(Address, Addr<Ended>);
    impl Actor for Linking {
        type Message = u32;
        fn receive(&self, _: &u32, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
            work.link(&self.0);
            let adapter = work.adapter(|number: &u32| *number);
            work.monitor(adapter.address(), &self.1);
            Ok(())
        }
    }
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    run(&mut simulation, move |context| {
        let dead = context.create(failing())?;
        context.end(&dead);
        let linking = context.create_actor(Linking(dead, ends.clone()));
        context.send(&linking, 0);
        Ok(())
    });
    let how: Vec<End> = ended.try_iter().map(|ended| ended.how).collect();
    assert!(matches!(&how[..], [End::Stopped | End::Unknown]), "{how:?}");
}

/// At whatever step a configuration is removed, who has asked to hear of its end hears of it, once.
#[test]
fn a_removal_leaves_no_request_unanswered() {
    for steps in 0..40 {
        let mut simulation = Simulation::new(steps, 2, Quota::AMPLE);
        let (ends, ended) = listener::<Ended>(&simulation);
        let watched = closure((), |(), _: &u32, _: &mut Context<'_>| Ok(()));
        let watched = simulation.create(Configuration::new("watched").with_behaviour(watched));
        let number = simulation.configurations().iter().find(|one| one.name == "watched").unwrap().number;
        let target = watched.clone();
        let root = closure((), move |(), _: &(), context: &mut Context<'_>| {
            for number in 0..3_u32 {
                context.send(&target.clone().typed(), number);
            }
            context.monitor(&target, &ends);
            Ok(())
        });
        let root = simulation.create(Configuration::new("root").with_behaviour(root));
        simulation.send(&root.typed(), ());
        simulation.run(steps);
        simulation.remove(number);
        assert_eq!(simulation.run(100_000), Ending::Drained);
        let actors: Vec<Address> = ended.try_iter().map(|ended| ended.actor).collect();
        assert_eq!(actors, [watched], "removed after {steps} steps");
    }
}

/// Its processor has it while it is removed, and lays it to rest after that: it ends all the same.
#[test]
fn a_configuration_that_is_removed_during_its_last_event_ends() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    let handle = (*simulation).clone();
    let watched = closure((), move |(), number: &u32, _: &mut Context<'_>| {
        handle.remove(*number);
        Ok(())
    });
    let watched = simulation.create(Configuration::new("watched").with_behaviour(watched));
    let number = simulation.configurations().iter().find(|one| one.name == "watched").unwrap().number;
    let target = watched.clone();
    run(&mut simulation, move |context| {
        context.monitor(&target, &ends);
        Ok(())
    });
    simulation.send(&watched.clone().typed(), number);
    assert_eq!(simulation.run(100_000), Ending::Drained);
    assert_eq!(ended.try_iter().map(|ended| ended.actor).collect::<Vec<_>>(), [watched]);
}

/// A supervisor that takes its time has some, and no more.
#[test]
fn an_actor_whose_supervisor_does_not_decide_in_time_ends() {
    for adapted in [false, true] {
        let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
        let (ends, ended) = listener::<Ended>(&simulation);
        let (times, time) = listener::<u64>(&simulation);
        let root = closure((), move |(), _: &(), context: &mut Context<'_>| {
            let silent = if adapted {
                context.create_actor(Forwarding).address().clone()
            } else {
                context.create(closure((), |(), _: &Failed, _: &mut Context<'_>| Ok(())))?
            };
            if adapted {
                context.send(&silent.typed(), Forwarded::Begin(ends.clone()));
            } else {
                let child = context.create_supervised(&silent.typed(), failing)?;
                context.monitor(&child, &ends);
                context.send(&child.typed(), 1_u32);
            }
            let late = closure(times.clone(), |times, (): &(), context: &mut Context<'_>| {
                let now = context.now();
                context.send(times, now);
                Ok(())
            });
            let late = context.create(late)?;
            context.send_after(Duration::from_millis(999), &late.typed(), ())?;
            Ok(())
        });
        let configuration = Configuration::new("root").decide_within(Duration::from_secs(1));
        let root = simulation.create(configuration.with_behaviour(root));
        simulation.send(&root.typed(), ());
        while time.try_recv().is_err() {
            simulation.run(1);
        }
        assert!(ended.try_recv().is_err(), "it waits for a while");
        assert_eq!(simulation.run(100_000), Ending::Drained);
        let how: Vec<End> = ended.try_iter().map(|ended| ended.how).collect();
        assert_eq!(how, [failed("on purpose (its supervisor has not decided in time)")]);
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
enum Forwarded {
    Begin(Addr<Ended>),
    Failed,
}

/// Gets reports by an adapter, and fails at them.
struct Forwarding;

impl Actor for Forwarding {
    type Message = Forwarded;
    fn receive(&self, message: &Forwarded, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        let Forwarded::Begin(ends) = message else { return Err(Failure::because("no idea")) };
        let reports = work.adapter(|_: &Failed| Forwarded::Failed);
        let child = work.create_supervised(&reports, failing)?;
        work.monitor(&child, ends);
        work.send(&child.typed(), 1_u32);
        Ok(())
    }
}

/// Nobody here would hear of its end.
#[test]
fn a_supervisor_in_another_configuration_is_refused() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (reports, _) = listener::<Failed>(&simulation);
    run(&mut simulation, move |context| {
        context.create_supervised(&reports, failing)?;
        Ok(())
    });
    let lines = simulation.log_lines();
    assert!(lines.iter().any(|line| line.contains("a supervisor is an actor of the same")), "{lines:?}");
}

/// The pauses grow, and the child's events wait in their order.
#[test]
fn a_child_that_fails_again_and_again_pauses_longer_and_longer() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (times, time) = listener::<(u32, u64)>(&simulation);
    run(&mut simulation, move |context| {
        let (first, longest) = (Duration::from_millis(10), Duration::from_millis(35));
        let supervisor = Supervisor::new(Directive::Restart, 10).backoff(first, longest);
        let supervisor = context.create_actor(supervisor);
        let times = times.clone();
        let child = context.create_supervised(&supervisor, move || {
            let times = times.clone();
            closure((), move |(), number: &u32, context: &mut Context<'_>| {
                if number.is_multiple_of(2) {
                    return Err(Failure::because("on purpose"));
                }
                let now = context.now() / 1_000_000;
                context.send(&times, (*number, now));
                Ok(())
            })
        })?;
        for number in 0..8_u32 {
            context.send(&child.clone().typed(), number);
        }
        Ok(())
    });
    assert_eq!(time.try_iter().collect::<Vec<_>>(), [(1, 10), (3, 30), (5, 65), (7, 100)]);
}

/// As long a chain of links and of belongings as there is: an end is no deeper than one.
#[test]
fn a_long_chain_of_links_ends_whole() {
    const COUNT: usize = 100_000;
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let root = closure((), move |(), (): &(), context: &mut Context<'_>| {
        let supervisor = context.create_actor(Supervisor::new(Directive::Stop, 0));
        let mut last = context.create_supervised(&supervisor, failing)?;
        let failing: Addr<u32> = last.clone().typed();
        for _ in 0..COUNT {
            let linking = closure(last, |other, (): &(), context: &mut Context<'_>| {
                context.link(other);
                Ok(())
            });
            last = context.create(linking)?;
            context.send(&last.clone().typed(), ());
        }
        context.send(&failing, 1);
        Ok(())
    });
    let root = simulation.create(Configuration::new("chain").with_behaviour(root));
    simulation.send(&root.typed(), ());
    assert_eq!(simulation.run(1_000_000), Ending::Drained);
    // The root and the supervisor.
    assert_eq!(simulation.configurations()[0].actors, 2);
}

/// What the log says of a history is the same whatever else the process does.
#[test]
fn a_log_has_no_numbers_of_configurations() {
    let logs: Vec<Vec<String>> = (0..2)
        .map(|_| {
            let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
            run(&mut simulation, move |context| {
                let supervisor = context.create_actor(Supervisor::new(Directive::Escalate, 1));
                let child = context.create_supervised(&supervisor, failing)?;
                context.send(&child.clone().typed(), 1_u32);
                let healthy = context.create(closure((), |(), (): &(), _: &mut Context<'_>| Ok(())))?;
                let deciding = closure(healthy, |healthy, (): &(), context: &mut Context<'_>| {
                    context.direct(healthy, Directive::Stop);
                    Ok(())
                });
                let deciding = context.create(deciding)?;
                context.send(&deciding.typed(), ());
                Ok(())
            });
            simulation.log_lines()
        })
        .collect();
    assert_eq!(logs[0].len(), 3, "{logs:?}");
    assert_eq!(logs[0], logs[1]);
}

/// On threads: whatever the host does with a configuration while it is removed, who monitors its actors hears
/// of each once.
#[test]
fn a_removal_beside_events_on_other_threads_is_heard_of() {
    let runtime = Runtime::start(RuntimeOptions { hosts: 2, ..RuntimeOptions::default() }).unwrap();
    let (heard, hears) = std::sync::mpsc::channel();
    let ends = closure(heard, |heard, ended: &Ended, _: &mut Context<'_>| {
        heard.send(ended.actor.clone()).map_err(|error| Failure::because(error.to_string()))
    });
    let ends: Addr<Ended> = runtime.create(Configuration::new("ends").with_behaviour(ends)).typed();
    let watching = closure(ends, |ends, actor: &Address, context: &mut Context<'_>| {
        context.monitor(actor, ends);
        Ok(())
    });
    let watching: Addr<Address> =
        runtime.create(Configuration::new("watching").with_behaviour(watching)).typed();
    for round in 0..200_u32 {
        let busy = closure((), |(), left: &u32, context: &mut Context<'_>| {
            if *left > 0 {
                let me = context.this().typed();
                context.send(&me, left - 1);
            }
            Ok(())
        });
        let busy = runtime.create(Configuration::new("busy").with_behaviour(busy));
        let number = runtime.configurations().iter().find(|one| one.name == "busy").unwrap().number;
        runtime.send(&busy.clone().typed(), round);
        runtime.send(&watching, busy.clone());
        runtime.send(&busy.clone().typed(), round / 2);
        runtime.remove(number);
        let ended = hears.recv_timeout(Duration::from_secs(60));
        assert_eq!(ended, Ok(busy), "round {round}");
    }
    assert!(hears.try_recv().is_err());
}

/// Says when it is restarted and when it has ended, and panics at it too if it is to.
struct Hooked {
    said: std::sync::mpsc::Sender<String>,
    panics: bool,
}

impl Actor for Hooked {
    type Message = u32;
    fn receive(&self, number: &u32, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        if *number > 0 {
            return Err(Failure::because(format!("number {number}")));
        }
        work.stop();
        Ok(())
    }

    fn restarting(&mut self, reason: &str) {
        let _ = self.said.send(format!("restarted: {reason}"));
        assert!(!self.panics, "once more");
    }

    fn ended(&mut self, how: &End) {
        let _ = self.said.send(format!("ended: {how:?}"));
        assert!(!self.panics, "once more");
    }
}

/// An actor hears of its restart and of its end, whatever it does then; one whose event failed never was.
#[test]
fn an_actor_hears_of_its_restart_and_of_its_end() {
    for panics in [false, true] {
        let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
        let (say, said) = std::sync::mpsc::channel();
        let say_too = say.clone();
        run(&mut simulation, move |context| {
            let supervisor = context.create_actor(Supervisor::new(Directive::Restart, 1));
            let say = say_too.clone();
            let hooked = move || Hooked { said: say.clone(), panics };
            let first = context.create_supervised_actor(&supervisor, hooked.clone());
            let second = context.create_supervised_actor(&supervisor, hooked);
            for number in [1, 0] {
                context.send(&first, number);
            }
            for number in [2, 3] {
                context.send(&second, number);
            }
            Ok(())
        });
        let removed =
            simulation.create_actor(Configuration::new("removed"), Hooked { said: say.clone(), panics });
        let number = simulation.configurations().iter().map(|one| one.number).max().unwrap();
        simulation.run(1_000);
        simulation.remove(number);
        assert_eq!(simulation.run(1_000), Ending::Drained);
        simulation.send(&removed, 0);
        let say = std::sync::Mutex::new(say);
        run(&mut simulation, move |context| {
            context.create_actor(Hooked { said: say.lock().unwrap().clone(), panics });
            Err(Failure::because("on purpose"))
        });
        let mut said: Vec<String> = said.try_iter().collect();
        said.sort();
        let expected = [
            "ended: Failed(\"its configuration was removed\")",
            "ended: Failed(\"number 3\")",
            "ended: Stopped",
            "restarted: number 1",
            "restarted: number 2",
        ];
        assert_eq!(said, expected);
    }
}

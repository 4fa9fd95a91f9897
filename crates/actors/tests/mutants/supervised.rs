//! What is done about actors that fail, and who hears of ends.

use std::time::Duration;

use banyan_actors::simulation::Ending;
use banyan_actors::{
    Actor, Addr, Address, Behaviour, Configuration, Context, Directive, End, Ended, Failed, Failure, Quota,
    Simulation, Supervisor, Work, closure,
};

use super::simulated::{listener, run};
use super::{Check, expect};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("events that are held", held),
    ("a supervisor that never decides", undecided),
    ("a supervisor that takes a pause", paused),
    ("a supervisor that fails", failing_supervisor),
    ("a supervisor that ends", ending_supervisor),
    ("who may decide", deciding),
    ("a restart", restart),
    ("links and monitors", links),
    ("who may unmonitor", unmonitoring),
    ("the dead", dead),
    ("adapters", adapters),
    ("an escalation", escalation),
    ("a removal", removal),
];

fn failing() -> Box<dyn Behaviour> {
    closure((), |(), _: &u32, _: &mut Context<'_>| Err(Failure::because("on purpose")))
}

/// Fails at 0, and passes on everything else.
fn picky(values: Addr<u32>) -> Box<dyn Behaviour> {
    closure((), move |(), number: &u32, context: &mut Context<'_>| {
        if *number == 0 {
            return Err(Failure::because("on purpose"));
        }
        context.send(&values, *number);
        Ok(())
    })
}

fn words(ends: impl Iterator<Item = Ended>) -> Vec<String> {
    ends.map(|ended| match ended.how {
        End::Failed(words) => words,
        End::Stopped => "stopped".to_owned(),
        End::Unknown => "unknown".to_owned(),
    })
    .collect()
}

fn held() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    run(&mut simulation, move |context| {
        let values_too = values.clone();
        let supervisor = closure((), move |(), failed: &Failed, context: &mut Context<'_>| {
            context.send(&values_too, 100);
            context.send(&failed.actor.clone().typed(), 3_u32);
            context.direct(&failed.actor, Directive::Resume);
            Ok(())
        });
        let supervisor = context.create(supervisor)?;
        let values = values.clone();
        let child = context.create_supervised(&supervisor.typed(), move || picky(values.clone()))?;
        for number in 0..3_u32 {
            context.send(&child.clone().typed(), number);
        }
        Ok(())
    });
    expect(&received.try_iter().collect::<Vec<_>>(), &vec![100, 1, 2, 3])
}

fn unmonitoring() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    let watched = simulation.create(Configuration::new("watched").with_behaviour(failing()));
    let number = simulation.configurations().iter().find(|one| one.name == "watched").map(|one| one.number);
    // A stranger, who knows both addresses, comes after the one that has asked for it.
    for is_stranger in [false, true] {
        let (watched, ends) = (watched.clone(), ends.clone());
        run(&mut simulation, move |context| {
            match is_stranger {
                false => context.monitor(&watched, &ends),
                true => context.unmonitor(&watched, &ends),
            }
            Ok(())
        });
    }
    simulation.remove(number.unwrap_or_default());
    simulation.run(100_000);
    expect(&ended.try_iter().count(), &1)
}

fn undecided() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    run(&mut simulation, move |context| {
        let silent = context.create(closure((), |(), _: &Failed, _: &mut Context<'_>| Ok(())))?;
        let child = context.create_supervised(&silent.typed(), failing)?;
        context.monitor(&child, &ends);
        context.send(&child.typed(), 1_u32);
        Ok(())
    });
    let expected = vec!["on purpose (its supervisor has not decided in time)".to_owned()];
    expect(&words(ended.try_iter()), &expected)
}

fn paused() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (times, time) = listener::<u64>(&simulation);
    run(&mut simulation, move |context| {
        let pause = Duration::from_millis(10);
        let supervisor = context.create_actor(Supervisor::new(Directive::Resume, 5).backoff(pause, pause));
        let times = times.clone();
        let child = context.create_supervised(&supervisor, move || {
            let times = times.clone();
            closure((), move |(), number: &u32, context: &mut Context<'_>| {
                if *number == 0 {
                    return Err(Failure::because("on purpose"));
                }
                let now = context.now();
                context.send(&times, now);
                Ok(())
            })
        })?;
        context.send(&child.clone().typed(), 0_u32);
        context.send(&child.typed(), 1_u32);
        Ok(())
    });
    expect(&time.try_iter().collect::<Vec<_>>(), &vec![10_000_000])
}

/// How a child ends whose supervisor behaves so.
fn end_under(supervisor: fn() -> Box<dyn Behaviour>) -> Vec<String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    run(&mut simulation, move |context| {
        let supervisor = context.create(supervisor())?;
        let child = context.create_supervised(&supervisor.typed(), failing)?;
        context.monitor(&child, &ends);
        context.send(&child.typed(), 1_u32);
        Ok(())
    });
    words(ended.try_iter())
}

fn failing_supervisor() -> Result<(), String> {
    let fails = || {
        closure((), |(), _: &Failed, _: &mut Context<'_>| -> Result<(), _> { Err(Failure::because("no")) })
    };
    expect(&end_under(fails), &vec!["on purpose (its supervisor failed at it: no)".to_owned()])
}

fn ending_supervisor() -> Result<(), String> {
    let ends = || {
        closure((), |(), _: &Failed, context: &mut Context<'_>| {
            context.stop();
            Ok(())
        })
    };
    expect(&end_under(ends), &vec!["on purpose (its supervisor has ended)".to_owned()])
}

fn deciding() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    run(&mut simulation, move |context| {
        let healthy = context.create(closure((), |(), _: &u32, _: &mut Context<'_>| Ok(())))?;
        context.monitor(&healthy, &ends);
        let stranger = closure(healthy, |healthy, (): &(), context: &mut Context<'_>| {
            context.end(healthy);
            context.direct(healthy, Directive::Stop);
            Ok(())
        });
        let stranger = context.create(stranger)?;
        context.send(&stranger.typed(), ());
        Ok(())
    });
    expect(&words(ended.try_iter()), &vec![])
}

fn restart() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    run(&mut simulation, move |context| {
        let supervisor = context.create_actor(Supervisor::new(Directive::Restart, 5));
        let values = values.clone();
        let child = context.create_supervised(&supervisor, move || {
            let values = values.clone();
            closure(0_u32, move |count, number: &u32, context: &mut Context<'_>| {
                let me: Addr<u32> = context.this().typed();
                *count += number;
                match *number {
                    0 => return Err(Failure::because("on purpose")),
                    1 => {
                        context.send_after(Duration::from_millis(1), &me, 50)?;
                    }
                    _ => context.send(&values, *count),
                }
                Ok(())
            })
        })?;
        for number in [1_u32, 0, 2] {
            context.send(&child.clone().typed(), number);
        }
        Ok(())
    });
    expect(&received.try_iter().collect::<Vec<_>>(), &vec![2])
}

/// Who is linked to an actor ends with its failure, and not with its stop; who monitors it hears of both.
fn links() -> Result<(), String> {
    for (directive, expected) in
        [(None, vec!["stopped"]), (Some(Directive::Stop), vec!["on purpose", "on purpose"])]
    {
        let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
        let (ends, ended) = listener::<Ended>(&simulation);
        run(&mut simulation, move |context| {
            let stops = directive.is_none();
            let supervisor = context.create_actor(Supervisor::new(Directive::Stop, 5));
            let first = context.create_supervised(&supervisor, move || {
                closure((), move |(), _: &u32, context: &mut Context<'_>| {
                    context.stop();
                    if stops { Ok(()) } else { Err(Failure::because("on purpose")) }
                })
            })?;
            let linked = closure(first.clone(), |first, (): &(), context: &mut Context<'_>| {
                context.link(first);
                Ok(())
            });
            let linked = context.create(linked)?;
            for one in [&first, &linked] {
                context.monitor(one, &ends);
            }
            context.send(&linked.typed(), ());
            context.send(&first.typed(), 1_u32);
            Ok(())
        });
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        expect(&words(ended.try_iter()), &expected)?;
    }
    Ok(())
}

fn dead() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    run(&mut simulation, move |context| {
        let dead = context.create(failing())?;
        context.end(&dead);
        context.monitor(&dead, &ends);
        Ok(())
    });
    expect(&words(ended.try_iter()), &vec!["unknown".to_owned()])
}

struct Adapting(Addr<Ended>);

impl Actor for Adapting {
    type Message = u32;
    fn receive(&self, _: &u32, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        let adapter = work.adapter(|number: &u64| *number as u32);
        work.monitor(adapter.address(), &self.0);
        work.stop();
        Ok(())
    }
}

fn adapters() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (ends, ended) = listener::<Ended>(&simulation);
    let actor = simulation.create(Configuration::new("adapting").with_actor(Adapting(ends)));
    simulation.send(&actor.typed(), 1_u32);
    expect(&simulation.run(10_000), &Ending::Drained)?;
    expect(&words(ended.try_iter()), &vec!["stopped".to_owned()])
}

fn escalation() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (overseer, overseen) = listener::<Failed>(&simulation);
    let seed = Configuration::new("seen").overseer(&overseer).default_directive(Directive::Escalate);
    let actor = simulation.create(seed.with_behaviour(failing()));
    simulation.send(&actor.typed(), 1_u32);
    expect(&simulation.run(10_000), &Ending::Drained)?;
    let reasons: Vec<String> = overseen.try_iter().map(|failed| failed.reason).collect();
    expect(&reasons, &vec!["on purpose".to_owned()])
}

/// Whenever a configuration is removed, who has asked hears.
fn removal() -> Result<(), String> {
    for steps in 0..40 {
        let mut simulation = Simulation::new(steps, 2, Quota::AMPLE);
        let (ends, ended) = listener::<Ended>(&simulation);
        let watched = closure((), |(), _: &u32, _: &mut Context<'_>| Ok(()));
        let watched: Address = simulation.create(Configuration::new("watched").with_behaviour(watched));
        let number = simulation.configurations().iter().map(|one| one.number).max().unwrap_or_default();
        let root = closure(watched, move |watched, (): &(), context: &mut Context<'_>| {
            for number in 0..3_u32 {
                context.send(&watched.clone().typed(), number);
            }
            context.monitor(watched, &ends);
            Ok(())
        });
        let root = simulation.create(Configuration::new("root").with_behaviour(root));
        simulation.send(&root.typed(), ());
        simulation.run(steps);
        simulation.remove(number);
        expect(&simulation.run(100_000), &Ending::Drained)?;
        expect(&ended.try_iter().count(), &1)?;
    }
    Ok(())
}

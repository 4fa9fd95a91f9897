//! First events, and messages put aside.

use banyan_actors::simulation::Ending;
use banyan_actors::{
    Actor, Addr, Configuration, Context, Directive, Failure, Quota, Simulation, Supervisor, Work, closure,
};
use serde::{Deserialize, Serialize};

use super::simulated::{listener, run};
use super::{Check, expect};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("a first event comes first", first_event),
    ("a first event that waits comes first", first_event_that_waits),
    ("a log is not flooded", flood),
    ("messages put aside come back in order", stash),
];

#[derive(Clone, Serialize, Deserialize)]
enum Said {
    Begins,
    Gets(u32),
}

/// Says when it begins, and what it gets; fails at 0.
struct Beginner(Addr<Said>);

impl Actor for Beginner {
    type Message = u32;
    const HAS_START: bool = true;

    fn started(&self, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        work.send(&self.0, Said::Begins);
        Ok(())
    }

    fn receive(&self, number: &u32, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        if *number == 0 {
            return Err(Failure::because("on purpose"));
        }
        work.send(&self.0, Said::Gets(*number));
        Ok(())
    }
}

/// What was said: 0 for a beginning.
fn numbers(said: &std::sync::mpsc::Receiver<Said>) -> Vec<u32> {
    said.try_iter()
        .map(|said| match said {
            Said::Begins => 0,
            Said::Gets(number) => number,
        })
        .collect()
}

fn first_event() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (sayings, said) = listener::<Said>(&simulation);
    // The first of its configuration, and one that an event creates; that is restarted.
    let first = simulation.create(Configuration::new("first").with_actor(Beginner(sayings.clone())));
    simulation.send(&first.typed(), 7_u32);
    expect(&simulation.run(10_000), &Ending::Drained)?;
    expect(&numbers(&said), &vec![0, 7])?;
    run(&mut simulation, move |context| {
        let supervisor = context.create_actor(Supervisor::new(Directive::Restart, 3));
        let sayings = sayings.clone();
        let beginner = context.create_supervised_actor(&supervisor, move || Beginner(sayings.clone()));
        [1, 0, 2].into_iter().for_each(|number| context.send(&beginner, number));
        Ok(())
    });
    expect(&numbers(&said), &vec![0, 1, 0, 2])
}

/// Its sponsor cannot pay for it; another's message for the actor comes after it all the same.
fn first_event_that_waits() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (sayings, said) = listener::<Said>(&simulation);
    let poor = Quota { memory: 1 << 20, cycles: 1 << 30, events: 1 };
    let poor = simulation.sponsor("poor", poor).ok_or("no sponsor")?;
    let maker = closure((), move |(), (): &(), context: &mut Context<'_>| {
        let beginner = context.create_actor(Beginner(sayings.clone()));
        context.register("beginner", beginner.address()).map_err(|error| Failure::because(error.to_string()))
    });
    let maker = simulation.create(Configuration::new("maker").with_behaviour(maker));
    simulation.send_under(&poor, &maker.typed(), ());
    expect(&simulation.run(10_000), &Ending::Drained)?;
    let beginner = simulation.lookup("beginner").ok_or("no beginner")?.typed::<u32>();
    simulation.send(&beginner, 5);
    expect(&simulation.run(10_000), &Ending::Drained)?;
    expect(&numbers(&said), &Vec::new())?;
    simulation.grant(&poor, Quota { events: 10, ..Quota::ZERO });
    expect(&simulation.run(10_000), &Ending::Drained)?;
    expect(&numbers(&said), &vec![0, 5])
}

fn flood() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    simulation.log("before");
    let failing = closure((), |(), _: &u32, _: &mut Context<'_>| Err(Failure::because("on purpose")));
    let failing = simulation.create(Configuration::new("failing").with_behaviour(failing)).typed();
    for number in 0..2_000_u32 {
        simulation.send(&failing, number);
    }
    expect(&simulation.run(10_000), &Ending::Drained)?;
    let lines = simulation.log_lines();
    expect(&lines.iter().any(|line| line.contains("before")), &true)?;
    expect(&lines.iter().filter(|line| line.contains("on purpose")).count(), &128)?;
    expect(&lines.iter().any(|line| line.contains("failing: 1872 more lines within a second")), &true)
}

/// Puts numbers aside until it hears 0.
struct Closed(Addr<u32>);
struct Open(Addr<u32>);

impl Actor for Closed {
    type Message = u32;
    fn receive(&self, number: &u32, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        if *number > 0 {
            work.stash();
            return Ok(());
        }
        work.unstash();
        work.become_behaviour(banyan_actors::native(Open(self.0.clone())));
        Ok(())
    }
}

impl Actor for Open {
    type Message = u32;
    fn receive(&self, number: &u32, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        work.send(&self.0, *number);
        Ok(())
    }
}

fn stash() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (heard, hears) = listener::<u32>(&simulation);
    run(&mut simulation, move |context| {
        let closed: Addr<u32> = context.create_actor(Closed(heard.clone()));
        [1, 2, 0, 3].into_iter().for_each(|number| context.send(&closed, number));
        Ok(())
    });
    expect(&hears.try_iter().collect::<Vec<_>>(), &vec![1, 2, 3])?;
    expect(&simulation.is_conserved(), &true)
}

//! Who pays, and what becomes of events that are not paid for; questions, and turns.

use std::time::Duration;

use banyan_actors::ask::AskError;
use banyan_actors::simulation::Ending;
use banyan_actors::{Actor, Addr, Configuration, Context, Failure, Quota, Signal, Simulation, Work, closure};
use serde::{Deserialize, Serialize};

use super::simulated::{listener, run};
use super::{Check, expect};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("what comes from outside is paid for", outside),
    ("what a message points at is paid for", held),
    ("an event waits for its sponsor", waiting),
    ("sponsors below a stopped one", below),
    ("a question", questions),
    ("turns", turns),
];

const ENOUGH: Quota = Quota { memory: 1 << 20, cycles: 1 << 30, events: 1 << 10 };

/// Memory that a sponsor has left.
fn memory(simulation: &Simulation, name: &str) -> Option<u64> {
    let sponsors = simulation.sponsors();
    sponsors.iter().find(|sponsor| sponsor.name == name).map(|sponsor| sponsor.left[0])
}

fn outside() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let Some(payer) = simulation.sponsor("payer", ENOUGH) else { return Err("no sponsor".into()) };
    let (values, received) = listener::<u64>(&simulation);
    simulation.send_under(&payer, &values, 1);
    expect(&simulation.run(10_000), &Ending::Drained)?;
    expect(&received.try_iter().count(), &1)?;
    expect(&memory(&simulation, "payer").is_some_and(|left| left < ENOUGH.memory), &true)
}

fn held() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let Some(payer) = simulation.sponsor("payer", ENOUGH) else { return Err("no sponsor".into()) };
    let (texts, received) = listener::<String>(&simulation);
    let sending = closure(texts, |texts, (): &(), context: &mut Context<'_>| {
        context.send(texts, "x".repeat(100_000));
        Ok(())
    });
    let sending = simulation.create(Configuration::new("sending").with_behaviour(sending));
    simulation.send_under(&payer, &sending.typed(), ());
    expect(&simulation.run(10_000), &Ending::Drained)?;
    expect(&received.try_iter().count(), &1)?;
    expect(&memory(&simulation, "payer").is_some_and(|left| left + 100_000 < ENOUGH.memory), &true)
}

fn waiting() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let poor = simulation.sponsor("poor", Quota { memory: 1 << 12, cycles: 1 << 20, events: 1 });
    let Some(poor) = poor else { return Err("no sponsor".into()) };
    let (values, received) = listener::<u32>(&simulation);
    for number in 0..3 {
        simulation.send_under(&poor, &values, number);
    }
    expect(&simulation.run(10_000), &Ending::Drained)?;
    expect(&received.try_iter().count(), &1)?;
    simulation.grant(&poor, Quota { memory: 0, cycles: 0, events: 5 });
    expect(&simulation.run(10_000), &Ending::Drained)?;
    expect(&received.try_iter().count(), &2)
}

fn below() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (signals, _) = listener::<Signal>(&simulation);
    run(&mut simulation, move |context| {
        let above = context.new_sponsor("above")?;
        context.transfer(&above, ENOUGH)?;
        context.start(&above, &signals)?;
        let maker = closure((), |(), (): &(), context: &mut Context<'_>| {
            context.new_sponsor("below")?;
            Ok(())
        });
        let maker = context.create(maker)?;
        context.send_under(&above, &maker.typed(), ())?;
        let stopper = closure(above, |above, (): &(), context: &mut Context<'_>| {
            context.stop_sponsor(above);
            Ok(())
        });
        let stopper = context.create(stopper)?;
        context.send_after(Duration::from_millis(1), &stopper.typed(), ())?;
        Ok(())
    });
    let names: Vec<String> = simulation.sponsors().into_iter().map(|sponsor| sponsor.name).collect();
    expect(&names, &vec!["root".to_owned()])
}

#[derive(Serialize, Deserialize)]
enum Question {
    Answer(Addr<[u64; 8]>),
    Drop(Addr<[u64; 8]>),
}

type Answered = Result<[u64; 8], AskError>;

struct Asking {
    target: Addr<Question>,
    question: fn(Addr<[u64; 8]>) -> Question,
    answers: Addr<Answered>,
}

impl Actor for Asking {
    type Message = Option<Answered>;
    fn receive(&self, message: &Self::Message, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            None => work.ask(&self.target, Duration::from_secs(1), self.question, Some),
            Some(answer) => work.send(&self.answers, answer.clone()),
        }
        Ok(())
    }
}

/// An answer is paid for once, by who gives it; a question that is dropped is heard of before its deadline.
fn questions() -> Result<(), String> {
    for (question, expected) in [
        (Question::Answer as fn(Addr<[u64; 8]>) -> Question, Ok([7; 8])),
        (Question::Drop, Err(AskError::Dropped)),
    ] {
        let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
        let (answers, answered) = listener::<Answered>(&simulation);
        let Some(payer) = simulation.sponsor("payer", ENOUGH) else { return Err("no sponsor".into()) };
        let target = closure(payer, |payer, question: &Question, context: &mut Context<'_>| {
            if let Question::Answer(reply) = question {
                context.send_under(payer, reply, [7; 8])?;
            }
            Ok(())
        });
        let target = simulation.create(Configuration::new("target").with_behaviour(target)).typed();
        let asking = Asking { target, question, answers };
        let asking = simulation.create(Configuration::new("asking").with_actor(asking));
        simulation.send(&asking.typed(), Option::<Answered>::None);
        expect(&simulation.run(10_000), &Ending::Drained)?;
        expect(&answered.try_iter().collect::<Vec<_>>(), &vec![expected])?;
        // Of three messages it pays for the two that its own events send, of less than 150 bytes each.
        let spent = memory(&simulation, "payer").map(|left| ENOUGH.memory - left);
        expect(&spent.is_some_and(|spent| spent < 300), &true)?;
    }
    Ok(())
}

fn turns() -> Result<(), String> {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    for weight in [1, 3] {
        let busy = closure(values.clone(), move |values, left: &u32, context: &mut Context<'_>| {
            context.send(values, weight);
            let me = context.this().typed();
            if *left > 0 {
                context.send(&me, left - 1);
            }
            Ok(())
        });
        let busy = simulation.create(Configuration::new("busy").weight(weight).with_behaviour(busy));
        simulation.send(&busy.typed(), 100_u32);
    }
    expect(&simulation.run(100_000), &Ending::Drained)?;
    let heavy = received.try_iter().skip(20).take(80).filter(|weight| *weight == 3).count();
    expect(&(55..=65).contains(&heavy), &true)
}

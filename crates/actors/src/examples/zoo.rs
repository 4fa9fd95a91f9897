//! A sponsor zoo: bombs of native code, each on the account of a sponsor of its own, while a well-behaved neighbour
//! answers questions. A bomb takes what its sponsor was given, and stops.
//!
//! Code that never gives control back is not here: native code is trusted, and only untrusted guests can be cut off in
//! the middle of a computation.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::actor::closure;
use crate::address::Addr;
use crate::ask::AskError;
use crate::behaviour::{Behaviour, Failure};
use crate::configuration::Configuration;
use crate::context::Context;
use crate::handle::Handle;
use crate::sponsor::Signal;
use banyan_core::sponsors::Quota;

/// What a bomb is given.
const CAGE: Quota = Quota { memory: 4 << 20, cycles: 200_000_000, events: 50_000 };
/// Questions to the neighbour for each figure.
const QUESTIONS: usize = 2000;
const DEADLINE: Duration = Duration::from_secs(5);

type Bomb = fn(&mut (), &(), &mut Context<'_>) -> Result<(), Failure>;

fn endless((): &mut (), (): &(), context: &mut Context<'_>) -> Result<(), Failure> {
    let me: Addr<()> = context.this().typed();
    context.send(&me, ());
    Ok(())
}

fn messages((): &mut (), (): &(), context: &mut Context<'_>) -> Result<(), Failure> {
    let me: Addr<()> = context.this().typed();
    for _ in 0..10 {
        context.send(&me, ());
    }
    Ok(())
}

fn forks((): &mut (), (): &(), context: &mut Context<'_>) -> Result<(), Failure> {
    for _ in 0..2 {
        let child: Addr<()> = context.create(closure((), forks as Bomb))?.typed();
        context.send(&child, ());
    }
    Ok(())
}

fn allocations((): &mut (), (): &(), context: &mut Context<'_>) -> Result<(), Failure> {
    // Native code says what it allocates.
    context.charge_memory(64 << 10)?;
    endless(&mut (), &(), context)
}

fn sends((): &mut (), (): &(), context: &mut Context<'_>) -> Result<(), Failure> {
    let me: Addr<()> = context.this().typed();
    loop {
        context.send(&me, ());
    }
}

const BOMBS: [(&str, Bomb); 5] = [
    ("endless loop of events", endless),
    ("message bomb", messages),
    ("fork bomb", forks),
    ("allocation bomb", allocations),
    ("sends without end in one event", sends),
];

/// What became of one bomb.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Caged {
    /// Which.
    pub bomb: String,
    /// What its controller was told is exhausted.
    pub exhausted: Option<String>,
    /// The neighbour's time to answer, median and 99th of a hundred, in microseconds.
    pub neighbour_us: [f64; 2],
}

fn neighbour() -> Box<dyn Behaviour> {
    closure((), |(), reply: &Addr<u64>, context| {
        context.send(reply, 1);
        Ok(())
    })
}

fn latency(handle: &Handle, neighbour: &Addr<Addr<u64>>) -> Result<[f64; 2], AskError> {
    let mut times = Vec::with_capacity(QUESTIONS);
    for _ in 0..QUESTIONS {
        let begun = Instant::now();
        handle.ask(neighbour, DEADLINE, |reply: Addr<u64>| reply)?;
        times.push(begun.elapsed().as_nanos() as f64 / 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok([times[QUESTIONS / 2], times[QUESTIONS * 99 / 100]])
}

/// Lets one bomb after the other go off; `each` gets what became of it, first of all that of no bomb.
///
/// # Errors
/// [`AskError`] if the neighbour does not answer: it was harmed.
pub fn show(handle: &Handle, mut each: impl FnMut(&Caged)) -> Result<Vec<Caged>, AskError> {
    let neighbour = handle.create(Configuration::new("neighbour").with_behaviour(neighbour())).typed();
    let mut shown = Vec::new();
    let mut show = |caged: Caged| {
        each(&caged);
        shown.push(caged);
    };
    let quiet = latency(handle, &neighbour)?;
    show(Caged { bomb: "none: quiet".to_owned(), exhausted: None, neighbour_us: quiet });
    for (name, bomb) in BOMBS {
        let (signals, told) = std::sync::mpsc::channel();
        let controller = closure(signals, |signals, signal: &Signal, _| {
            // Whoever waits for it may have given up.
            let _ = signals.send(format!("{:?}", signal.short).to_lowercase());
            Ok(())
        });
        let bomb = handle.create(Configuration::new(name).with_behaviour(closure((), bomb))).typed::<()>();
        let owner = closure(controller_of(handle, controller), move |controller, (): &(), context| {
            let sponsor = context.new_sponsor(name)?;
            context.transfer(&sponsor, CAGE)?;
            context.start(&sponsor, controller)?;
            context.send_under(&sponsor, &bomb, ())?;
            Ok(())
        });
        let owner = handle.create(Configuration::new("owner").with_behaviour(owner)).typed();
        handle.send(&owner, ());
        let neighbour_us = latency(handle, &neighbour)?;
        let exhausted = told.recv_timeout(DEADLINE).ok();
        show(Caged { bomb: name.to_owned(), exhausted, neighbour_us });
    }
    Ok(shown)
}

fn controller_of(handle: &Handle, controller: Box<dyn Behaviour>) -> Addr<Signal> {
    handle.create(Configuration::new("controller").with_behaviour(controller)).typed()
}

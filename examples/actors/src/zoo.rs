//! A sponsor zoo: bombs, each on the account of its own sponsor, while a well-behaved neighbour answers
//! questions. A bomb takes what its sponsor was given, and stops.
//!
//! Those of native code give control back now and then: native code is trusted. The untrusted guests
//! (`examples/guests/zoo`) do not, and are cut off in the middle of a computation.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use banyan_actors::{
    Addr, AskError, Behaviour, Configuration, Context, Failure, Handle, Message, Packet, Quota, Signal,
    closure,
};

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

/// What a guest is given: some milliseconds, so that its sponsor is exhausted before the clock ends its
/// event.
const GUEST_CAGE: Quota = Quota { memory: 1 << 20, cycles: 5_000_000, events: 100 };

/// By the numbers of their behaviours.
const GUESTS: [&str; 6] = [
    "guest: endless loop",
    "guest: message bomb",
    "guest: fork bomb",
    "guest: allocation bomb",
    "guest: bulk copy",
    "guest: unmarshal bomb",
];

/// One bomb, and what sets it off.
struct Loaded {
    name: &'static str,
    behaviour: Box<dyn Behaviour>,
    spark: Packet,
    cage: Quota,
}

/// All bombs.
fn bombs(handle: &Handle) -> Vec<Loaded> {
    let native = BOMBS.into_iter().map(|(name, bomb)| Loaded {
        name,
        behaviour: closure((), bomb),
        spark: Packet::default(),
        cage: CAGE,
    });
    native.chain(guests(handle)).collect()
}

fn guests(handle: &Handle) -> Vec<Loaded> {
    use banyan_actors::wasm::{Engine, EngineOptions, Limits};
    let zoo = include_bytes!("../../guests/prebuilt/zoo.wasm");
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let engine = Engine::new(EngineOptions { limits, actors: 4_096, ..EngineOptions::default() });
    let module = engine.map_err(|error| error.to_string());
    let module = module.and_then(|engine| engine.compile(zoo).map_err(|error| error.to_string()));
    let module = match module {
        Ok(module) => module,
        Err(error) => {
            handle.log(format!("the zoo has no guests: {error}"));
            return Vec::new();
        }
    };
    let load = |(number, name)| Loaded {
        name,
        behaviour: module.actor(number as u32, Packet::default()),
        spark: Packet { bytes: vec![0; 1_000], addresses: Vec::new() },
        cage: GUEST_CAGE,
    };
    GUESTS.into_iter().enumerate().map(load).collect()
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
    /// What its controller was told is exhausted; or that its event has failed.
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
    for Loaded { name, behaviour, spark, cage } in bombs(handle) {
        let (signals, told) = std::sync::mpsc::channel();
        let controller = closure(signals, |signals, signal: &Signal, _| {
            // The thread that waits for it may have given up.
            let _ = signals.send(format!("{:?}", signal.resource).to_lowercase());
            Ok(())
        });
        let bomb = handle.create(Configuration::new(name).with_behaviour(behaviour));
        let owner = closure(controller_of(handle, controller), move |controller, (): &(), context| {
            let sponsor = context.new_sponsor(name)?;
            context.transfer(&sponsor, cage)?;
            context.start(&sponsor, controller)?;
            context.deliver_under(&sponsor, &bomb, Message::from_packet(spark.clone()))?;
            Ok(())
        });
        let owner = handle.create(Configuration::new("owner").with_behaviour(owner)).typed();
        handle.send(&owner, ());
        let neighbour_us = latency(handle, &neighbour)?;
        let exhausted = became(handle, name, &told);
        show(Caged { bomb: name.to_owned(), exhausted, neighbour_us });
    }
    Ok(shown)
}

/// What has stopped a bomb.
fn became(handle: &Handle, name: &str, told: &std::sync::mpsc::Receiver<String>) -> Option<String> {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        if let Ok(short) = told.recv_timeout(Duration::from_millis(10)) {
            return Some(short);
        }
        if handle.configurations().iter().any(|one| one.name == name && one.failures > 0) {
            return Some("its event".to_owned());
        }
    }
    None
}

fn controller_of(handle: &Handle, controller: Box<dyn Behaviour>) -> Addr<Signal> {
    handle.create(Configuration::new("controller").with_behaviour(controller)).typed()
}

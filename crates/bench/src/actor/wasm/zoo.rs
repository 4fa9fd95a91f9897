//! A neighbour's latency beside bombs, against a quiet time: two native actors of two configurations send one
//! message back and forth, while each bomb's sponsor gets a new allowance again and again.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{BenchError, micros};
use crate::row::Row;
use crate::statistics::{median, percentile};
use banyan_actors::wasm::{Engine, EngineOptions};
use banyan_actors::{
    Addr, Address, Configuration, Failure, Handle, Message, Packet, Quota, Runtime, RuntimeOptions, closure,
};

const ZOO: &[u8] = include_bytes!("../../../../../examples/guests/prebuilt/zoo.wasm");
/// By the numbers of their behaviours.
const BOMBS: [&str; 6] = ["endless loop", "messages", "forks", "allocation", "bulk copy", "unmarshal"];
/// What each bomb gets at a time, and how often: a million cycles are about half a millisecond.
const ALLOWANCE: Quota = Quota { memory: 1 << 20, cycles: 1_000_000, events: 100 };
const EVERY: Duration = Duration::from_millis(50);
/// One window of quiet, or of bombs.
const WINDOW: Duration = Duration::from_millis(500);

/// The ratio of the neighbour's 99th percentiles, bombs against quiet: the median of this number of pairs of
/// windows.
///
/// # Errors
/// [`BenchError`].
pub(super) fn neighbours(pairs: usize) -> Result<Row, BenchError> {
    let module = Engine::new(EngineOptions::default())?.compile(ZOO)?;
    let runtime = Runtime::start(RuntimeOptions::default())?;
    let mut sponsors = Vec::new();
    for (behaviour, name) in BOMBS.iter().enumerate() {
        let sponsor = runtime.sponsor(name, ALLOWANCE);
        let sponsor = sponsor.ok_or_else(|| BenchError::Guest("the root sponsor has too little".into()))?;
        let actor = module.actor(behaviour as u32, Packet::default());
        let bomb = runtime.create(Configuration::new(*name).sponsor(&sponsor).with_behaviour(actor));
        let spark = Packet { bytes: vec![0; 1_000], addresses: Vec::new() };
        runtime.deliver(&bomb, Message::from_packet(spark));
        sponsors.push(sponsor);
    }
    let pair = Pair::new(&runtime);
    let (mut ratios, mut quiet_times, mut bomb_times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..pairs {
        // What the bombs still have is used up before the quiet begins.
        pair.window(WINDOW / 2, || {})?;
        let quiet = pair.window(WINDOW, || {})?;
        let allowance = || {
            for sponsor in &sponsors {
                runtime.grant(sponsor, ALLOWANCE);
            }
        };
        let bombs = pair.window(WINDOW, allowance)?;
        let p99 = |times: Vec<Duration>| percentile(times.into_iter().map(micros), 0.99);
        let (one, other) = (p99(quiet), p99(bombs));
        ratios.push(other / one);
        quiet_times.push(one);
        bomb_times.push(other);
    }
    let ratio = median(ratios);
    let value = median(bomb_times);
    let detail = format!(
        "p99 of a round trip {value:.1} us beside six bombs with 1,000,000 cycles each every {} ms, {:.1} us without; \
         one round trip at a time",
        EVERY.as_millis(),
        median(quiet_times),
    );
    let row = Row::new("actor.wasm.bombs.p99", value, "us").judged("at most 2 x quiet", ratio <= 2.0);
    Ok(row.against("the same in a quiet time", ratio).note(detail))
}

/// Two actors that send one message back and forth.
struct Pair {
    handle: Handle,
    pinger: Addr<Ping>,
    times: Receiver<Vec<Duration>>,
}

/// What the pinger takes.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Ping {
    Begin,
    Answer,
    End,
}

/// When the pinger sent last, and what it measured.
#[derive(Default)]
struct Measured {
    sent: Option<Instant>,
    times: Vec<Duration>,
}

impl Pair {
    fn new(handle: &Handle) -> Self {
        let echo = closure((), |(), from: &Addr<Ping>, context| {
            context.send(from, Ping::Answer);
            Ok(())
        });
        let echo: Addr<Addr<Ping>> = handle.create(Configuration::new("echo").with_behaviour(echo)).typed();
        let (sender, times) = channel();
        // Shared, since a closure's state is copied for every event.
        let measured = Arc::new(Mutex::new(Measured::default()));
        let pinger = closure(measured, move |measured: &mut Arc<Mutex<Measured>>, ping: &Ping, context| {
            let mut measured = measured.lock().map_err(|_| Failure::because("a panic"))?;
            match (ping, measured.sent) {
                (Ping::End, _) => {
                    measured.sent = None;
                    // If nobody waits any more, the bench has failed already.
                    let _ = sender.send(std::mem::take(&mut measured.times));
                    return Ok(());
                }
                // The answer that was under way when the window ended.
                (Ping::Answer, None) => return Ok(()),
                (Ping::Answer, Some(sent)) => measured.times.push(sent.elapsed()),
                (Ping::Begin, _) => {}
            }
            let me: Addr<Ping> = context.this().typed();
            context.send(&echo, me);
            measured.sent = Some(Instant::now());
            Ok(())
        });
        let pinger: Address = handle.create(Configuration::new("neighbour").with_behaviour(pinger));
        Self { handle: handle.clone(), pinger: pinger.typed(), times }
    }

    /// Measures for a while, and calls `often` meanwhile.
    fn window(&self, length: Duration, often: impl Fn()) -> Result<Vec<Duration>, BenchError> {
        let begun = Instant::now();
        self.handle.send(&self.pinger, Ping::Begin);
        while begun.elapsed() < length {
            often();
            std::thread::sleep(EVERY.min(length));
        }
        self.handle.send(&self.pinger, Ping::End);
        let times = self.times.recv_timeout(Duration::from_secs(30));
        let times = times.map_err(|_| BenchError::Guest("the neighbour does not answer".into()))?;
        // What was under way when the window ended comes to nothing before the next one.
        std::thread::sleep(Duration::from_millis(20));
        if times.is_empty() {
            return Err(BenchError::Guest("the neighbour got no answer in a whole window".into()));
        }
        Ok(times)
    }
}

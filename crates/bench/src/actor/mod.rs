//! Actors: messages, questions, spawning, programs of the Savina suite, durable events, guests; rivals in the
//! same run.
//!
//! Ours and the rivals' rounds alternate, and the medians are compared, so that a busy machine is busy for
//! all of them.

mod erlang;
mod ours;
#[cfg(feature = "rivals")]
mod rivals;
mod savina;
mod wasm;

use std::time::Duration;

use erlang::Erlang;
use ours::{basics, programs};
use serde_json::json;

use crate::plan::{Bench, Plan};
use crate::report::Report;
use crate::row::{Row, rounded};
use crate::statistics::{geometric_mean, median};

/// Rounds of each measurement.
const ROUNDS: usize = 3;

/// One program that several libraries run: returns how long it took for how many operations.
type Program = fn(usize) -> Duration;

struct Contest {
    name: &'static str,
    about: &'static str,
    /// Operations, for the three sizes.
    sizes: &'static [usize],
    ours: Program,
    /// Name and program.
    rivals: &'static [(&'static str, Program)],
    /// The least ratio of the best rival's time to ours.
    bar: f64,
    /// The program's name in Erlang, if it has one.
    erlang: Option<&'static str>,
}

/// Nanoseconds per operation of ours and of each rival, interleaved.
fn contest(one: &Contest, size: usize, erlang: Option<&Erlang>) -> (f64, Vec<(&'static str, f64)>) {
    let mut ours = Vec::new();
    let mut theirs = vec![Vec::new(); one.rivals.len()];
    let mut erlangs = Vec::new();
    for _ in 0..ROUNDS {
        ours.push((one.ours)(size).as_nanos() as f64 / size as f64);
        for ((_, program), times) in one.rivals.iter().zip(&mut theirs) {
            times.push(program(size).as_nanos() as f64 / size as f64);
        }
        if let (Some(erlang), Some(program)) = (erlang, one.erlang) {
            let time = erlang.run(program, size);
            erlangs.extend(time.map(|time| time.as_nanos() as f64 / size as f64));
        }
    }
    let named = one.rivals.iter().zip(theirs).map(|((name, _), times)| (*name, median(times)));
    let mut named: Vec<_> = named.collect();
    if !erlangs.is_empty() {
        named.push(("Erlang", median(erlangs)));
    }
    (median(ours), named)
}

fn compare(one: &Contest, size: usize, label: String, erlang: Option<&Erlang>) -> Row {
    let (ours, theirs) = contest(one, size, erlang);
    let mut detail: Vec<String> = theirs.iter().map(|(name, time)| format!("{name} {time:.0} ns")).collect();
    if cfg!(feature = "rivals") && one.erlang.is_some() && erlang.is_none() {
        detail.push("erl is not installed".to_owned());
    }
    let row = Row::new(label, ours, "ns");
    let bar = format!("at least {} x the best rival's speed", one.bar);
    match theirs.iter().min_by(|one, other| one.1.total_cmp(&other.1)) {
        Some((rival, best)) => {
            let ratio = best / ours;
            row.judged(bar, ratio >= one.bar).against(*rival, ratio).note(detail.join(", "))
        }
        None => Row { bar, ..row }.note("built without rivals"),
    }
}

#[cfg(feature = "rivals")]
macro_rules! programs {
    ($name:ident) => {
        &[
            ("actix", rivals::actix::$name as Program),
            ("kameo", rivals::kameo::$name as Program),
            ("kameo on one thread", rivals::kameo_one_thread::$name as Program),
            ("ractor", rivals::ractor::$name as Program),
            ("ractor on one thread", rivals::ractor_one_thread::$name as Program),
        ]
    };
}
#[cfg(not(feature = "rivals"))]
macro_rules! programs {
    ($name:ident) => {
        &[]
    };
}

const CONTESTS: &[Contest] = &[
    Contest {
        name: "actor.tell.same_host",
        about: "a message between actors of one host",
        sizes: &[300_000],
        ours: basics::tell_same,
        rivals: programs!(tell_same),
        bar: 1.5,
        erlang: None,
    },
    Contest {
        name: "actor.tell.across_hosts",
        about: "a message to an actor of another host",
        sizes: &[300_000],
        ours: basics::tell_across,
        rivals: programs!(tell_across),
        bar: 1.5,
        erlang: None,
    },
    Contest {
        name: "actor.ask.across_hosts",
        about: "a question to an actor of another host, and its answer",
        sizes: &[5_000],
        ours: basics::ask_across,
        rivals: programs!(ask),
        bar: 1.0,
        erlang: None,
    },
    Contest {
        name: "actor.spawn",
        about: "making an actor",
        sizes: &[200_000],
        ours: basics::spawn,
        rivals: programs!(spawn),
        bar: 1.0,
        erlang: None,
    },
];

/// Programs of the Savina suite at three sizes; those of the suite itself are among them or larger.
const SAVINA: &[Contest] = &[
    Contest {
        name: "actor.savina.pingpong",
        about: "two actors send one message back and forth",
        sizes: &[4_000, 40_000, 120_000],
        ours: programs::pingpong,
        rivals: programs!(pingpong),
        bar: 1.3,
        erlang: Some("pingpong"),
    },
    Contest {
        name: "actor.savina.count",
        about: "one actor counts the messages of another",
        sizes: &[100_000, 300_000, 1_000_000],
        ours: programs::count,
        rivals: programs!(tell_same),
        bar: 1.3,
        erlang: None,
    },
    Contest {
        name: "actor.savina.fjthrput",
        about: "sixty actors get messages in turn",
        sizes: &[60_000, 180_000, 600_000],
        ours: programs::fork_join_throughput,
        rivals: programs!(fork_join_throughput),
        bar: 1.3,
        erlang: None,
    },
    Contest {
        name: "actor.savina.fjcreate",
        about: "an actor is made for each message",
        sizes: &[4_000, 40_000, 120_000],
        ours: programs::fork_join_create,
        rivals: programs!(fork_join_create),
        bar: 1.3,
        erlang: Some("fjcreate"),
    },
    Contest {
        name: "actor.savina.threadring",
        about: "a token goes round a hundred actors",
        sizes: &[10_000, 100_000, 300_000],
        ours: programs::thread_ring,
        rivals: programs!(thread_ring),
        bar: 1.3,
        erlang: Some("threadring"),
    },
    Contest {
        name: "actor.savina.big",
        about: "every actor sends to random others",
        sizes: &[24_000, 120_000, 360_000],
        ours: programs::big,
        rivals: programs!(big),
        bar: 1.3,
        erlang: Some("big"),
    },
    Contest {
        name: "actor.savina.chameneos",
        about: "creatures meet at a mall",
        sizes: &[20_000, 60_000, 200_000],
        ours: programs::chameneos,
        rivals: programs!(chameneos),
        bar: 1.3,
        erlang: None,
    },
    Contest {
        name: "actor.savina.banking",
        about: "transfers between accounts by way of a teller",
        sizes: &[5_000, 50_000, 150_000],
        ours: programs::banking,
        rivals: programs!(banking),
        bar: 1.3,
        erlang: None,
    },
    Contest {
        name: "actor.savina.philosopher",
        about: "philosophers eat by way of an arbiter",
        sizes: &[20_000, 60_000, 200_000],
        ours: programs::philosopher,
        rivals: programs!(philosopher),
        bar: 1.3,
        erlang: None,
    },
    Contest {
        name: "actor.savina.nqueenk",
        about: "queens on a board, searched by workers",
        sizes: &[8, 10, 11],
        ours: programs::queens,
        rivals: programs!(queens),
        bar: 1.3,
        erlang: None,
    },
];

/// Benches beside the contests; a program of the suite is `actor.savina.NAME`.
const IDLE: Bench = Bench { name: "actor.idle.memory", about: "resident memory of an idle actor" };
const MEAN: Bench =
    Bench { name: "actor.savina.geometric_mean", about: "speed against the best rival's, over all programs" };
const DURABLE: Bench =
    Bench { name: "actor.durable.events", about: "events of a durable configuration, each committed" };

/// The benches, for a list, in the order in which they are measured.
pub(crate) fn benches() -> Vec<Bench> {
    let contests = CONTESTS.iter().chain(SAVINA).map(|one| Bench { name: one.name, about: one.about });
    let wasm = wasm::BENCHES.iter().map(|(name, about, _)| Bench { name, about });
    std::iter::once(IDLE).chain(contests).chain([MEAN, DURABLE]).chain(wasm).collect()
}

/// Takes the measurements that are selected.
pub(crate) fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let wants = |bench: &str| plan.selection.wants_of(bench);
    // First: what other measurements have freed would be taken again unseen.
    if wants(IDLE.name) {
        report.announce(IDLE.name, IDLE.about);
        report.add(&idle());
    }
    for one in CONTESTS.iter().filter(|one| wants(one.name)) {
        report.announce(one.name, one.about);
        one.sizes.iter().for_each(|size| report.add(&basic(one, *size)));
    }
    if SAVINA.iter().any(|one| wants(one.name)) || wants(MEAN.name) {
        savina(plan, report);
    }
    if wants(DURABLE.name) {
        report.announce(DURABLE.name, DURABLE.about);
        report.add(&durable());
    }
    for (name, about, measure) in wasm::BENCHES.iter().filter(|(name, ..)| wants(name)) {
        report.announce(name, about);
        match measure() {
            Ok(rows) => rows.iter().for_each(|row| report.add(row)),
            Err(error) => report.add(&Row::failed(*name, error.to_string())),
        }
    }
    Ok(())
}

fn idle() -> Row {
    let bytes = basics::idle_bytes(200_000);
    let row = Row::new(IDLE.name, bytes, "B").judged("at most 240 B", bytes <= 240.0);
    row.note("resident memory of 200,000 idle actors with a word of state")
}

fn basic(one: &Contest, size: usize) -> Row {
    let mut row = compare(one, size, one.name.to_owned(), None);
    if one.name == "actor.spawn" {
        let reached = row.value.is_some_and(|value| value <= 400.0);
        row = row.judged("at most 400 ns", reached);
    }
    let pinned: Option<Program> = match one.name {
        "actor.tell.across_hosts" => Some(basics::tell_pinned),
        "actor.ask.across_hosts" => Some(basics::ask_pinned),
        _ => None,
    };
    let Some(pinned) = pinned else { return row };
    let pinned = median((0..ROUNDS).map(|_| pinned(size).as_nanos() as f64)) / size as f64;
    row.fact("ours_where_none_may_move_ns", json!(rounded(pinned)))
}

/// The programs of the suite that are selected, at the sizes that are; their mean only of all of them.
fn savina(plan: &Plan, report: &mut Report) {
    // Only where the other rivals are in this build: a bench of ours alone needs no other program.
    let erlang = if cfg!(feature = "rivals") { Erlang::find() } else { None };
    let wants_mean = plan.selection.wants(MEAN.name);
    let mut ratios = Vec::new();
    for one in SAVINA {
        let named = one.sizes.iter().map(|size| (*size, format!("{}.{size}", one.name)));
        let chosen: Vec<_> = named.filter(|(_, name)| wants_mean || plan.selection.wants(name)).collect();
        if !chosen.is_empty() {
            report.announce(one.name, one.about);
        }
        for (size, name) in chosen {
            let row = compare(one, size, name, erlang.as_ref());
            ratios.extend(row.ratio);
            report.add(&row);
        }
    }
    if wants_mean && !ratios.is_empty() {
        let mean = geometric_mean(&ratios);
        let row = Row::new(MEAN.name, mean, "x").judged("at least 1.3 x the best rival's speed", mean >= 1.3);
        let row = row.against("the best rival of each", mean);
        report.add(&row.note(format!("{} programs, three sizes each", SAVINA.len())));
    }
}

fn durable() -> Row {
    match basics::durable_events() {
        Ok(rate) => Row::new(DURABLE.name, rate, "1/s")
            .judged("at least 20000 a second", rate >= 20_000.0)
            .note("transfers in one durable configuration, each answered after its commit"),
        Err(error) => Row::failed(DURABLE.name, error),
    }
}

//! What is promised of actors, measured: each row beside the bar it must reach, rivals in the same run.
//!
//! Ours and the rivals' rounds alternate, and the medians are compared, so that a busy machine is busy for all of them.

mod erlang;
mod ours;
#[cfg(feature = "rivals")]
mod rivals;
mod savina;
mod wasm;

use std::time::Duration;

use erlang::Erlang;
use ours::{basics, programs};
use serde::Serialize;

/// Rounds of each measurement.
const ROUNDS: usize = 3;

/// A row of the table of promises.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The measurement.
    pub name: String,
    /// What was reached.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// Against the best rival, if there is one in this build: above 1 is better.
    pub ratio: Option<f64>,
    /// What must be reached.
    pub bar: String,
    /// Whether it was.
    pub ok: Option<bool>,
    /// Rivals' figures.
    pub detail: String,
}

/// One program that several libraries run: returns how long it took for how many operations.
type Program = fn(usize) -> Duration;

struct Contest {
    name: &'static str,
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

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
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

fn judge(one: &Contest, size: usize, label: String, erlang: Option<&Erlang>) -> Row {
    let (ours, theirs) = contest(one, size, erlang);
    let best = theirs.iter().map(|(_, time)| *time).min_by(f64::total_cmp);
    let ratio = best.map(|best| best / ours);
    let mut detail: Vec<String> = theirs.iter().map(|(name, time)| format!("{name} {time:.0} ns")).collect();
    if cfg!(feature = "rivals") && one.erlang.is_some() && erlang.is_none() {
        detail.push("erl is not installed".to_owned());
    }
    Row {
        name: label,
        value: ours,
        unit: "ns",
        ratio,
        bar: format!("at least {} x the best rival's speed", one.bar),
        ok: ratio.map(|ratio| ratio >= one.bar),
        detail: if detail.is_empty() { "built without rivals".to_owned() } else { detail.join(", ") },
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
        name: "tell.same_host",
        sizes: &[300_000],
        ours: basics::tell_same,
        rivals: programs!(tell_same),
        bar: 1.5,
        erlang: None,
    },
    Contest {
        name: "tell.across_hosts",
        sizes: &[300_000],
        ours: basics::tell_across,
        rivals: programs!(tell_across),
        bar: 1.5,
        erlang: None,
    },
    Contest {
        name: "ask.across_hosts",
        sizes: &[5_000],
        ours: basics::ask_across,
        rivals: programs!(ask),
        bar: 1.0,
        erlang: None,
    },
    Contest {
        name: "spawn",
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
        name: "pingpong",
        sizes: &[4_000, 40_000, 120_000],
        ours: programs::pingpong,
        rivals: programs!(pingpong),
        bar: 1.3,
        erlang: Some("pingpong"),
    },
    Contest {
        name: "count",
        sizes: &[100_000, 300_000, 1_000_000],
        ours: programs::count,
        rivals: programs!(tell_same),
        bar: 1.3,
        erlang: None,
    },
    Contest {
        name: "fjthrput",
        sizes: &[60_000, 180_000, 600_000],
        ours: programs::fork_join_throughput,
        rivals: programs!(fork_join_throughput),
        bar: 1.3,
        erlang: None,
    },
    Contest {
        name: "fjcreate",
        sizes: &[4_000, 40_000, 120_000],
        ours: programs::fork_join_create,
        rivals: programs!(fork_join_create),
        bar: 1.3,
        erlang: Some("fjcreate"),
    },
    Contest {
        name: "threadring",
        sizes: &[10_000, 100_000, 300_000],
        ours: programs::thread_ring,
        rivals: programs!(thread_ring),
        bar: 1.3,
        erlang: Some("threadring"),
    },
    Contest {
        name: "big",
        sizes: &[24_000, 120_000, 360_000],
        ours: programs::big,
        rivals: programs!(big),
        bar: 1.3,
        erlang: Some("big"),
    },
    Contest {
        name: "chameneos",
        sizes: &[20_000, 60_000, 200_000],
        ours: programs::chameneos,
        rivals: programs!(chameneos),
        bar: 1.3,
        erlang: None,
    },
    Contest {
        name: "banking",
        sizes: &[5_000, 50_000, 150_000],
        ours: programs::banking,
        rivals: programs!(banking),
        bar: 1.3,
        erlang: None,
    },
    Contest {
        name: "philosopher",
        sizes: &[20_000, 60_000, 200_000],
        ours: programs::philosopher,
        rivals: programs!(philosopher),
        bar: 1.3,
        erlang: None,
    },
    Contest {
        name: "nqueenk",
        sizes: &[8, 10, 11],
        ours: programs::queens,
        rivals: programs!(queens),
        bar: 1.3,
        erlang: None,
    },
];

/// The parts that can be measured by themselves, in their order.
pub const PARTS: &[&str] = &["idle", "tell", "ask", "spawn", "savina", "durable", "wasm"];

/// Measures what is named, everything if nothing is; `each` is called with each row as it is there.
pub fn run(only: &[String], mut each: impl FnMut(&Row)) -> Vec<Row> {
    let wants = |part: &str| only.is_empty() || only.iter().any(|one| one == part);
    let mut rows = Vec::new();
    let mut add = |row: Row| {
        each(&row);
        rows.push(row);
    };
    // First: what other measurements have freed would be taken again unseen.
    if wants("idle") {
        add(idle());
    }
    for one in CONTESTS.iter().filter(|one| wants(one.name.split('.').next().unwrap_or_default())) {
        one.sizes.iter().for_each(|size| add(basic(one, *size)));
    }
    if wants("savina") {
        savina(&mut add);
    }
    if wants("durable") {
        add(durable());
    }
    if wants("wasm") {
        match wasm::all() {
            Ok(figures) => figures.into_iter().for_each(add),
            Err(error) => {
                add(not_measured("wasm", "x", "see the specification", format!("not measured: {error}")));
            }
        }
    }
    rows
}

fn idle() -> Row {
    let bytes = basics::idle_bytes(200_000);
    Row {
        name: "idle.memory".to_owned(),
        value: bytes,
        unit: "B",
        ratio: None,
        bar: "at most 240 B".to_owned(),
        ok: Some(bytes <= 240.0),
        detail: "resident memory of 200,000 idle actors with a word of state".to_owned(),
    }
}

fn basic(one: &Contest, size: usize) -> Row {
    let mut row = judge(one, size, one.name.to_owned(), None);
    if one.name == "spawn" {
        row.bar = "at most 400 ns".to_owned();
        row.ok = Some(row.value <= 400.0);
    }
    let pinned: Option<Program> = match one.name {
        "tell.across_hosts" => Some(basics::tell_pinned),
        "ask.across_hosts" => Some(basics::ask_pinned),
        _ => None,
    };
    if let Some(pinned) = pinned {
        let pinned = median((0..ROUNDS).map(|_| pinned(size).as_nanos() as f64).collect());
        let pinned = pinned / size as f64;
        row.detail.push_str(&format!("; ours where none may move: {pinned:.0} ns"));
    }
    row
}

fn savina(add: &mut impl FnMut(Row)) {
    // Only where the other rivals are in this build: a bench of ours alone needs no other program.
    let erlang = if cfg!(feature = "rivals") { Erlang::find() } else { None };
    let mut ratios = Vec::new();
    for one in SAVINA {
        for size in one.sizes {
            let row = judge(one, *size, format!("savina.{}.{size}", one.name), erlang.as_ref());
            ratios.extend(row.ratio);
            add(row);
        }
    }
    if !ratios.is_empty() {
        let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        add(Row {
            name: "savina.geometric_mean".to_owned(),
            value: mean,
            unit: "x",
            ratio: Some(mean),
            bar: "at least 1.3 x the best rival's speed".to_owned(),
            ok: Some(mean >= 1.3),
            detail: format!("{} programs, three sizes each", SAVINA.len()),
        });
    }
}

fn durable() -> Row {
    const BAR: &str = "at least 20000 a second";
    match basics::durable_events() {
        Ok(rate) => Row {
            name: "durable.events".to_owned(),
            value: rate,
            unit: "1/s",
            ratio: None,
            bar: BAR.to_owned(),
            ok: Some(rate >= 20_000.0),
            detail: "transfers in one durable configuration, each answered after its commit".to_owned(),
        },
        Err(error) => not_measured("durable.events", "1/s", BAR, error),
    }
}

fn not_measured(name: &str, unit: &'static str, bar: &str, detail: String) -> Row {
    Row { name: name.to_owned(), value: 0.0, unit, ratio: None, bar: bar.to_owned(), ok: Some(false), detail }
}

#[cfg(test)]
mod tests {
    use super::Row;

    /// Scripts read the rows by these names.
    #[test]
    fn a_row_has_the_keys_that_are_promised() {
        let row = Row {
            name: "tell.same_host".to_owned(),
            value: 40.5,
            unit: "ns",
            ratio: None,
            bar: "at least 1.5 x".to_owned(),
            ok: Some(true),
            detail: String::new(),
        };
        let text = serde_json::to_string(&row).unwrap();
        let expected = r#"{"name":"tell.same_host","value":40.5,"unit":"ns","ratio":null,"bar":"at least 1.5 x","ok":true,"detail":""}"#;
        assert_eq!(text, expected);
    }
}

//! `banyan bench`: what running over several nodes costs, measured as ratios to the same thing without Banyan.
//!
//! Each measure compares two sides in the same run: a remote fault with a raw TCP round trip, a program on one node
//! with the program alone, four throttled nodes with one. The sides take turns, several rounds of each, and medians
//! are compared, so that whatever else the machine does falls on both.

mod calls;
mod control_group;
mod guard;
mod input;
mod memory;
mod one_node;
mod processes;
mod program;
mod report;
mod scale;
mod session;
mod stub;
mod tcp;

pub use program::{ProgramArguments, bench_program};

use anyhow::Context;
use clap::Args;
use report::{Bar, Outcome, Report};
use session::Session;

/// Arguments of `banyan bench`.
#[derive(Debug, Args)]
pub struct BenchArguments {
    /// Measures to take, by name or by the start of a name; all if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// List the measures and end
    #[arg(long)]
    list: bool,
    /// Rounds of each side; the medians are compared
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
}

/// One measure.
pub(crate) struct Bench {
    /// Its name: family and what is measured.
    pub(crate) name: &'static str,
    /// What it measures, for people.
    pub(crate) about: &'static str,
    /// What the ratio must reach.
    pub(crate) bar: Bar,
    measure: fn(&mut Session) -> anyhow::Result<Outcome>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "fault.read",
        about: "remote 4 KiB read fault against a raw TCP round trip of 64 B and 4 KiB",
        bar: Bar::AtMost(2.0),
        measure: memory::fault_read,
    },
    Bench {
        name: "stream.read",
        about: "sequential read of 256 MiB of remote memory against a raw TCP stream",
        bar: Bar::AtLeast(0.6),
        measure: memory::stream_read,
    },
    Bench {
        name: "run1.pigz",
        about: "CPU time of pigz on one node, its daemon included, against pigz alone",
        bar: Bar::AtMost(1.10),
        measure: one_node::pigz,
    },
    Bench {
        name: "run1.xz",
        about: "CPU time of xz on one node, its daemon included, against xz alone",
        bar: Bar::AtMost(1.10),
        measure: one_node::xz,
    },
    Bench {
        name: "run1.zstd",
        about: "CPU time of zstd on one node, its daemon included, against zstd alone",
        bar: Bar::AtMost(1.10),
        measure: one_node::zstd,
    },
    Bench {
        name: "run1.first_touch",
        about: "first touch of 1 GiB on one node against the same without Banyan",
        bar: Bar::AtMost(1.5),
        measure: one_node::first_touch,
    },
    Bench {
        name: "syscall.deputy",
        about: "getppid of a remote thread against a raw TCP round trip of 64 B and 64 B",
        bar: Bar::AtMost(2.5),
        measure: calls::deputy,
    },
    Bench {
        name: "scale4.pigz",
        about: "speed of pigz on 4 nodes of 0.2 CPU against one such node",
        bar: Bar::AtLeast(3.2),
        measure: scale::pigz,
    },
    Bench {
        name: "scale4.mandelbrot",
        about: "speed of mandelbrot on 4 nodes of 0.2 CPU against one such node",
        bar: Bar::AtLeast(3.2),
        measure: scale::mandelbrot,
    },
    Bench {
        name: "stub.size",
        about: "bytes of the runtime inside each replica against 64 KiB; it must need no symbol and no allocator",
        bar: Bar::AtMost(1.0),
        measure: stub::size,
    },
];

/// Takes the measures. Returns 0, or 1 if one of them could not be taken.
pub fn bench(arguments: &BenchArguments) -> anyhow::Result<u8> {
    let chosen = choose(&arguments.names)?;
    if arguments.list {
        report::list(&chosen);
        return Ok(0);
    }
    let mut session = Session::new(arguments.rounds).context("preparing the benches")?;
    let mut report = Report::new(arguments.json);
    report.begin();
    for bench in chosen {
        report.announce(bench);
        let outcome = (bench.measure)(&mut session);
        report.add(bench, outcome);
    }
    Ok(report.end())
}

/// The measures whose names are, or begin with, one of `names`.
fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Bench>> {
    for name in names {
        anyhow::ensure!(
            BENCHES.iter().any(|bench| bench.name.starts_with(name.as_str())),
            "no measure begins with {name:?}; `banyan bench --list` names them"
        );
    }
    let is_wanted =
        |bench: &&Bench| names.is_empty() || names.iter().any(|name| bench.name.starts_with(name.as_str()));
    Ok(BENCHES.iter().filter(is_wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_chosen_by_their_start() {
        let chosen = |names: &[&str]| -> Option<Vec<&str>> {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            choose(&names).ok().map(|benches| benches.iter().map(|bench| bench.name).collect())
        };
        assert_eq!(chosen(&[]).map(|names| names.len()), Some(BENCHES.len()));
        assert_eq!(chosen(&["fault"]), Some(vec!["fault.read"]));
        assert_eq!(chosen(&["scale4.p", "stub"]), Some(vec!["scale4.pigz", "stub.size"]));
        assert_eq!(chosen(&["nothing"]), None);
    }
}

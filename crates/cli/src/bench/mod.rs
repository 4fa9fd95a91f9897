//! `banyan bench`: takes measurements, each beside what it is held to.
//!
//! What is measured is in the crate `banyan-bench`; here it is chosen.

use anyhow::Context;
use banyan_bench::{FAMILIES, Family, Format, Plan, Selection};
use clap::Args;
use std::path::PathBuf;
use std::process::Command;

/// The rows that a plot is drawn of.
const PLOTTED: &str = "arena.commit.k";

/// Arguments of `banyan bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0; 1 if a bar was missed or a figure could not be had; 125 if the measurements could not be made.

Examples:
  banyan bench --list
  banyan bench fault.read run1
  banyan bench arena.commit --directory /mnt/disk")]
pub(crate) struct BenchArguments {
    /// Measurements to take, by name or by the start of a name; all if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// List the measurements and end
    #[arg(long)]
    list: bool,
    /// Rounds of each side where a run over nodes is measured; the medians are compared
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Few rounds on little data, where there is a choice, to see that it works: the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Where the arena's measurements put their files; they need 6 GiB and are removed
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    directory: PathBuf,
    /// Measure commits of the arena, and draw their time against the pages that they change, for each
    /// contestant, in this SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// The family to measure, in this process
    #[arg(long, value_name = "FAMILY", hide = true)]
    family: Option<String>,
}

/// Takes the measurements. Returns 0, or 1 if a bar was missed or a figure could not be had.
pub(crate) fn bench(arguments: &BenchArguments) -> anyhow::Result<u8> {
    let mut names = arguments.names.clone();
    if arguments.plot.is_some() {
        names.push(PLOTTED.to_owned());
    }
    let selection = Selection::new(names);
    if arguments.list {
        list(&selection);
        return Ok(0);
    }
    for start in selection.starts() {
        let alone = Selection::new(vec![start.clone()]);
        anyhow::ensure!(
            FAMILIES.iter().any(|family| family.is_wanted(&alone)),
            "no measurement begins with {start:?}; `banyan bench --list` names them"
        );
    }
    let is_wanted = |family: &&Family| {
        family.is_wanted(&selection) && arguments.family.as_ref().is_none_or(|name| name == family.name)
    };
    let wanted: Vec<&Family> = FAMILIES.iter().filter(is_wanted).collect();
    let [family] = wanted[..] else { return in_processes(&wanted) };
    let plan = Plan {
        selection: selection.clone(),
        rounds: arguments.rounds,
        quick: arguments.quick,
        directory: arguments.directory.clone(),
        plot: arguments.plot.clone(),
    };
    family.measure(&plan, if arguments.json { Format::Json } else { Format::Table })
}

/// Measures each family in a process of its own. Returns the highest of their statuses.
fn in_processes(families: &[&Family]) -> anyhow::Result<u8> {
    let mut highest = 0;
    for family in families {
        let mut command = Command::new("/proc/self/exe");
        command.args(std::env::args_os().skip(1)).args(["--family", family.name]);
        let status = command.status().context("starting the measurements of a family")?;
        highest = highest.max(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(125));
    }
    Ok(highest)
}

fn list(selection: &Selection) {
    for bench in FAMILIES.iter().flat_map(Family::benches).filter(|bench| selection.wants_of(bench.name)) {
        println!("{:<28} {}", bench.name, bench.about);
    }
}

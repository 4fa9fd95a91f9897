//! `banyan job list`, also `banyan ps`: what runs from this machine, and which detached runs there were.

use super::Nodes;
use crate::terminal;
use banyan_node::detached::{self, Beginning, Progress};
use clap::Args;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Arguments of `banyan job list`.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Detached runs that have ended, too
    #[arg(short, long)]
    all: bool,
    /// One JSON object for each program
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nodes: Nodes,
}

/// A program, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Line {
    /// The name of a detached run.
    name: Option<String>,
    process: u32,
    program: String,
    /// [`Progress::word`].
    state: &'static str,
    /// Of one that has ended.
    status: Option<u8>,
    nodes: Option<u8>,
    moves: Option<u64>,
    threads: Vec<(u32, u8)>,
}

/// Prints the list. Returns the exit status.
pub(crate) fn list(arguments: &ListArguments) -> anyhow::Result<u8> {
    let mut kept = BTreeMap::new();
    for run in detached::all(&detached::usual_place())? {
        // One that is about to begin has not said how.
        if let (Ok(beginning), Ok(progress)) = (run.beginning(), run.progress()) {
            kept.insert(run.name().to_owned(), (beginning, progress));
        }
    }
    let mut lines = running(&arguments.nodes, &kept);
    let listed: BTreeSet<u32> = lines.iter().map(|line| line.process).collect();
    lines.extend(kept.iter().filter_map(|(name, run)| {
        let (Beginning { process, .. }, progress) = run;
        let is_wanted = match progress {
            // One that is just about to begin is no job of a node yet.
            Progress::Runs => !listed.contains(&process.cast_unsigned()),
            Progress::Ended(_) | Progress::Lost => arguments.all,
        };
        is_wanted.then(|| without_node(name, run))
    }));
    if arguments.json {
        terminal::print_json(&lines)?;
    } else if lines.is_empty() {
        eprintln!("No program runs from this machine. To start one:\n  banyan run -n 2 -- PROGRAM");
    } else {
        terminal::print(&table(&lines));
        if let Some(line) = lines.iter().find(|line| line.nodes.is_some()) {
            eprintln!("\nWhere its threads are:\n  banyan job threads {}", line.process);
        }
    }
    Ok(0)
}

type Kept = BTreeMap<String, (Beginning, Progress)>;

fn running(nodes: &Nodes, kept: &Kept) -> Vec<Line> {
    let name = |process: u32| {
        let of_run = |(_, (beginning, progress)): &(&String, &(Beginning, Progress))| {
            *progress == Progress::Runs && beginning.process.cast_unsigned() == process
        };
        kept.iter().find(of_run).map(|(name, _)| name.clone())
    };
    let line = |job: banyan_node::admin::JobStatus| Line {
        name: name(job.process),
        process: job.process,
        program: job.program,
        state: Progress::Runs.word(),
        status: None,
        nodes: Some(job.nodes),
        moves: Some(job.moves),
        threads: job.threads,
    };
    nodes.jobs().into_iter().map(|(_, job)| line(job)).collect()
}

/// A run of which no node knows.
fn without_node(name: &str, (beginning, progress): &(Beginning, Progress)) -> Line {
    let word = beginning.command.split(' ').next().unwrap_or_default();
    Line {
        name: Some(name.to_owned()),
        process: beginning.process.cast_unsigned(),
        program: word.rsplit('/').next().unwrap_or_default().into(),
        state: progress.word(),
        status: progress.ending().map(|ending| ending.status),
        nodes: None,
        moves: None,
        threads: Vec::new(),
    }
}

fn table(lines: &[Line]) -> String {
    let width = lines.iter().filter_map(|line| line.name.as_ref().map(String::len)).max().unwrap_or(0).max(4);
    let mut text = format!(
        "{:>8}  {:15}  {:>5}  {:>7}  {:>7}  {:width$}  STATE\n",
        "PROCESS", "PROGRAM", "NODES", "THREADS", "MOVES", "NAME"
    );
    for line in lines {
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let threads = line.nodes.map(|_| line.threads.len() as u64);
        let state = match line.status {
            Some(status) => format!("{} {status}", line.state),
            None => line.state.into(),
        };
        let _ = writeln!(
            text,
            "{:>8}  {:15}  {:>5}  {:>7}  {:>7}  {:width$}  {state}",
            line.process,
            line.program,
            number(line.nodes.map(u64::from)),
            number(threads),
            number(line.moves),
            line.name.as_deref().unwrap_or("-"),
        );
    }
    text
}

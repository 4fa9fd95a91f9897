//! `banyan run --detach`, and what one does with such a run afterwards: look, read, wait, end, remove.

use crate::terminal;
use anyhow::bail;
use banyan_node::detached::{self, Detached, Progress, Stream};
use clap::Args;
use serde::Serialize;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

/// Between two looks for more of what a run prints.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Arguments of `banyan job show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// The name of the run
    name: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `banyan job logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// The name of the run
    name: String,
    /// Go on until it has ended
    #[arg(short, long)]
    follow: bool,
    /// Its standard error instead of its standard output
    #[arg(long)]
    errors: bool,
}

/// Arguments of `banyan job wait`.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: that of the run, as `banyan run` would have returned it.")]
pub(crate) struct WaitArguments {
    /// The name of the run
    name: String,
}

/// Arguments of `banyan job stop`.
#[derive(Debug, Args)]
pub(crate) struct StopArguments {
    /// The names of the runs
    #[arg(required = true)]
    names: Vec<String>,
    /// Seconds from SIGTERM to SIGKILL
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    time: u64,
}

/// Arguments of `banyan job remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// The names of the runs
    #[arg(required = true)]
    names: Vec<String>,
}

/// Arguments of the keeper of a run.
#[derive(Debug, Args)]
pub(crate) struct KeepArguments {
    directory: PathBuf,
    command: String,
    #[arg(last = true)]
    words: Vec<OsString>,
}

/// A detached run, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    command: String,
    process: i32,
    state: &'static str,
    status: Option<u8>,
    begun: u64,
    ended: Option<u64>,
}

fn find(name: &str) -> anyhow::Result<Detached> {
    Ok(detached::find(&detached::usual_place(), name)?)
}

/// The process of a program that is named by its id, or by the name of a detached run.
pub(super) fn process(text: &str) -> anyhow::Result<u32> {
    match text.parse() {
        Ok(process) => Ok(process),
        Err(_) => Ok(find(text)?.beginning()?.process.cast_unsigned()),
    }
}

/// Begins a detached run of `banyan` with these words.
pub(crate) fn begin(name: Option<&str>, program: &[OsString], words: &[OsString]) -> anyhow::Result<u8> {
    let (run, _) = detached::begin(&detached::usual_place(), name, program, words)?;
    let name = run.name();
    terminal::print(&format!("{name}\n"));
    eprintln!("\nWhat it prints, and how it ends:\n  banyan job logs --follow {name}\n  banyan wait {name}");
    Ok(0)
}

/// Is the keeper of a detached run.
pub(crate) fn keep(arguments: &KeepArguments) -> anyhow::Result<u8> {
    detached::keep(&arguments.directory, &arguments.command, &arguments.words)?;
    Ok(0)
}

pub(super) fn show(arguments: &ShowArguments) -> anyhow::Result<u8> {
    let run = find(&arguments.name)?;
    let (beginning, progress) = (run.beginning()?, run.progress()?);
    let (state, ending) = (progress.word(), progress.ending());
    let shown = Shown {
        name: arguments.name.clone(),
        command: beginning.command,
        process: beginning.process,
        state,
        status: ending.map(|ending| ending.status),
        begun: beginning.begun,
        ended: ending.map(|ending| ending.ended),
    };
    if arguments.json {
        terminal::print_json(&[shown])?;
        return Ok(0);
    }
    let mut text = format!("{}: {}\n  process {}, {state}", shown.name, shown.command, shown.process);
    if let Some(ending) = ending {
        let seconds = ending.ended.saturating_sub(shown.begun);
        let _ = write!(text, " with status {} after {}", ending.status, terminal::count(seconds, "second"));
    }
    text.push('\n');
    terminal::print(&text);
    if progress == Progress::Lost {
        eprintln!("\nIts keeper was killed. Whether it goes on:\n  banyan job list");
    }
    Ok(0)
}

pub(super) fn logs(arguments: &LogsArguments) -> anyhow::Result<u8> {
    let run = find(&arguments.name)?;
    let mut file = run.open(if arguments.errors { Stream::Errors } else { Stream::Output })?;
    let mut output = io::stdout().lock();
    loop {
        // Looked at before the file is read to its end: nothing comes after that.
        let goes_on = arguments.follow && run.progress()? == Progress::Runs;
        if let Err(error) = copy(&mut file, &mut output) {
            // Who reads has gone.
            return if error.kind() == io::ErrorKind::BrokenPipe { Ok(0) } else { Err(error.into()) };
        }
        if !goes_on {
            return Ok(0);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn copy(file: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
    io::copy(file, output)?;
    output.flush()
}

pub(crate) fn wait(arguments: &WaitArguments) -> anyhow::Result<u8> {
    match find(&arguments.name)?.wait()? {
        Progress::Ended(ending) => Ok(ending.status),
        Progress::Runs | Progress::Lost => {
            bail!(
                "{0}: its keeper was killed, so nobody knows how it ends; see `banyan job list`",
                arguments.name
            )
        }
    }
}

pub(super) fn stop(arguments: &StopArguments) -> anyhow::Result<u8> {
    for name in &arguments.names {
        match find(name)?.stop(Duration::from_secs(arguments.time))? {
            Progress::Ended(ending) => {
                eprintln!(
                    "{name} has ended with status {}. To remove it:\n  banyan job remove {name}",
                    ending.status
                );
            }
            Progress::Runs | Progress::Lost => bail!("{name}: its keeper was killed; see `banyan job list`"),
        }
    }
    Ok(0)
}

pub(super) fn remove(arguments: &RemoveArguments) -> anyhow::Result<u8> {
    for name in &arguments.names {
        find(name)?.remove()?;
    }
    Ok(0)
}

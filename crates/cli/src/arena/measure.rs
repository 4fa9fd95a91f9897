//! `banyan arena bench`: a row for each measurement, as it is done.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use banyan_bench::arena::{self, BenchOptions, BenchRow};
use clap::Args;

use crate::terminal::{LiveLine, Style};

/// Arguments of `banyan arena bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// Measurements to print, by name or by the start of a name; all if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Where to put the files that are measured; they need 6 GiB and are removed
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    directory: PathBuf,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Measure commits, and draw their time against the pages that they change, for each contestant, in this SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Few rounds on a small heap, to see that it works: the figures mean nothing
    #[arg(long)]
    quick: bool,
}

/// A directory of our own that goes when it is dropped.
struct Room {
    path: PathBuf,
}

impl Drop for Room {
    fn drop(&mut self) {
        // Failing to tidy up is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Takes the measurements. Returns 0, or 1 if a bar was missed.
pub(super) fn bench(arguments: &BenchArguments) -> anyhow::Result<u8> {
    let path = arguments.directory.join(format!("banyan-arena-bench-{}", std::process::id()));
    std::fs::create_dir(&path).with_context(|| {
        format!("cannot make {}; choose a directory on the disk to measure with --directory", path.display())
    })?;
    let room = Room { path };
    let mut plot = None;
    if let Some(path) = &arguments.plot {
        // Before the minutes of measuring.
        let made = std::fs::File::create(path);
        plot = Some(made.with_context(|| {
            format!("cannot write {}; choose a file that can be written", path.display())
        })?);
    }
    let is_drawn = |name: &str| arguments.plot.is_some() && name.starts_with("commit.k");
    let is_wanted = |name: &str| {
        is_drawn(name)
            || arguments.names.iter().any(|start| name.starts_with(start.as_str()))
            || arguments.names.is_empty() && arguments.plot.is_none()
    };
    let mut live = LiveLine::new();
    let style = Style::for_stream(std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let (mut printed, mut missed) = (0, 0);
    let mut report = |row: BenchRow| {
        printed += 1;
        missed += u32::from(!row.ok);
        if arguments.json {
            super::print(&format!("{}\n", row.json()));
        } else {
            let verdict = if row.ok { style.good("ok    ") } else { style.bad("missed") };
            super::print(&format!(
                "{verdict} {:<16} {:>10.2} {:<16} {}\n{:24}{}\n",
                row.name, row.value, row.unit, row.bar, "", row.detail
            ));
        }
        if live.is_live() {
            live.show("measuring...");
        }
    };
    let options = if arguments.quick { BenchOptions::quick() } else { BenchOptions::default() };
    let points =
        arena::bench(&room.path, options, &is_wanted, &mut report).context("the bench did not end")?;
    drop(room);
    if let Some(mut file) = plot {
        file.write_all(arena::commit_plot(&points).as_bytes()).context("the plot could not be written")?;
    }
    anyhow::ensure!(
        printed > 0,
        "no measurement begins with {:?}; leave the names out to see all",
        arguments.names
    );
    live.end(&format!("{printed} measurements, {missed} bars missed."));
    Ok(u8::from(missed > 0))
}

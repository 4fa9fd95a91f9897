//! `banyan arena bench`: a row for each measurement, as it is done.

use std::path::PathBuf;

use anyhow::Context;
use banyan_arena::tool::{self, BenchOptions, BenchRow};
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
}

/// Names that need no measurement of the disk.
const NOUNS: [&str; 4] = ["alloc.small", "jam", "cue", "gc.step"];

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
    let is_wanted = |name: &str| {
        arguments.names.is_empty() || arguments.names.iter().any(|start| name.starts_with(start.as_str()))
    };
    let only_nouns = !arguments.names.is_empty()
        && arguments.names.iter().all(|start| NOUNS.iter().any(|name| name.starts_with(start.as_str())));
    let mut live = LiveLine::new();
    let style = Style::for_stream(std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let (mut printed, mut missed) = (0, 0);
    let mut report = |row: BenchRow| {
        if !is_wanted(row.name) {
            return;
        }
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
    let chosen = if only_nouns { tool::bench_nouns } else { tool::bench };
    chosen(&room.path, BenchOptions::default(), &mut report).context("the bench did not end")?;
    drop(room);
    anyhow::ensure!(
        printed > 0,
        "no measurement begins with {:?}; leave the names out to see all",
        arguments.names
    );
    live.end(&format!("{printed} measurements, {missed} bars missed."));
    Ok(u8::from(missed > 0))
}

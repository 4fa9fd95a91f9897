//! What isolation costs programs that call a library very often: each runs with the library in place and
//! isolated, by turns, and must give the same.
//!
//! The libraries are the system's, under a program that `gcc` makes in a directory of its own and under
//! `pcre2grep`. What is not installed is left out, and said.

use super::flaky::Directory;
use crate::row::Row;
use crate::statistics::percentile;
use banyan_calls::error::CallError;
use banyan_calls::generate::wrap;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

/// How often each is run, either way.
const ROUNDS: usize = 3;
/// As often as the library may make a program slower.
const BAR: f64 = 10.0;

/// A library under a program.
struct Subject {
    name: &'static str,
    library: &'static str,
    work: Work,
    /// What is promised of it, beside that the output is the same.
    bar: Option<f64>,
}

enum Work {
    /// Of the program made here: what it does, and how much.
    Ours(&'static str, &'static str),
    /// The whole command: lines that have something, of a file of 20 MB.
    Grep,
}

const SUBJECTS: &[Subject] = &[
    Subject {
        name: "call.chatty.expat",
        library: "libexpat.so.1",
        work: Work::Ours("parse", "20000000"),
        bar: Some(BAR),
    },
    Subject {
        name: "call.chatty.sqlite",
        library: "libsqlite3.so.0",
        work: Work::Ours("insert", "100000"),
        bar: Some(BAR),
    },
    Subject { name: "call.chatty.pcre2grep", library: "libpcre2-8.so.0", work: Work::Grep, bar: Some(BAR) },
    Subject { name: "call.chatty.pages64", library: "libz.so.1", work: Work::Ours("sum", "64"), bar: None },
    Subject { name: "call.chatty.pages256", library: "libz.so.1", work: Work::Ours("sum", "256"), bar: None },
];

fn trouble(what: impl std::fmt::Display) -> CallError {
    CallError::NoService(what.to_string())
}

fn find(library: &str) -> Option<PathBuf> {
    let places = ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64"];
    places.iter().map(|place| Path::new(place).join(library)).find(|path| path.exists())
}

/// The program that calls, linked to all libraries that it can use.
fn compile(directory: &Path) -> std::io::Result<PathBuf> {
    let program = directory.join("chatty");
    let mut command = Command::new("gcc");
    command.args(["-x", "c", "-w", "-O2", "-", "-x", "none"]);
    command.args(["libexpat.so.1", "libsqlite3.so.0", "libz.so.1"].iter().filter_map(|name| find(name)));
    let mut compiler = command.arg("-o").arg(&program).stdin(Stdio::piped()).spawn()?;
    let written =
        compiler.stdin.take().map_or(Ok(()), |mut input| input.write_all(include_bytes!("chatty.c")));
    if !compiler.wait()?.success() {
        return Err(std::io::Error::other("gcc failed: are libexpat, libsqlite3 and zlib installed?"));
    }
    written.map(|()| program)
}

/// A text of 20 MB, in lines as long as people write them.
fn text(path: &Path) -> std::io::Result<()> {
    const WORDS: [&str; 8] = ["foo", "needle", "hay", "stack", "the", "quick", "brown", "fox"];
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let (mut state, mut written) = (1_u64, 0);
    while written < 20_000_000 {
        let mut line = String::new();
        for _ in 0..10 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            line.push_str(WORDS[(state >> 60) as usize % WORDS.len()]);
            line.push(' ');
        }
        writeln!(file, "{line}")?;
        written += line.len() + 1;
    }
    file.flush()
}

impl Subject {
    fn command(&self, directory: &Path) -> Command {
        match self.work {
            Work::Ours(what, number) => {
                let mut command = Command::new(directory.join("chatty"));
                command.args([what, number]);
                command
            }
            Work::Grep => {
                let mut command = Command::new("pcre2grep");
                command.args(["-c", "fo+.*needle"]).arg(directory.join("text"));
                command
            }
        }
    }

    /// Seconds that the work takes with the libraries in `place`, or the system's, and what it gives.
    fn run(&self, directory: &Path, place: Option<&Path>) -> Result<(f64, String), CallError> {
        let mut command = self.command(directory);
        if let Some(place) = place {
            command.env("LD_LIBRARY_PATH", place);
        }
        let start = Instant::now();
        let Output { status, stdout, .. } = command.output().map_err(trouble)?;
        let whole = start.elapsed().as_secs_f64();
        let printed = String::from_utf8_lossy(&stdout).into_owned();
        if !status.success() {
            return Err(trouble(format!("{}: the program ended by {status}", self.name)));
        }
        match (&self.work, printed.split_once(' ')) {
            (Work::Ours(..), Some((seconds, result))) => {
                Ok((seconds.parse().map_err(trouble)?, result.to_owned()))
            }
            _ => Ok((whole, printed)),
        }
    }

    fn row(&self, directory: &Path) -> Result<Row, CallError> {
        let installed =
            !matches!(self.work, Work::Grep) || Command::new("pcre2grep").arg("-V").output().is_ok();
        let (Some(library), true) = (find(self.library), installed) else {
            return Ok(Row::skipped(self.name, format!("{} or its program is not installed", self.library)));
        };
        let place = directory.join(self.name);
        wrap(&library, &[], None, &place).map_err(trouble)?;
        let (mut plain, mut isolated, mut same) = (Vec::new(), Vec::new(), true);
        for _ in 0..ROUNDS {
            let (before, expected) = self.run(directory, None)?;
            let (after, found) = self.run(directory, Some(&place))?;
            same &= expected == found;
            plain.push(before);
            isolated.push(after);
        }
        let (plain, isolated) = (percentile(plain, 0.5), percentile(isolated, 0.5));
        let ratio = isolated / plain;
        let row = Row::new(self.name, isolated * 1e3, "ms")
            .against("in place", ratio)
            .fact("in place", json!(plain * 1e3));
        Ok(match self.bar {
            Some(bar) => {
                row.judged(format!("the same result, at most {bar} x in place"), same && ratio <= bar)
            }
            None => row.judged("the same result", same),
        })
    }
}

/// A row for each subject.
pub(super) fn rows() -> Result<Vec<Row>, CallError> {
    let directory = Directory::new("chatty").map_err(trouble)?;
    compile(directory.path()).map_err(trouble)?;
    text(&directory.path().join("text")).map_err(trouble)?;
    let failed = |subject: &Subject, error: CallError| Row::failed(subject.name, error.to_string());
    Ok(SUBJECTS
        .iter()
        .map(|subject| subject.row(directory.path()).unwrap_or_else(|error| failed(subject, error)))
        .collect())
}

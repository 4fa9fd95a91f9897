//! `banyan demo`: one plain program, once natively and once spread over local nodes; the same output, and a
//! picture of what happened.
//!
//! The program is `examples/wordcount`, which knows nothing of Banyan. It lies beside this binary.

mod chart;
mod grow;
mod picture;
mod text;
mod watch;

use crate::terminal::{LiveLine, columns, print, style, wrap};
use anyhow::{Context, bail};
use banyan_node::RUN_VARIABLE;
use banyan_node::statistics::RunStatistics;
use clap::{Args, Subcommand};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use watch::Replicas;

const MEBIBYTE: f64 = (1 << 20) as f64;
/// Bytes of the text that the demonstration makes for itself.
const TEXT_BYTES: u64 = 16 << 20;
/// The native run should take about this long, so that there is something to see.
const NATIVE_SECONDS: f64 = 2.0;
const PASSES_MAX: u32 = 500;
/// A run that takes longer is hung.
const DEADLINE: Duration = Duration::from_secs(600);
/// How often the live line changes, and how often a plain line comes.
const LIVE: Duration = Duration::from_millis(250);
const PLAIN: Duration = Duration::from_secs(5);
/// The two outputs were not the same.
const STATUS_DIFFERENT: u8 = 1;

/// Arguments of `banyan demo`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DemoArguments {
    #[command(subcommand)]
    other: Option<DemoCommand>,
    /// The text whose words are counted; without it the demonstration makes one
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Nodes to run on, all on this machine
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    nodes: u8,
}

/// Other demonstrations.
#[derive(Debug, Subcommand)]
enum DemoCommand {
    /// A program runs on one node, more join, and it becomes faster, with no word from anybody
    Grow(grow::GrowArguments),
}

/// The program with its input.
struct Job {
    program: PathBuf,
    input: File,
    threads: usize,
    passes: u32,
}

/// What a run came to.
struct Outcome {
    status: ExitStatus,
    output: Vec<u8>,
    messages: String,
    took: Duration,
}

/// Runs the demonstration. Returns 0 if both outputs are the same.
pub(crate) fn demo(arguments: &DemoArguments) -> anyhow::Result<u8> {
    if let Some(DemoCommand::Grow(arguments)) = &arguments.other {
        return grow::grow(arguments);
    }
    let program = program()?;
    let mut line = LiveLine::new();
    let (input, bytes) = match arguments.input.as_deref() {
        Some(path) => open(path)?,
        None => {
            line.show("Making a text to count the words of");
            make_text()?
        }
    };
    let threads = usize::from(arguments.nodes) * 2;
    let mut job = Job { program, input, threads, passes: 1 };
    line.end(&format!(
        "Counting the words of {:.1} MiB of text with {threads} threads",
        bytes as f64 / MEBIBYTE
    ));

    let mut native = job.run_natively(&mut line)?;
    let passes = NATIVE_SECONDS / native.took.as_secs_f64().max(0.001);
    if passes > 1.5 {
        job.passes = (passes.ceil() as u32).clamp(1, PASSES_MAX);
        native = job.run_natively(&mut line)?;
    }
    line.end(&format!("  native             {:6.2} s", native.took.as_secs_f64()));
    let spread = job.run_spread(arguments.nodes, &mut line)?;
    line.end(&format!("  on {:2} local nodes  {:6.2} s", arguments.nodes, spread.took.as_secs_f64()));

    let (messages, statistics) = split_statistics(&spread.messages);
    eprint!("{messages}");
    let same = native.output == spread.output && native.status == spread.status;
    let mut report = String::new();
    report.push_str(&if same {
        let bytes = native.output.len();
        style::good(&format!(
            "The output is the same, byte for byte: {bytes} bytes, {}.\n",
            ending(native.status)
        ))
    } else {
        style::bad(&different(&native, &spread))
    });
    if let Some(statistics) = statistics {
        report.push('\n');
        report.push_str(&picture::table(&statistics));
        report.push('\n');
        report.push_str(&picture::strips(&statistics, columns()));
    }
    report.push_str(&closing(&job.program, arguments.nodes));
    print(&report);
    Ok(if same { 0 } else { STATUS_DIFFERENT })
}

/// The program beside this binary.
fn program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this binary does not know where it is")?;
    let program = own.with_file_name("examples").join("wordcount");
    if !program.is_file() {
        bail!(
            "{}: not found; it is the program that the demonstration runs. Build it: \
             cargo build --release -p banyan-tests --examples",
            program.display()
        );
    }
    // Shorter to read and to type again.
    let here = std::env::current_dir().unwrap_or_default();
    Ok(program.strip_prefix(&here).map_or(program.clone(), |short| Path::new(".").join(short)))
}

fn open(path: &Path) -> anyhow::Result<(File, u64)> {
    let file = File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let metadata = file.metadata().with_context(|| format!("{}: cannot be read", path.display()))?;
    if !metadata.is_file() {
        bail!("{}: the demonstration reads its input twice, so it must be a plain file", path.display());
    }
    Ok((file, metadata.len()))
}

/// Makes a text in a file that has no name any more when anything can go wrong, so that it is never left
/// behind.
fn make_text() -> anyhow::Result<(File, u64)> {
    let path = std::env::temp_dir().join(format!("banyan-demo-{}", std::process::id()));
    let what = || format!("{}: cannot be written; set TMPDIR to a directory with room", path.display());
    let file = File::options().read(true).write(true).create_new(true).open(&path).with_context(what)?;
    fs::remove_file(&path).with_context(what)?;
    let mut writer = BufWriter::new(&file);
    let written = text::write(&mut writer, TEXT_BYTES).with_context(what)?;
    writer.flush().with_context(what)?;
    drop(writer);
    Ok((file, written))
}

impl Job {
    /// The program's own arguments. The input has no name of its own: it comes as standard input.
    fn arguments(&self) -> [String; 3] {
        ["/dev/stdin".into(), self.threads.to_string(), self.passes.to_string()]
    }

    fn run_natively(&self, line: &mut LiveLine) -> anyhow::Result<Outcome> {
        let mut command = Command::new(&self.program);
        command.args(self.arguments());
        let started = Instant::now();
        let passes = self.passes;
        let outcome = self.run(command, line, |_| {
            let times = if passes == 1 { "once".into() } else { format!("{passes} times over") };
            format!("  native, {times}: {:.1} s", started.elapsed().as_secs_f64())
        })?;
        if !outcome.status.success() {
            bail!("{} failed by itself: {}", self.program.display(), outcome.messages.trim_end());
        }
        Ok(outcome)
    }

    fn run_spread(&self, nodes: u8, line: &mut LiveLine) -> anyhow::Result<Outcome> {
        let own = std::env::current_exe().context("this binary does not know where it is")?;
        let mark = std::env::var(RUN_VARIABLE).unwrap_or_else(|_| format!("demo-{}", std::process::id()));
        let mut command = Command::new(own);
        command.args(["run", "--local", "--place", "spread", "-n", &nodes.to_string(), "--stats=json", "--"]);
        command.arg(&self.program).args(self.arguments()).env(RUN_VARIABLE, &mark);
        let started = Instant::now();
        let mut replicas = None;
        self.run(command, line, |child| {
            let replicas =
                replicas.get_or_insert_with(|| Replicas::new(&mark, child.id(), usize::from(nodes)));
            let mut text = format!("  on {nodes} local nodes: {:.1} s; CPU", started.elapsed().as_secs_f64());
            for (node, activity) in replicas.look().iter().enumerate() {
                text.push_str(&format!("  node {node}: {:.1} s", activity.cpu_seconds));
            }
            text
        })
    }

    /// Runs a command on the input and shows meanwhile what `describe` says.
    fn run(
        &self,
        mut command: Command,
        line: &mut LiveLine,
        mut describe: impl FnMut(&Child) -> String,
    ) -> anyhow::Result<Outcome> {
        let what = format!("starting {}", command.get_program().display());
        let input = self.input.try_clone().context("the input")?;
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().context(what)?;
        let output = collect(child.stdout.take());
        let messages = collect(child.stderr.take());
        let interval = if line.is_live() { LIVE } else { PLAIN };
        let mut shown = started;
        let status = loop {
            if let Some(status) = child.try_wait().context("waiting for the program")? {
                break status;
            }
            if started.elapsed() > DEADLINE {
                let _ = child.kill();
                let _ = child.wait();
                bail!("the program did not end within {} s and was killed", DEADLINE.as_secs());
            }
            if shown.elapsed() >= interval {
                line.show(&describe(&child));
                shown = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let took = started.elapsed();
        let gather = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
        Ok(Outcome {
            status,
            output: gather(output),
            messages: String::from_utf8_lossy(&gather(messages)).into_owned(),
            took,
        })
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What came before a failure is what there is to show.
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// Takes the statistics, the last line, off the messages.
fn split_statistics(messages: &str) -> (&str, Option<RunStatistics>) {
    let trimmed = messages.trim_end_matches('\n');
    let start = trimmed.rfind('\n').map_or(0, |newline| newline + 1);
    match serde_json::from_str(&trimmed[start..]) {
        Ok(statistics) => (&messages[..start], Some(statistics)),
        Err(_) => (messages, None),
    }
}

fn ending(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit status {code}"),
        None => status.to_string(),
    }
}

fn different(native: &Outcome, spread: &Outcome) -> String {
    let place = native.output.iter().zip(&spread.output).position(|(one, other)| one != other);
    let place = place.unwrap_or_else(|| native.output.len().min(spread.output.len()));
    format!(
        "The output is NOT the same: natively {} bytes and {}, spread {} bytes and {}; they differ from byte {place} on.\n",
        native.output.len(),
        ending(native.status),
        spread.output.len(),
        ending(spread.status),
    )
}

fn closing(program: &Path, nodes: u8) -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let shared = if processors == 1 { "one processor".into() } else { format!("{processors} processors") };
    let said = format!(
        "The {nodes} nodes shared this machine's {shared}, so this shows that it works, not that it is faster; \
         beside other work the two times say little. Nothing is left of the nodes. Next, a file or a program of yours:"
    );
    format!(
        "\n{}\n\n  banyan run -n {nodes} --stats -- {} FILE\n  banyan run -n {nodes} --stats -- PROGRAM ARGUMENTS...\n",
        wrap(&said, 0, columns()),
        program.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_come_off_the_end_of_the_messages() {
        let line = r#"{"nodes":[],"faults":{"read":1,"write":2,"upgrade":3,"p50_us":1.0,"p99_us":2.0},"bytes_moved":4,"migrations":0,"deputy_calls":5,"remote_wait_seconds":0.5,"wall_seconds":1.0,"memory_map":[]}"#;
        let both = format!("a warning\n{line}\n");
        let (messages, statistics) = split_statistics(&both);
        assert_eq!((messages, statistics.is_some()), ("a warning\n", true));
        let (messages, statistics) = split_statistics("only words\n");
        assert_eq!((messages, statistics.is_none()), ("only words\n", true));
        assert!(split_statistics("").1.is_none());
    }
}

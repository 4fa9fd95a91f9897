//! Starts a case, natively or under Banyan, collects what it writes, and ends it at its deadline.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, Once, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, Signal};

use crate::case::{Case, Program};
use crate::leftovers;
use crate::processes;
use crate::scratch::Scratch;
use crate::stats::{self, Stats};
use crate::workspace;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        match status.code() {
            Some(code) => Self::Status(code),
            None => Self::Signal(status.signal().unwrap_or(0)),
        }
    }
}

/// What a run did.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr, without the statistics.
    pub stderr: Vec<u8>,
    /// Banyan's statistics.
    pub stats: Option<Stats>,
    /// The line that they came in.
    pub stats_line: Option<String>,
    /// The files of the working directory afterwards.
    pub files: BTreeMap<String, Vec<u8>>,
    /// From start to end.
    pub took: Duration,
}

/// After the program has ended, processes that still hold its output get this long.
const OUTPUT_GRACE: Duration = Duration::from_secs(6);

/// How a case is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// As it is.
    Native,
    /// Under `banyan run` on this many nodes, with `--stats=json`.
    Banyan(usize),
    /// The same on all nodes of a cluster.
    BanyanOnAll,
}

/// What `banyan run` says for that: the number of nodes, or `all`.
fn node_count(how: How) -> Option<String> {
    match how {
        How::Native => None,
        How::Banyan(nodes) => Some(nodes.to_string()),
        How::BanyanOnAll => Some("all".to_owned()),
    }
}

impl How {
    /// For reports.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Native => "natively".to_owned(),
            Self::Banyan(1) => "on 1 node".to_owned(),
            Self::Banyan(nodes) => format!("on {nodes} nodes"),
            Self::BanyanOnAll => "on all nodes".to_owned(),
        }
    }
}

/// A case that runs now. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Arc<Collected>,
    stderr: Arc<Collected>,
    started: Instant,
    /// Its directories and its mark.
    pub scratch: Scratch,
}

impl Running {
    /// Starts the case in fresh directories.
    pub fn start(case: &Case, how: How) -> Result<Self> {
        forbid_core_files();
        let scratch = Scratch::new()?;
        for (name, contents) in &case.files {
            let path = scratch.work().join(name);
            fs::write(&path, contents).with_context(|| format!("writing {}", path.display()))?;
            // Archives note when a file was changed: always at the same time.
            let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            let times = FileTimes::new().set_modified(long_ago).set_accessed(long_ago);
            File::options().write(true).open(&path)?.set_times(times)?;
        }
        let mut command = command(case, how)?;
        command
            .current_dir(scratch.work())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LANG", "C.UTF-8")
            .env("HOME", scratch.work())
            .env("TMPDIR", scratch.temporary())
            .env("XDG_RUNTIME_DIR", scratch.temporary())
            .env("BANYAN_RUN_ID", &scratch.run)
            .stdin(match &case.stdin {
                Some(name) => Stdio::from(
                    File::open(scratch.work().join(name)).with_context(|| format!("opening {name}"))?,
                ),
                None => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let (Program::Script(_), Some(nodes)) = (&case.program, node_count(how)) {
            let prefix =
                format!("{} run -n {nodes} --place {} --", workspace::banyan()?.display(), case.place.word());
            command.env("RUN", prefix);
        }
        for (name, value) in &case.environment {
            command.env(name, value);
        }
        let mut child = command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
        let stdout = Collected::reading(child.stdout.take());
        let stderr = Collected::reading(child.stderr.take());
        Ok(Self { child, stdout, stderr, started: Instant::now(), scratch })
    }

    /// The number of the process that was started: under Banyan, the program itself.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Waits until stdout holds `wanted`.
    pub fn wait_for_output(&mut self, wanted: &str, limit: Duration) -> Result<()> {
        self.wait_for(&self.stdout, wanted, limit)
    }

    /// Waits until stderr holds `wanted`.
    pub fn wait_for_message(&self, wanted: &str, limit: Duration) -> Result<()> {
        self.wait_for(&self.stderr, wanted, limit)
    }

    /// What stderr holds so far.
    #[must_use]
    pub fn messages(&self) -> String {
        String::from_utf8_lossy(&self.stderr.bytes()).into_owned()
    }

    fn wait_for(&self, stream: &Collected, wanted: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let found = |bytes: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes());
        if stream.wait_until(deadline, |bytes, _| found(bytes)) {
            return Ok(());
        }
        bail!("{wanted:?} was not printed within {limit:?}: {}", self.report());
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("looking for the program's end")?.is_some())
    }

    /// Waits for the end and for the last of the output, and sees that nothing is left behind.
    pub fn finish(mut self, limit: Duration) -> Result<Outcome> {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().context("waiting for the program")? {
                break status;
            }
            if Instant::now() > deadline {
                bail!("it did not end within {limit:?}: {}", self.report());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let took = self.started.elapsed();
        let grace = Instant::now() + OUTPUT_GRACE;
        for (stream, name) in [(&self.stdout, "stdout"), (&self.stderr, "stderr")] {
            if !stream.wait_until(grace, |_, ended| ended) {
                bail!(
                    "it ended with {status}, and {OUTPUT_GRACE:?} later {name} is still open: {}",
                    self.report()
                );
            }
        }
        let left = leftovers::find(&self.scratch);
        if !left.is_empty() {
            bail!("it ended with {status} and left behind: {}\n{}", left.join(", "), self.report());
        }
        let mut stderr = self.stderr.bytes();
        let (stats, stats_line) = stats::take(&mut stderr).unzip();
        let files = self.scratch.files()?;
        Ok(Outcome {
            end: status.into(),
            stdout: self.stdout.bytes(),
            stderr,
            stats,
            stats_line,
            files,
            took,
        })
    }

    fn report(&self) -> String {
        format!(
            "its processes are\n{}  stdout so far: {}\n  stderr so far: {}",
            processes::describe(&self.scratch.run),
            excerpt(&self.stdout.bytes()),
            excerpt(&self.stderr.bytes())
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) && processes::of_run(&self.scratch.run).is_empty() {
            return;
        }
        processes::end_run(&self.scratch.run, self.pid());
        let _ = self.child.wait();
    }
}

/// Sends a signal to the program of a run.
pub fn signal(running: &Running, number: i32) -> Result<()> {
    let signal = Signal::from_named_raw(number).with_context(|| format!("there is no signal {number}"))?;
    processes::send(running.pid(), signal);
    Ok(())
}

/// The beginning and end of some output, for reports.
#[must_use]
pub fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 1500;
    let text = String::from_utf8_lossy(bytes);
    if text.len() <= 2 * SHOWN {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(SHOWN).collect();
    let tail: String = text.chars().rev().take(SHOWN).collect::<Vec<_>>().into_iter().rev().collect();
    format!("{head:?} ... {tail:?} ({} bytes)", bytes.len())
}

fn command(case: &Case, how: How) -> Result<Command> {
    let (program, arguments) = match &case.program {
        Program::Script(script) => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(script);
            return Ok(command);
        }
        Program::Direct(program, arguments) => (program, arguments),
    };
    let mut command = match node_count(how) {
        None => Command::new(program),
        Some(nodes) => {
            let mut command = Command::new(workspace::banyan()?);
            command
                .args(["run", "-n", &nodes, "--place", case.place.word(), "--stats=json"])
                .args(move_every(case).map(|every| format!("--move-every={every}")))
                .args(&case.options)
                .arg("--")
                .arg(program);
            command
        }
    };
    command.args(arguments);
    Ok(command)
}

// How often threads are moved at random: as the case says, or else as it is wanted for all.
fn move_every(case: &Case) -> Option<String> {
    let said = case.moving.as_ref().map(|(every, _)| every.clone());
    said.or_else(|| std::env::var("BANYAN_MOVE_EVERY").ok())
}

// Programs that crash on purpose must not leave core files: they would count as files produced.
fn forbid_core_files() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = Rlimit { current: Some(0), maximum: rustix::process::getrlimit(Resource::Core).maximum };
        let _ = rustix::process::setrlimit(Resource::Core, limit);
    });
}

// What a stream has brought so far, and whether it has ended.
#[derive(Debug, Default)]
struct Collected {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Collected {
    fn reading(stream: Option<impl Read + Send + 'static>) -> Arc<Self> {
        let collected = Arc::new(Self::default());
        let shared = Arc::clone(&collected);
        std::thread::spawn(move || {
            let mut part = vec![0; 65536];
            if let Some(mut stream) = stream {
                while let Ok(length @ 1..) = stream.read(&mut part) {
                    shared.update(|state| state.0.extend_from_slice(&part[..length]));
                }
            }
            shared.update(|state| state.1 = true);
        });
        collected
    }

    fn update(&self, change: impl FnOnce(&mut (Vec<u8>, bool))) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn wait_until(&self, deadline: Instant, enough: impl Fn(&[u8], bool) -> bool) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if enough(&state.0, state.1) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // A stream that has ended brings nothing more.
            if left.is_zero() || state.1 {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

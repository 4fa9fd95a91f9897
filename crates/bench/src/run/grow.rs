//! A program that runs on all nodes of a cluster while the cluster grows from one node: how much faster each
//! machine that joins makes it. `grow.program` measures it, `banyan demo grow` shows it.
//!
//! The nodes are of this machine, and the replica of each is held to a part of a processor by a control
//! group; at home that is the program. Daemons are not: one that has spent its part would be a slow network.
//! Nobody tells the program, or the run, that a node has joined.
//!
//! Threads: one reads what the program prints, a line with the number of pieces of work done so far.

use super::outcome::{Measured, Outcome};
use super::processes::{self, RUN_VARIABLE};
use super::session::Session;
use crate::report::list_of;
use crate::row::{Detail, rounded};
use anyhow::{Context, bail};
use banyan_sys::control_group::ControlGroup;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What a node gets of a processor at a time: the least that the kernel gives, so that a node which has spent
/// it does not look like a slow network.
const QUOTA_MICROSECONDS: u64 = 1000;
/// Threads of the program for each node that there will be.
const THREADS_PER_NODE: u32 = 2;
/// How long the program has to notice a node that has joined before its speed counts.
pub const SETTLING: Duration = Duration::from_secs(3);
/// The program says how far it is more often than this.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many nodes there are at the end.
    pub nodes: u8,
    /// Hundredths of a processor that each node gets.
    pub hundredths: u32,
    /// How long the program's speed is measured for each number of nodes.
    pub measured: Duration,
    /// `examples/zoom`, or a program like it.
    pub program: PathBuf,
}

/// The program's speed over a short time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When, since the program began.
    pub at: Duration,
    /// How many nodes had joined.
    pub nodes: u8,
    /// Pieces of work a second.
    pub rate: f64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// Pieces of work a second on one node, on two, and so on.
    pub rates: Vec<f64>,
    /// The course of it.
    pub samples: Vec<Sample>,
    /// What the program printed last, which a native run that did as much printed, too.
    pub result: String,
}

impl Growth {
    /// The speed on this many nodes, relative to that many times the speed on one.
    #[must_use]
    pub fn efficiency(&self, nodes: u8) -> f64 {
        let rate = self.rates.get(usize::from(nodes.max(1)) - 1).copied().unwrap_or(f64::NAN);
        rate / (self.rates[0] * f64::from(nodes))
    }
}

/// An event of the measurement, for display.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// The number of nodes that have joined.
    Joined(u8),
    /// How fast the program is now.
    Speed(Sample),
    /// The program has ended; the same amount of work is done natively.
    Native,
}

/// Runs it. `observe` is called with each event.
///
/// # Errors
/// What could not be begun; that the program printed something else than the native run; that this machine
/// has no control groups for this user.
pub fn grow(plan: &Plan, observe: &mut dyn FnMut(Event)) -> anyhow::Result<Growth> {
    if let Some(reason) = banyan_sys::control_group::missing() {
        bail!("nodes cannot be held to a part of a processor: {reason}");
    }
    grow_in(&mut Session::new(None)?, plan, observe)
}

fn grow_in(session: &mut Session, plan: &Plan, observe: &mut dyn FnMut(Event)) -> anyhow::Result<Growth> {
    let mut cluster = Nodes::start(session, plan)?;
    let program = cluster.run(plan)?;
    observe(Event::Joined(1));
    let (mut rates, mut samples) = (Vec::new(), Vec::new());
    for nodes in 1..=plan.nodes {
        if nodes > 1 {
            cluster.join(plan)?;
            observe(Event::Joined(nodes));
        }
        let mut look = || cluster.hold_replicas();
        rates.push(program.measure(nodes, plan, &mut samples, observe, &mut look)?);
    }
    let result = program.end()?;
    observe(Event::Native);
    let native = natively(plan, &result)?;
    if native != result {
        bail!("the program printed {result:?}, and natively {native:?}");
    }
    Ok(Growth { rates, samples, result })
}

/// Nodes of one cluster on this machine, each with its part of a processor.
struct Nodes {
    directory: PathBuf,
    mark: String,
    groups: Vec<ControlGroup>,
    address: String,
    token: String,
}

fn own() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this binary does not know where it is")
}

impl Nodes {
    /// A cluster of one node.
    fn start(session: &mut Session, plan: &Plan) -> anyhow::Result<Self> {
        let (directory, mark) = (session.directory().to_owned(), session.next_run());
        let mut cluster =
            Self { directory, mark, groups: Vec::new(), address: String::new(), token: String::new() };
        let said = cluster.begin(plan, &["up".into(), "--listen".into(), "127.0.0.1:0".into()])?;
        let text =
            |name: &str| said[name].as_str().map(str::to_owned).context("no address in what `up` says");
        (cluster.address, cluster.token) = (text("address")?, text("token")?);
        Ok(cluster)
    }

    /// One more node joins.
    fn join(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let words = ["join", &self.address, &self.token, "--listen", "127.0.0.1:0"].map(str::to_owned);
        self.begin(plan, &words).map(drop)
    }

    fn state(&self, node: usize) -> PathBuf {
        self.directory.join(format!("node-{node}"))
    }

    fn begin(&mut self, plan: &Plan, words: &[String]) -> anyhow::Result<Value> {
        let node = self.groups.len();
        let period = QUOTA_MICROSECONDS * 100 / u64::from(plan.hundredths);
        let group = ControlGroup::new(&format!("{}-{node}", self.mark), QUOTA_MICROSECONDS, period)?;
        let mut command = Command::new(own()?);
        command.args(words).arg("--json").arg("--state").arg(self.state(node)).env(RUN_VARIABLE, &self.mark);
        self.groups.push(group);
        let output = command.output().context("starting a node")?;
        if !output.status.success() {
            bail!("a node did not start: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        serde_json::from_slice(&output.stdout).context("what the node says of itself")
    }

    /// Runs the program on all nodes, those to come included.
    fn run(&self, plan: &Plan) -> anyhow::Result<Program> {
        let mut command = Command::new(own()?);
        command.args(["run", "-n", "all", "--state"]).arg(self.state(0)).arg("--").arg(&plan.program);
        command.args(["0", &threads(plan).to_string()]).env(RUN_VARIABLE, &self.mark);
        let program = Program::start(command)?;
        self.groups[0].add(program.process())?;
        Ok(program)
    }

    /// Holds the replicas that there are by now to their part of a processor.
    fn hold_replicas(&self) -> anyhow::Result<()> {
        for (process, node) in processes::remote_replicas(&format!("{RUN_VARIABLE}={}", self.mark)) {
            if let Some(group) = self.groups.get(node).filter(|group| !group.holds(process)) {
                group.add(process)?;
            }
        }
        Ok(())
    }
}

fn threads(plan: &Plan) -> u32 {
    u32::from(plan.nodes) * THREADS_PER_NODE
}

/// Does as much work as `result` says without Banyan. Returns what the program printed last.
fn natively(plan: &Plan, result: &str) -> anyhow::Result<String> {
    let pieces = result.split(' ').next().unwrap_or_default();
    let mut command = Command::new(&plan.program);
    command.args([pieces, &threads(plan).to_string()]);
    let output = command.output().with_context(|| format!("running {}", plan.program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// The program while it runs. Dropped before its end, it is killed.
struct Program {
    child: Child,
    lines: Receiver<(Instant, String)>,
    begun: Instant,
}

impl Program {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the program")?;
        let output = BufReader::new(child.stdout.take().context("the program's output")?);
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if send.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, begun: Instant::now() })
    }

    /// The next line, and when it came; none if the program has ended.
    fn next(&self) -> anyhow::Result<Option<(Instant, String)>> {
        match self.lines.recv_timeout(SILENCE_MAX) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the program said nothing for {} s", SILENCE_MAX.as_secs())
            }
        }
    }

    fn process(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Measures its speed on this many nodes, once it has settled. `look` is called with each event.
    fn measure(
        &self,
        nodes: u8,
        plan: &Plan,
        samples: &mut Vec<Sample>,
        observe: &mut dyn FnMut(Event),
        look: &mut dyn FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<f64> {
        /// The window that a shown speed is averaged over.
        const SHOWN: Duration = Duration::from_millis(500);
        let (mut first, mut last) = (None, None);
        let begun = Instant::now();
        loop {
            let (at, line) = self.next()?.context("the program has ended too early")?;
            look()?;
            let done: f64 = line.parse().with_context(|| format!("the program printed {line:?}"))?;
            if let Some((before, had)) = last.filter(|(before, _): &(Instant, f64)| at - *before >= SHOWN) {
                let rate = (done - had) / (at - before).as_secs_f64();
                let sample = Sample { at: at - self.begun, nodes, rate };
                samples.push(sample);
                observe(Event::Speed(sample));
                last = Some((at, done));
            }
            last.get_or_insert((at, done));
            if at >= begun + SETTLING {
                let (since, had) = *first.get_or_insert((at, done));
                if at >= since + plan.measured {
                    return Ok((done - had) / (at - since).as_secs_f64());
                }
            }
        }
    }

    /// Ends it by the end of its input. Returns what it prints last.
    fn end(mut self) -> anyhow::Result<String> {
        drop(self.child.stdin.take());
        let mut result = String::new();
        while let Some((_, line)) = self.next()? {
            result = line;
        }
        let status = self.child.wait().context("waiting for the program")?;
        if !status.success() {
            bail!("the program ended with {status}");
        }
        Ok(result)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, where it is built: beside this binary.
///
/// # Errors
/// How to build it.
pub fn program() -> anyhow::Result<PathBuf> {
    let program = own()?.with_file_name("examples").join("zoom");
    if !program.is_file() {
        bail!(
            "{}: not found; it is the program that is spread. Build it: cargo build --release -p banyan-tests --examples",
            program.display()
        );
    }
    Ok(program)
}

/// The row `grow.program`.
pub(super) fn bench(session: &mut Session) -> anyhow::Result<Outcome> {
    /// What half as many nodes must reach.
    const BAR_OF_HALF: f64 = 0.93;
    if let Some(reason) = banyan_sys::control_group::missing() {
        return Ok(Outcome::Skipped(reason));
    }
    let program = match program() {
        Ok(program) => program,
        Err(reason) => return Ok(Outcome::Skipped(reason.to_string())),
    };
    let plan = Plan { nodes: 8, hundredths: 10, measured: Duration::from_secs(10), program };
    let growth = grow_in(session, &plan, &mut |_| {})?;
    let (whole, half) = (growth.efficiency(plan.nodes), growth.efficiency(plan.nodes / 2));
    let mut detail = Detail::new();
    detail.insert("pieces_a_second".into(), list_of(&growth.rates));
    detail.insert("efficiency_of_half".into(), json!(rounded(half)));
    detail.insert("hundredths_of_a_processor".into(), json!(plan.hundredths));
    Ok(Outcome::Measured(Measured {
        value: whole,
        unit: "x",
        ratio: whole,
        sound: half >= BAR_OF_HALF,
        detail,
    }))
}

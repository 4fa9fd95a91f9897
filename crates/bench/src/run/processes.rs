//! Running a program beside or under Banyan and finding out what it took.
//!
//! The bench makes itself the one to whom orphans fall, so a run's daemons, which are nobody's children on
//! purpose, become its children and are waited for: their CPU time is read when they have ended and before
//! they are reaped.

use anyhow::{Context, bail};
use banyan_node::REPLICA_NAME;
pub(crate) use banyan_node::RUN_VARIABLE;
use banyan_node::statistics::RunStatistics;
use procfs::process::{Process, Stat};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};
use rustix::thread::CpuSet;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long everything may take to end after the program has.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// What an OS process of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A node daemon.
    Daemon,
    /// A node's part of the program's address space and threads; at home, the program.
    Replica,
}

/// One OS process of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) process: i32,
    pub(crate) node: usize,
    pub(crate) role: Role,
}

/// Puts a process of the run where it belongs; called again for each while a run starts.
pub(crate) type Place<'a> = &'a mut dyn FnMut(&Member) -> anyhow::Result<()>;

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// Without Banyan.
    Nothing,
    /// On N local nodes, its threads over all of them.
    Nodes(u8),
    /// On as many of N local nodes as pays off.
    AsPays(u8),
}

impl On {
    pub(crate) fn nodes(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Nodes(nodes) | Self::AsPays(nodes) => nodes,
        }
    }

    /// The value of `--place` for `banyan run`.
    fn placement(self) -> &'static str {
        if matches!(self, Self::AsPays(_)) { "auto" } else { "spread" }
    }
}

/// What to run.
pub(crate) struct Launch<'a> {
    /// Program and arguments.
    pub(crate) words: Vec<String>,
    pub(crate) on: On,
    /// Processors that all of it is held to.
    pub(crate) processors: Option<CpuSet>,
    /// What the run's processes are marked with.
    pub(crate) run: String,
    /// Called for every process of the run as it appears.
    pub(crate) place: Option<Place<'a>>,
    /// It must have ended by then.
    pub(crate) deadline: Duration,
}

/// What a run took.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    /// Standard output.
    pub(crate) output: Vec<u8>,
    /// From start to end.
    pub(crate) wall_seconds: f64,
    /// User and system time of the program's own OS process.
    pub(crate) program_seconds: f64,
    /// The same of each daemon, in no order.
    pub(crate) daemon_seconds: Vec<f64>,
    /// What a run over several nodes says of itself.
    pub(crate) statistics: Option<RunStatistics>,
}

impl Finished {
    /// All CPU time of the run.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.program_seconds + self.daemon_seconds.iter().sum::<f64>()
    }

    /// The numbers that a program of the bench prints, as lines of a name and a value.
    pub(crate) fn numbers(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let text = String::from_utf8_lossy(&self.output);
        text.lines()
            .map(|line| {
                let (name, value) = line.split_once(' ').context("a line without a value")?;
                Ok((name.to_owned(), value.trim().parse::<f64>()?))
            })
            .collect::<anyhow::Result<_>>()
            .with_context(|| format!("the program of the bench printed {text:?}"))
    }
}

/// Becomes the parent of orphans.
pub(crate) fn adopt_orphans() -> anyhow::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("adopting orphans")
}

/// Runs it to its end.
pub(crate) fn run(launch: Launch<'_>) -> anyhow::Result<Finished> {
    let words = launch.words.join(" ");
    let name = match launch.on.nodes() {
        0 => format!("`{words}`"),
        nodes => format!("`{words}` on {nodes} nodes"),
    };
    Run::start(launch).and_then(Run::finish).with_context(|| name)
}

/// Has the machine's memory at hand. A virtual machine may have given free memory back to its host, and then
/// every page used anew takes many microseconds more, on whichever side happens to get it; memory just freed
/// is used first.
pub(crate) fn warm_memory(run: String, megabytes: usize) -> anyhow::Result<()> {
    self::run(Launch {
        words: ["/proc/self/exe", "bench-program", "first-touch", &megabytes.to_string()]
            .map(str::to_owned)
            .to_vec(),
        on: On::Nothing,
        processors: None,
        run,
        place: None,
        deadline: Duration::from_secs(120),
    })
    .map(drop)
}

/// A run that is going on. Nothing of it survives this value.
struct Run<'a> {
    launch: Launch<'a>,
    child: Child,
    started: Instant,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        kill_marked(&format!("{RUN_VARIABLE}={}", self.launch.run));
        let _ = self.child.kill();
        let _ = self.child.wait();
        let deadline = Instant::now() + END_DEADLINE;
        while let Some(orphan) = orphans(self.child.id()).first().copied()
            && Instant::now() < deadline
        {
            let _ = rustix::process::waitpid(Pid::from_raw(orphan), WaitOptions::NOHANG);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl<'a> Run<'a> {
    fn start(launch: Launch<'a>) -> anyhow::Result<Self> {
        let mut command = match launch.on.nodes() {
            0 => Command::new(&launch.words[0]),
            nodes => {
                let mut command = Command::new("/proc/self/exe");
                let placement = launch.on.placement();
                command.args(["run", "--local", "--place", placement, "-n", &nodes.to_string()]);
                if nodes > 1 {
                    command.arg("--stats=json");
                }
                command.args(["--", &launch.words[0]]);
                command
            }
        };
        command.args(&launch.words[1..]).env(RUN_VARIABLE, &launch.run);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let child = spawn_on(command, launch.processors.as_ref()).context("starting it")?;
        Ok(Self { launch, child, started })
    }

    fn finish(mut self) -> anyhow::Result<Finished> {
        let deadline = self.started + self.launch.deadline;
        let output = read_all(self.child.stdout.take());
        let complaints = read_all(self.child.stderr.take());
        let own = self.child.id() as i32;
        let mut placed = Placed::default();
        let ended = |process: i32| -> anyhow::Result<bool> {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let process = Pid::from_raw(process).context("a process without a number")?;
            Ok(rustix::process::waitid(WaitId::Pid(process), options)?.is_some())
        };
        while !ended(own)? {
            self.place(own, &mut placed)?;
            if Instant::now() > deadline {
                bail!("not finished after {} s", self.launch.deadline.as_secs());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.check_places(&placed)?;
        let mut finished =
            Finished { wall_seconds: self.started.elapsed().as_secs_f64(), ..Finished::default() };
        finished.program_seconds = cpu_seconds(own)?;
        let status = self.child.wait()?;
        let end = Instant::now() + END_DEADLINE;
        loop {
            let daemons = orphans(self.child.id());
            if daemons.is_empty() {
                break;
            }
            for daemon in daemons {
                if ended(daemon)? {
                    finished.daemon_seconds.push(cpu_seconds(daemon)?);
                    let _ = rustix::process::waitpid(Pid::from_raw(daemon), WaitOptions::empty());
                }
            }
            if Instant::now() > end {
                bail!("a node daemon did not end with its program");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        finished.output = output.join().unwrap_or_default();
        let complaints = complaints.join().unwrap_or_default();
        let complaints = String::from_utf8_lossy(&complaints);
        if !status.success() {
            let last: String = complaints.lines().rev().take(3).collect::<Vec<_>>().join("; ");
            bail!("ended with {status}: {last}");
        }
        finished.statistics = complaints.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        Ok(finished)
    }

    /// Puts every process of the run where it belongs, as it appears. Each twice, since a thread may have
    /// started another while its process was being moved.
    fn place(&mut self, own: i32, placed: &mut Placed) -> anyhow::Result<()> {
        let nodes = usize::from(self.launch.on.nodes());
        let Some(place) = self.launch.place.as_mut().filter(|_| placed.complete < 2) else { return Ok(()) };
        let members = members(&format!("{RUN_VARIABLE}={}", self.launch.run), own);
        for member in &members {
            if let Err(error) = place(member)
                && stat(member.process).is_some_and(|stat| stat.state != 'Z')
            {
                return Err(error);
            }
        }
        placed.replicas = members.iter().filter(|member| member.role == Role::Replica).count();
        placed.complete += usize::from(members.len() == 2 * nodes && placed.replicas == nodes);
        Ok(())
    }

    /// A figure of a run that was not held where it should be is worse than none.
    fn check_places(&self, placed: &Placed) -> anyhow::Result<()> {
        match self.launch.on {
            On::Nodes(nodes) if self.launch.place.is_some() && placed.complete == 0 => {
                bail!("{} of {nodes} nodes came up and could be placed", placed.replicas)
            }
            _ => Ok(()),
        }
    }
}

/// Which processes of a run are where they belong.
#[derive(Debug, Default)]
struct Placed {
    /// Replicas that have been seen.
    replicas: usize,
    /// How often all of them were placed.
    complete: usize,
}

/// Starts a command held to some processors: a child inherits those of the thread that starts it.
fn spawn_on(mut command: Command, processors: Option<&CpuSet>) -> anyhow::Result<Child> {
    let Some(processors) = processors else { return Ok(command.spawn()?) };
    std::thread::scope(|scope| {
        let spawned = scope.spawn(|| -> anyhow::Result<Child> {
            rustix::thread::sched_setaffinity(None, processors)?;
            Ok(command.spawn()?)
        });
        spawned.join().map_err(|_| anyhow::anyhow!("the thread that starts it panicked"))?
    })
}

/// Holds every thread of a process to some processors.
pub(crate) fn hold(process: i32, processors: &CpuSet) {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return };
    for task in tasks.flatten() {
        let thread = task.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if thread.is_some() {
            // A thread that has just ended needs no processor.
            let _ = rustix::thread::sched_setaffinity(thread, processors);
        }
    }
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// What the kernel counts of a process.
fn stat(process: i32) -> Option<Stat> {
    Process::new(process).and_then(|process| process.stat()).ok()
}

/// User and system time of a process and of the children that it has waited for.
fn cpu_seconds(process: i32) -> anyhow::Result<f64> {
    let stat = stat(process).with_context(|| format!("process {process} is gone"))?;
    let ticks = (stat.utime + stat.stime).cast_signed() + stat.cutime + stat.cstime;
    Ok(ticks as f64 / procfs::ticks_per_second() as f64)
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Children of the bench that it has not started itself: the daemons of the run. The guard and the raw TCP
/// server are in process groups of their own; a daemon too, but it leads a session.
fn orphans(child: u32) -> Vec<i32> {
    let own = std::process::id() as i32;
    let own_session = rustix::process::getsid(None).map_or(0, |session| session.as_raw_nonzero().get());
    let is_orphan = |process: &i32| {
        stat(*process)
            .is_some_and(|stat| stat.ppid == own && stat.session != own_session && *process != child as i32)
    };
    processes().into_iter().filter(is_orphan).collect()
}

fn is_marked(process: i32, mark: &str) -> bool {
    let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|word| word.starts_with(mark.as_bytes()))
}

/// The daemons and replicas of a run whose home replica is `home`. All started after it; looking at others
/// would cost more than a run should be disturbed by.
fn members(mark: &str, home: i32) -> Vec<Member> {
    let marked: Vec<i32> =
        processes().into_iter().filter(|process| *process >= home && is_marked(*process, mark)).collect();
    let daemons: BTreeMap<i32, usize> =
        marked.iter().filter_map(|process| Some((*process, daemon_node(*process)?))).collect();
    let replica = |process: &i32| {
        // Until the stub has taken over, the process is still the launcher or the daemon that started it. The
        // file of the process is the program's at home.
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
        let stub = format!("{:x}-", banyan_wire::address_space::STUB.start);
        if !maps.lines().any(|line| line.starts_with(&stub)) {
            return None;
        }
        let node = if *process == home { 0 } else { *daemons.get(&stat(*process)?.ppid)? };
        Some(Member { process: *process, node, role: Role::Replica })
    };
    let replicas = marked.iter().filter_map(replica);
    let daemons =
        daemons.iter().map(|(process, node)| Member { process: *process, node: *node, role: Role::Daemon });
    daemons.chain(replicas).collect()
}

/// The replicas of nodes elsewhere of a run with this mark, each with its node.
pub(super) fn remote_replicas(mark: &str) -> Vec<(i32, usize)> {
    let node = |process: i32| {
        let line = fs::read_to_string(format!("/proc/{process}/cmdline")).ok()?;
        let number = line.strip_prefix(REPLICA_NAME)?.split('\0').next()?.parse().ok()?;
        is_marked(process, mark).then_some((process, number))
    };
    processes().into_iter().filter_map(node).collect()
}

/// The node that a process is the daemon of.
fn daemon_node(process: i32) -> Option<usize> {
    let line = fs::read(format!("/proc/{process}/cmdline")).ok()?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    (words.get(1..3) == Some(&[b"node".as_slice(), b"run"])).then_some(())?;
    let number = words.iter().find_map(|word| word.strip_prefix(b"--node="))?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Kills every process whose environment has a word that begins like this.
pub(crate) fn kill_marked(mark: &str) -> usize {
    let own = std::process::id() as i32;
    let marked = processes().into_iter().filter(|process| *process != own && is_marked(*process, mark));
    marked
        .filter_map(Pid::from_raw)
        .map(|process| {
            let _ = rustix::process::kill_process(process, Signal::KILL);
        })
        .count()
}

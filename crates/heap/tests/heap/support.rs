//! Processes of a test, and where its heaps are.

use banyan_heap::{Heap, Options};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a process does, with its words; it says things by [`say`] and hears by [`hear`].
pub(crate) type Role = fn(&Heap, &[String]);

/// Longest wait of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory for one test's heaps.
pub(crate) struct Place(tempfile::TempDir, #[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

/// One test at a time has heaps in this process: each process that makes a heap takes addresses that are free
/// there, and another test could have its own heap at just these.
static ADDRESSES: Mutex<()> = Mutex::new(());

impl Place {
    pub(crate) fn new() -> Self {
        let alone = ADDRESSES.lock().unwrap_or_else(PoisonError::into_inner);
        Self(tempfile::Builder::new().prefix("banyan-heap-test").tempdir_in("/dev/shm").unwrap(), alone)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn options(&self) -> Options {
        Options::new().size(64 << 20).directory(self.path())
    }

    pub(crate) fn open(&self) -> Heap {
        Heap::open("test", &self.options()).unwrap()
    }

    /// Starts a process that has the heap `test` open.
    pub(crate) fn start(&self, role: &str, words: &[&str]) -> Process {
        self.start_with(role, words, |command| command)
    }

    /// Starts one that dies at a place in the library, see `death`.
    pub(crate) fn start_dying(&self, role: &str, words: &[&str], at: &str) -> Process {
        self.start_with(role, words, |command| command.env("BANYAN_HEAP_DIE_AT", at))
    }

    pub(crate) fn start_with(
        &self,
        role: &str,
        words: &[&str],
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "process_of_a_test", "--nocapture"])
            .env("BANYAN_HEAP_TEST_ROLE", role)
            .env("BANYAN_HEAP_TEST_WORDS", words.join(" "))
            .env("BANYAN_HEAP_TEST_PLACE", self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = change(&mut command).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The test harness writes its own in between, also at the start of a line.
                if let Some((_, said)) = line.split_once("say: ")
                    && send.send(said.to_owned()).is_err()
                {
                    break;
                }
            }
        });
        let input = child.stdin.take();
        Process { child, input, lines }
    }
}

/// A process of a test; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it says next.
    #[track_caller]
    pub(crate) fn said(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the process says something")
    }

    /// Waits for it to say `what`.
    #[track_caller]
    pub(crate) fn says(&self, what: &str) {
        assert_eq!(self.said(), what);
    }

    /// Whether it has said nothing for a while.
    pub(crate) fn is_silent(&self, time: Duration) -> bool {
        self.lines.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
    }

    /// Says a line to it.
    pub(crate) fn tell(&mut self, what: &str) {
        writeln!(self.input.as_mut().unwrap(), "{what}").unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[track_caller]
    pub(crate) fn ends(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the process ends");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[track_caller]
    pub(crate) fn ends_well(&mut self) {
        let status = self.ends();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// In a process: says a line to its test.
pub(crate) fn say(what: &str) {
    println!("say: {what}");
    std::io::stdout().flush().unwrap();
}

/// In a process: what its test says next; empty if that is gone.
pub(crate) fn hear() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// Runs the role that the environment names, if any.
pub(crate) fn run_role(roles: &[(&str, Role)]) {
    let Ok(role) = std::env::var("BANYAN_HEAP_TEST_ROLE") else { return };
    crate::raw::end_after(120);
    let place = std::env::var("BANYAN_HEAP_TEST_PLACE").unwrap();
    let words = std::env::var("BANYAN_HEAP_TEST_WORDS").unwrap();
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let (_, role) = roles.iter().find(|(name, _)| *name == role).unwrap();
    match Heap::open("test", &Options::new().directory(Path::new(&place))) {
        Ok(heap) => role(&heap, &words),
        Err(error) => say(&format!("error: {error}")),
    }
}

/// Waits until `is_so`, within the deadline of a test.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

//! A test that starts itself as another process, which is killed at some instant or at a named point.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use banyan_actors::KillPoint;

/// Where the process of this program is to kill itself: what [`Process::start`] was given.
pub(crate) fn point_from_environment() -> Option<KillPoint> {
    std::env::var("BANYAN_TEST_KILL").ok().map(|text| {
        let (point, occurrence) = text.split_once(':').unwrap();
        KillPoint { point: point.to_owned(), occurrence: occurrence.parse().unwrap() }
    })
}

/// Another process of this test program, which answers in lines.
pub(crate) struct Process {
    pub(crate) child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts one test with these variables; it kills itself at a named point, if one is given.
    pub(crate) fn start(test: &str, variables: &[(&str, &str)], kill: Option<&str>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).envs(variables.iter().copied());
        if let Some(kill) = kill {
            command.env("BANYAN_TEST_KILL", kill);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    /// The next line that begins so; `None` if the process has ended.
    pub(crate) fn line(&mut self, begins: &str) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            // The test harness writes on the same line, before ours.
            if let Some(place) = line.find(begins) {
                return line.ends_with('\n').then(|| line[place + begins.len()..].trim().to_owned());
            }
            line.clear();
        }
        None
    }

    /// Whether the words reached it, or it had ended.
    pub(crate) fn say(&mut self, words: &str) -> bool {
        self.input.write_all(words.as_bytes()).is_ok()
    }

    /// Kills it, unless it ends at a named point within `patience`; returns whether it did.
    pub(crate) fn end(mut self, patience: Duration) -> bool {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_micros(200));
        }
        let by_itself = self.child.try_wait().unwrap().is_some();
        // It may have ended just now.
        let _ = self.child.kill();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it failed by itself: {status}");
        by_itself
    }
}

/// A generator with its state in one word.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

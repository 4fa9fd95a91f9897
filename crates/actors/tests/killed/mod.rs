//! A test that starts itself as another process, which is killed at some instant or at a named point; and
//! [`Campaign`], many such rounds over one store.
#![allow(dead_code, reason = "each test program uses a part of it")]

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

/// A durable program that is killed again and again. It answers to numbered orders, one a line:
///
/// - `STATE seen found` first of all: how far orders were taken, and what there is to be found after that
///   many;
/// - `SEEN seen` after each `batch` orders.
pub(crate) struct Campaign<'a> {
    /// The test that is the program.
    pub(crate) program: &'a str,
    /// What it finds in its environment.
    pub(crate) variables: &'a [(&'a str, &'a str)],
    /// In turns with an instant at random.
    pub(crate) points: &'a [&'a str],
    pub(crate) batch: u64,
    pub(crate) rounds: u64,
    /// Of a round, on average: a machine that is busier gets fewer rounds.
    pub(crate) patience: Duration,
}

/// What a campaign came to.
pub(crate) struct Killed {
    pub(crate) orders: u64,
    pub(crate) rounds: u64,
    pub(crate) at_points: u64,
}

/// `BANYAN_KILL_ROUNDS`, if that is set.
pub(crate) fn rounds(usual: u64) -> u64 {
    std::env::var("BANYAN_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

impl Campaign<'_> {
    /// Kills it in each round. `order` is the line of a number, always the same; `model` says what is to be
    /// found after a number of orders, which never are fewer than before.
    pub(crate) fn run(&self, order: impl Fn(u64) -> String, mut model: impl FnMut(u64) -> String) -> Killed {
        let begun = Instant::now();
        let mut random = Random(1);
        let (mut sent, mut acknowledged, mut done, mut at_points) = (0, 0, self.rounds, 0);
        for round in 0..self.rounds {
            if begun.elapsed() > self.patience.saturating_mul(self.rounds as u32) {
                println!("stopped after {round} rounds");
                done = round;
                break;
            }
            let point = self.points.get(round as usize % (self.points.len() + 1));
            let kill = point.map(|point| format!("{point}:{}", 1 + random.below(4)));
            let mut process = Process::start(self.program, self.variables, kill.as_deref());
            // A named point may be reached before the first answer.
            if let Some(state) = process.line("STATE ") {
                let (seen, found) = state.split_once(' ').unwrap();
                let seen: u64 = seen.parse().unwrap();
                assert!((acknowledged..=sent).contains(&seen), "round {round}: {acknowledged} {seen} {sent}");
                assert_eq!(found, model(seen), "round {round}, {seen} orders, {kill:?}");
                acknowledged = seen;
                let mut next = seen;
                for _ in 0..1 + random.below(3) {
                    let end = next + self.batch - next % self.batch;
                    let lines: Vec<String> = (next + 1..=end).map(|number| order(number) + "\n").collect();
                    (next, sent) = (end, sent.max(end));
                    if !process.say(&lines.concat()) {
                        break;
                    }
                    if random.below(2) == 0 {
                        match process.line("SEEN ") {
                            Some(seen) => acknowledged = seen.parse().unwrap(),
                            None => break,
                        }
                    }
                }
                if kill.is_none() {
                    std::thread::sleep(Duration::from_micros(random.below(3000)));
                }
            }
            // It is given the time to get to a named point: more on a machine where few do.
            let patience = match kill {
                Some(_) if at_points < round / 4 => Duration::from_millis(200),
                Some(_) => Duration::from_millis(20),
                None => Duration::ZERO,
            };
            at_points += u64::from(process.end(patience));
        }
        println!("{done} rounds, {at_points} ended at a named point, {sent} orders");
        assert!(done >= self.rounds.min(50), "only {done} rounds");
        assert!(at_points > done / 8, "only {at_points} died at a named point");
        Killed { orders: acknowledged, rounds: done, at_points }
    }
}

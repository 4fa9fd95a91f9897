//! A case: one program and all that surrounds it, to be run natively and under Banyan.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::launch::End;

/// Where Banyan puts threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On every node in turn.
    Spread,
    /// On the home node while it has room.
    Pack,
    /// On the home node until more nodes pay.
    Auto,
}

impl Place {
    /// As the command line spells it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Pack => "pack",
            Self::Auto => "auto",
        }
    }
}

/// What is run.
#[derive(Debug, Clone)]
pub enum Program {
    /// A program with arguments; under Banyan it comes after `banyan run ... --`.
    Direct(PathBuf, Vec<OsString>),
    /// A shell script in which `$RUN` stands before the program: empty natively, `banyan run ... --` else.
    Script(String),
}

/// One program and what surrounds it.
#[derive(Debug, Clone)]
pub struct Case {
    /// For reports.
    pub name: String,
    /// What is run.
    pub program: Program,
    /// Variables beside the usual few.
    pub environment: Vec<(String, String)>,
    /// Files that lie in the working directory before.
    pub files: Vec<(String, Vec<u8>)>,
    /// The file of those that is its standard input, or nothing.
    pub stdin: Option<String>,
    /// How long one run may take.
    pub deadline: Duration,
    /// Whether threads must have executed on every node.
    pub every_node: bool,
    /// Where threads go.
    pub place: Place,
    /// How often a random thread is moved, where there are nodes to move to; and how many moves there must
    /// have been on each number of them.
    pub moving: Option<(String, u64)>,
    /// Further options for `banyan run`.
    pub options: Vec<&'static str>,
    /// Whether stderr must be the same too.
    pub same_stderr: bool,
    /// Whether stdout must end in the line `ok`, natively.
    pub says_ok: bool,
    /// How it must end, natively.
    pub end: End,
    /// The signal to send to it when it has printed `ready`.
    pub signal_when_ready: Option<i32>,
    /// Takes out of stdout what differs from run to run.
    pub normalise: fn(&[u8]) -> Vec<u8>,
}

const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);

impl Case {
    /// A program with its arguments.
    #[must_use]
    pub fn new<A: Into<OsString>>(program: impl AsRef<Path>, arguments: impl IntoIterator<Item = A>) -> Self {
        let program = program.as_ref().to_path_buf();
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let mut name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        for argument in arguments.iter().take(4) {
            name = format!("{name} {}", argument.to_string_lossy());
        }
        Self::with(name, Program::Direct(program, arguments))
    }

    /// A shell script that runs the program under test as `$RUN PROGRAM ...`.
    #[must_use]
    pub fn script(script: &str) -> Self {
        Self::with(format!("sh -c '{script}'"), Program::Script(script.to_owned()))
    }

    fn with(name: String, program: Program) -> Self {
        Self {
            name,
            program,
            environment: Vec::new(),
            files: Vec::new(),
            stdin: None,
            deadline: DEFAULT_DEADLINE,
            every_node: false,
            place: Place::Spread,
            moving: None,
            options: Vec::new(),
            same_stderr: true,
            says_ok: false,
            end: End::Status(0),
            signal_when_ready: None,
            normalise: <[u8]>::to_vec,
        }
    }

    /// A name for reports.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file that lies in its working directory before.
    #[must_use]
    pub fn file(mut self, name: &str, contents: Vec<u8>) -> Self {
        self.files.push((name.to_owned(), contents));
        self
    }

    /// Its standard input is this file of the working directory.
    #[must_use]
    pub fn stdin(mut self, name: &str) -> Self {
        self.stdin = Some(name.to_owned());
        self
    }

    /// How long one run may take.
    #[must_use]
    pub fn deadline(mut self, seconds: u64) -> Self {
        self.deadline = Duration::from_secs(seconds);
        self
    }

    /// Threads must have executed on every node.
    #[must_use]
    pub fn on_every_node(mut self) -> Self {
        self.every_node = true;
        self
    }

    /// Where threads go.
    #[must_use]
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Moves a random thread as often as this, at least this many times in a run.
    #[must_use]
    pub fn moving(mut self, every: &str, times: u64) -> Self {
        self.moving = Some((every.to_owned(), times));
        self
    }

    /// An option of `banyan run`.
    #[must_use]
    pub fn option(mut self, option: &'static str) -> Self {
        self.options.push(option);
        self
    }

    /// How it must end, natively and so everywhere.
    #[must_use]
    pub fn ends(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// It is one of the programs that check themselves and end with the line `ok`.
    #[must_use]
    pub fn says_ok(mut self) -> Self {
        self.says_ok = true;
        self
    }

    /// Its messages differ from run to run.
    #[must_use]
    pub fn any_stderr(mut self) -> Self {
        self.same_stderr = false;
        self
    }

    /// It gets this signal when it has printed `ready`.
    #[must_use]
    pub fn signal_when_ready(mut self, signal: i32) -> Self {
        self.signal_when_ready = Some(signal);
        self
    }

    /// Takes out of stdout what differs from run to run.
    #[must_use]
    pub fn normalise(mut self, normalise: fn(&[u8]) -> Vec<u8>) -> Self {
        self.normalise = normalise;
        self
    }
}

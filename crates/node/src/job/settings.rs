//! What a job is, as the process says that asks its node for it.

use super::loader;
use super::replica::RUN_VARIABLE;
use crate::observe::page::address::PageOffer;
use banyan_core::placement::{self, Policy};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a program's words that people see.
const WORDS_MAX: usize = 4096;

/// How threads are distributed over nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// At home at first, and on other nodes as soon as, and as long as, that pays.
    Auto,
    /// One node after the other.
    Spread,
    /// A node gets as many threads as it has processors before the next one gets any.
    Pack,
}

/// The nodes that a run wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nodes {
    /// This many, its home included.
    Exactly(u8),
    /// All that are there, and those that join later.
    All,
    /// Its home, and the machines of the cluster with these names or ids.
    Named(Vec<String>),
}

/// What the programs are that children of the program execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Children {
    /// Processes of the home machine, as without Banyan.
    Native,
    /// Runs like that of the program, each with memory and threads of its own.
    Followed,
}

/// What to print at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Summary {
    /// Nothing.
    None,
    /// A table for a person.
    Table,
    /// One JSON object on one line.
    Json,
}

/// What a run is.
#[derive(Clone, Debug)]
pub struct Run {
    /// Program and arguments.
    pub words: Vec<OsString>,
    /// Nodes to run on.
    pub nodes: Nodes,
    /// The socket of the node to begin on. Without one, nodes are started for the run.
    pub node: Option<PathBuf>,
    /// What nodes that are started for the run show of it; a node that is up has a page of its own, or none.
    pub page: Option<Arc<PageOffer>>,
    /// Where threads go.
    pub placement: Placement,
    /// How often a random thread is moved to a random other node, to see that the program does not notice.
    pub move_every: Option<Duration>,
    /// What its children execute.
    pub children: Children,
    /// What to print at the end.
    pub summary: Summary,
    /// What the program is called by, if that is not its first word, which is its path then.
    pub zeroth: Option<OsString>,
    /// By which the run's page faults can be served if this process may not ask the kernel: a program that
    /// executes another one had that right before it gave it up.
    pub fault_device: Option<Arc<OwnedFd>>,
    /// The program's file, if a descriptor stood for it and not a path: execveat(2).
    pub file: Option<Arc<OwnedFd>>,
}

/// A program to run, and over how many nodes. Words are bytes: the kernel knows no encoding.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JobSettings {
    /// The program's file, as it was found; a relative path starts at `directory`.
    pub(crate) path: Vec<u8>,
    /// Arguments, the zeroth included.
    pub(crate) arguments: Vec<Vec<u8>>,
    /// `KEY=VALUE` words.
    pub(crate) environment: Vec<Vec<u8>>,
    /// The caller's working directory.
    pub(crate) directory: Vec<u8>,
    /// The caller's limit on the size of a stack, in bytes.
    pub(crate) stack_limit: Option<u64>,
    /// Nodes to run on.
    pub(crate) nodes: Nodes,
    /// Where threads go.
    pub(crate) placement: Placement,
    /// How long a thread stays on a node before a random one is moved to a random other node.
    pub(crate) move_every: Option<Duration>,
    /// What the program's children execute.
    pub(crate) children: Children,
    /// What to print at the end.
    pub(crate) summary: Summary,
    /// The socket of the node to begin on, if it is none that was started for the run.
    #[serde(default)]
    pub(crate) node: Option<Vec<u8>>,
}

fn word(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

impl JobSettings {
    /// The program's command.
    pub(crate) fn command(&self) -> loader::Command {
        loader::Command {
            path: PathBuf::from(word(&self.path)),
            arguments: self.arguments.iter().map(|bytes| word(bytes)).collect(),
        }
    }

    /// The program's words, for people.
    pub(crate) fn words(&self) -> String {
        let words = self.arguments.iter().map(|bytes| String::from_utf8_lossy(bytes));
        let mut words = words.collect::<Vec<_>>().join(" ");
        words.truncate(words.floor_char_boundary(WORDS_MAX));
        words
    }

    /// What the program gets from its caller beside its command.
    pub(crate) fn surroundings(&self) -> loader::Surroundings {
        loader::Surroundings {
            environment: self.environment.iter().map(|bytes| word(bytes)).collect(),
            directory: PathBuf::from(word(&self.directory)),
            stack_limit: self.stack_limit,
        }
    }

    /// What the kernel would call the program's process: 15 bytes of its file's name.
    pub(crate) fn name(&self) -> [u8; 16] {
        let file = self.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().take(15).zip(file) {
            *to = *from;
        }
        name
    }

    /// The word of the environment that marks the processes of a run, if there is one.
    pub(crate) fn mark(&self) -> Option<String> {
        let is_mark = |word: &&Vec<u8>| {
            word.strip_prefix(RUN_VARIABLE.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
        };
        let word = self.environment.iter().find(is_mark)?;
        String::from_utf8(word.clone()).ok()
    }

    /// Where the threads of the program go, when its first one starts at home.
    pub(crate) fn placement(&self, nodes: u8) -> placement::Placement {
        let policy = match self.placement {
            Placement::Auto => Policy::Auto,
            Placement::Spread => Policy::Spread,
            Placement::Pack => {
                Policy::Pack(std::thread::available_parallelism().map_or(1, usize::from) as u32)
            }
        };
        placement::Placement::new(policy, nodes)
    }

    /// A job for tests and fuzzers.
    pub(crate) fn example() -> Self {
        Self {
            path: b"/bin/true".to_vec(),
            arguments: vec![b"true".to_vec()],
            environment: Vec::new(),
            directory: b"/".to_vec(),
            stack_limit: None,
            nodes: Nodes::Exactly(1),
            placement: Placement::Spread,
            move_every: None,
            children: Children::Native,
            summary: Summary::None,
            node: None,
        }
    }
}

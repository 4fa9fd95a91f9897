//! `banyan run`: becomes the program.

use banyan_node::launch::{self, Run};
use banyan_node::{Placement, Summary};
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Exit status: the program's own, or what a shell shows for the signal that ended it.
  125  Banyan failed; the reason is on standard error
  126  the program cannot be executed
  127  the program was not found

Examples:
  banyan run -n 3 -- pigz -p 8 -k -c FILE > FILE.gz
  cat FILE | banyan run -n 2 -- sha256sum
  banyan run -n 3 --stats -- PROGRAM ARGUMENTS...";

/// Arguments of `banyan run`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RunArguments {
    /// Nodes to run on; without --socket, each is a daemon started on this machine for the length of the run
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    nodes: u8,
    /// The socket of a node to begin on, as `banyan node run` has put it; BANYAN_SOCKET says it too
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// On which node a new thread starts
    #[arg(long, value_enum, default_value_t = Place::Spread)]
    place: Place,
    /// At the end, say on standard error what ran where and what it cost
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "table")]
    stats: Option<Stats>,
    /// The program and its arguments; a word without a slash is looked up in PATH
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Place {
    /// On the next node, in turn
    Spread,
    /// On the same node until it has as many threads as processors, then on the next
    Pack,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Stats {
    /// A table for people
    Table,
    /// One JSON object on one line, the last of standard error
    Json,
}

/// Runs the program. Returns, with an exit status, only if it could not be started.
pub(crate) fn run(arguments: &RunArguments) -> u8 {
    let error = launch::run(&Run {
        words: arguments.program.clone(),
        nodes: arguments.nodes,
        node: arguments.socket.clone().or_else(|| std::env::var_os("BANYAN_SOCKET").map(PathBuf::from)),
        placement: match arguments.place {
            Place::Spread => Placement::Spread,
            Place::Pack => Placement::Pack,
        },
        summary: match arguments.stats {
            None => Summary::None,
            Some(Stats::Table) => Summary::Table,
            Some(Stats::Json) => Summary::Json,
        },
    });
    eprintln!("banyan: {error}");
    error.status()
}

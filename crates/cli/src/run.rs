//! `banyan run`: becomes the program.

use banyan_node::launch::{self, Placement, Run, Summary};
use clap::{Args, ValueEnum};
use std::ffi::OsString;

/// Arguments of `banyan run`.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Nodes to run on; with no cluster up, that many node daemons are started on this machine for the run
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    nodes: u8,
    /// How new threads are distributed
    #[arg(long, value_enum, default_value_t = Place::Spread)]
    place: Place,
    /// Print one summary to standard error at the end
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "table")]
    stats: Option<Stats>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Place {
    /// One node after the other
    Spread,
    /// Fill a node's processors before using the next node
    Pack,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Stats {
    /// A table
    Table,
    /// One JSON object on one line
    Json,
}

/// Runs the program. Returns, with an exit status, only if it could not be started.
pub(crate) fn run(arguments: &RunArguments) -> u8 {
    let error = launch::run(&Run {
        words: arguments.program.clone(),
        nodes: arguments.nodes,
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

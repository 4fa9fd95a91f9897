//! `banyan arena`: looks at arenas, checks them and copies them. The work is done by `banyan_arena::inspect`;
//! here it is parsed and printed.

mod change;
mod info;
mod place;
mod progress;
mod text;
mod verify;

use clap::{Args, Subcommand};
use place::PlaceArguments;
use std::path::PathBuf;

/// Commands about arenas, files that hold a persistent heap
#[derive(Debug, Subcommand)]
pub(crate) enum ArenaCommand {
    /// Make an empty arena
    Create(CreateArguments),
    /// Say what an arena is and holds
    Info(ReadArguments),
    /// Read every page of an arena and check it; names the first bad bytes
    #[command(
        after_help = "Exit status: 0 if all is well, 1 if bytes are damaged, 125 if it could not be checked."
    )]
    Verify(ReadArguments),
    /// List the snapshots that an arena retains, oldest first
    Snapshots(ReadArguments),
    /// List the pages that differ between two snapshots
    Diff {
        #[command(flatten)]
        arena: ReadArguments,
        /// The older snapshot
        #[arg(value_name = "OLD")]
        old: String,
        /// The newer one
        #[arg(value_name = "NEW")]
        new: String,
    },
    /// Copy the last commit of an arena, or a snapshot, into a file
    Export {
        /// The arena
        #[arg(value_name = "ARENA")]
        path: PathBuf,
        /// The file to make
        #[arg(value_name = "FILE")]
        output: PathBuf,
        /// Copy this snapshot
        #[arg(long, value_name = "NAME", conflicts_with = "jam")]
        snapshot: Option<String>,
        /// Write the noun of this root, jammed, and nothing else: it can go into an arena at another address
        #[arg(long, value_name = "ROOT")]
        jam: Option<String>,
    },
    /// Make an arena of what `export` wrote
    Import {
        /// The file that `export` wrote
        #[arg(value_name = "FILE")]
        input: PathBuf,
        /// The arena to make
        #[arg(value_name = "ARENA")]
        path: PathBuf,
        /// The file is a jammed noun: put it under this root of a new arena, or of one that is there
        #[arg(long, value_name = "ROOT")]
        cue: Option<String>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Free the nouns that no root leads to
    Gc(ReadArguments),
    /// Give the room that an arena's file does not need back to the file system
    #[command(
        after_help = "Works in place, and needs the arena for itself. Whatever ends it, a crash too, leaves an \
                      arena with the same content."
    )]
    Compact(ReadArguments),
}

/// An arena, and how to print what is found.
#[derive(Debug, Args)]
pub(crate) struct ReadArguments {
    /// The arena
    #[arg(value_name = "ARENA")]
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// The file to make
    #[arg(value_name = "ARENA")]
    path: PathBuf,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Carries out a command. Returns the exit status.
pub(crate) fn arena(command: &ArenaCommand) -> anyhow::Result<u8> {
    match command {
        ArenaCommand::Create(arguments) => change::create(arguments),
        ArenaCommand::Info(arguments) => info::info(arguments),
        ArenaCommand::Verify(arguments) => verify::verify(arguments),
        ArenaCommand::Snapshots(arguments) => info::snapshots(arguments),
        ArenaCommand::Diff { old, new, arena } => info::diff(arena, old, new),
        ArenaCommand::Export { path, output, snapshot, jam } => {
            change::export(path, output, snapshot.as_deref(), jam.as_deref())
        }
        ArenaCommand::Import { input, path, cue, place } => {
            change::import(input, path, cue.as_deref(), *place)
        }
        ArenaCommand::Gc(arguments) => change::gc(arguments),
        ArenaCommand::Compact(arguments) => change::compact(arguments),
    }
}

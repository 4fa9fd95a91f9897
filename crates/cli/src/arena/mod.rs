//! `banyan arena`: looks at arenas, checks them and copies them. The work is done by `banyan_arena::inspect`;
//! here it is parsed and printed.

mod change;
mod dump;
mod info;
mod place;
mod progress;
mod text;
mod verify;

use banyan_arena::inspect::Export;
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
    /// Print what a name holds: a collection, or a root with a noun
    Dump {
        #[command(flatten)]
        arena: ReadArguments,
        /// The name of a collection or of a root
        #[arg(value_name = "NAME")]
        name: String,
        /// What it held in this snapshot
        #[arg(long, value_name = "NAME")]
        snapshot: Option<String>,
        /// Print at most this many entries, or atoms
        #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
        limit: u64,
    },
    /// Copy the last commit of an arena, or a snapshot, into a file
    #[command(
        visible_alias = "backup",
        after_help = "The arena may be in use: what its writer changes meanwhile is copied again. The file gets its name \
                      once it is whole."
    )]
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
        /// Copy only what changed since this snapshot, or since the commit of this number
        #[arg(long, value_name = "COMMIT", conflicts_with = "jam")]
        since: Option<String>,
        /// Write the noun of this root, jammed, and nothing else: it can go into an arena at another address
        #[arg(long, value_name = "ROOT")]
        jam: Option<String>,
    },
    /// Make an arena of what `export` wrote
    #[command(
        after_help = "Of several files the first is a whole export, and each other one holds what changed since \
                      the one before it. The arena gets its name once all were read and checked."
    )]
    Import {
        /// The file that `export` wrote, and those written with `--since` after it, in order
        #[arg(value_name = "FILE", required = true, num_args = 1..)]
        inputs: Vec<PathBuf>,
        /// The arena to make
        #[arg(value_name = "ARENA")]
        path: PathBuf,
        /// The file is a jammed noun: put it under this root of a new arena, or of one that is there
        #[arg(long, value_name = "ROOT")]
        cue: Option<String>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Make an arena at another address, or of another size, of one that holds nothing but nouns
    #[command(
        after_help = "A heap holds addresses, so collections and objects stay where they were made: with any, the \
                      command is refused. Snapshots stay behind."
    )]
    Move {
        /// The arena, which stays as it is
        #[arg(value_name = "ARENA")]
        path: PathBuf,
        /// The arena to make
        #[arg(value_name = "NEW")]
        new: PathBuf,
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
        ArenaCommand::Dump { arena, name, snapshot, limit } => {
            dump::dump(arena, name, snapshot.as_deref(), *limit)
        }
        ArenaCommand::Export { path, output, jam: Some(root), .. } => change::export_noun(path, root, output),
        ArenaCommand::Export { path, output, snapshot, since, jam: None } => {
            let what = Export { snapshot: snapshot.as_deref(), since: since.as_deref() };
            change::export(path, what, output)
        }
        ArenaCommand::Import { inputs, path, cue, place } => {
            change::import(inputs, path, cue.as_deref(), *place)
        }
        ArenaCommand::Move { path, new, place } => change::relocate(path, new, *place),
        ArenaCommand::Gc(arguments) => change::gc(arguments),
        ArenaCommand::Compact(arguments) => change::compact(arguments),
    }
}

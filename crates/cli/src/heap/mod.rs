//! `banyan heap`: looks at explicit heaps and removes them. The work is done by `banyan_heap`.

mod dump;
mod show;

use anyhow::bail;
use banyan_heap::{Heap, Options};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Commands about explicit heaps, memory that processes share by name
#[derive(Debug, Subcommand)]
pub(crate) enum HeapCommand {
    /// List the heaps, after those were removed whose lease is over
    List {
        /// One JSON object for each heap
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Say what a heap is, which names it has, and who is attached
    Show(HeapArguments),
    /// Say what a heap uses, and who waits for which lock
    Stat(HeapArguments),
    /// Print what a name holds: numbers if it is a slice of them, else bytes
    Dump {
        #[command(flatten)]
        heap: HeapArguments,
        /// The name
        #[arg(value_name = "ROOT")]
        root: String,
        /// Print at most this many numbers, or rows of bytes
        #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
        limit: u64,
    },
    /// Take a heap's name away; processes that have it open keep it until they close it
    Unlink {
        /// The heap
        #[arg(value_name = "HEAP")]
        name: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
}

/// A heap, and how to print what is found.
#[derive(Debug, Args)]
pub(crate) struct HeapArguments {
    /// The heap
    #[arg(value_name = "HEAP")]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Debug, Args)]
pub(crate) struct PlaceArguments {
    /// Where heaps are, in place of $BANYAN_HEAPS or this user's directory in /dev/shm
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

impl PlaceArguments {
    fn open(&self, name: &str) -> anyhow::Result<Heap> {
        let mut options = Options::new().observe();
        if let Some(directory) = &self.directory {
            options = options.directory(directory);
        }
        Ok(Heap::open(name, &options)?)
    }
}

/// Carries out a command. Returns the exit status.
pub(crate) fn heap(command: &HeapCommand) -> anyhow::Result<u8> {
    match command {
        HeapCommand::List { json, place } => show::list(place, *json)?,
        HeapCommand::Show(arguments) => show::show(&arguments.place.open(&arguments.name)?, arguments.json)?,
        HeapCommand::Stat(arguments) => show::stat(&arguments.place.open(&arguments.name)?, arguments.json)?,
        HeapCommand::Dump { heap, root, limit } => {
            dump::dump(&heap.place.open(&heap.name)?, root, *limit, heap.json)?;
        }
        HeapCommand::Unlink { name, place } => {
            if !Heap::unlink(name, place.directory.as_deref())? {
                bail!("no heap {name}: `banyan heap list` shows those that are");
            }
            eprintln!("The name {name} is free.");
        }
    }
    Ok(0)
}

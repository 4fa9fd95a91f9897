//! `banyan actor`: configurations of actors under sponsors.
//!
//! `run` is the process in which configurations live; the others ask it over its control socket. Data on
//! standard output, the rest on standard error.

mod control;
mod run;
mod table;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use self::control::{Answer, Question};
use crate::terminal::{print, print_json};

/// Configurations of actors under sponsors
#[derive(Debug, Parser)]
#[command(
    after_help = "To begin:\n  banyan actor run zoo\n  banyan actor run bank --directory ./bank\n  banyan actor list"
)]
pub(crate) struct ActorCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Args)]
struct Which {
    /// The process, if several run: its id
    #[arg(long, value_name = "PID")]
    process: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run an example (bank, ring or zoo) or a WebAssembly module (FILE.wasm)
    Run {
        /// The example, or the module's file
        program: String,
        /// Where a durable example keeps its state
        #[arg(long, value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
        /// Hosts; one per processor by default
        #[arg(long, default_value_t = 0)]
        hosts: usize,
    },
    /// List the configurations of a running process
    List(Which),
    /// Show one configuration
    Show {
        /// Its number or name
        configuration: String,
        #[command(flatten)]
        which: Which,
    },
    /// Send a line of text to a named actor, and print its answer
    Send {
        /// The actor's name
        name: String,
        /// The text
        text: Vec<String>,
        #[command(flatten)]
        which: Which,
    },
    /// Print the log: failures, exhausted sponsors, lost stores
    Log(Which),
    /// Show the budget tree
    Sponsors(Which),
}

impl ActorCommand {
    /// Runs the command; returns the status to exit with.
    ///
    /// # Errors
    /// What to tell the user.
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self.action {
            Action::Run { program, directory, hosts } => run::run(&program, directory, hosts),
            Action::List(which) => ask(&which, &Question::List),
            Action::Show { configuration, which } => ask(&which, &Question::Show { configuration }),
            Action::Send { name, text, which } => ask(&which, &Question::Send { name, text: text.join(" ") }),
            Action::Log(which) => ask(&which, &Question::Log),
            Action::Sponsors(which) => ask(&which, &Question::Sponsors),
        }
    }
}

fn ask(which: &Which, question: &Question) -> anyhow::Result<u8> {
    let answer = control::ask(which.process, question)?;
    if which.json {
        match &answer {
            Answer::Configurations(list) => print_json(list)?,
            Answer::Sponsors(list) => print_json(list)?,
            Answer::Lines(list) => print_json(list)?,
            Answer::Refused(_) => {}
        }
    }
    match answer {
        Answer::Refused(reason) => anyhow::bail!(reason),
        _ if which.json => {}
        Answer::Configurations(list) => print(&table::configurations(&list)),
        Answer::Sponsors(list) => print(&table::sponsors(&list)),
        Answer::Lines(lines) => lines.iter().for_each(|line| print(&format!("{line}\n"))),
    }
    Ok(0)
}

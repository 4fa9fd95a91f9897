//! The `banyan` command: parses, and hands over to one file per subcommand.
//!
//! Data goes to standard output, everything else to standard error. Exit status as docker's: 125 is ours, 126
//! a program that cannot be executed, 127 one that is not found, anything else the program's own.
#![forbid(unsafe_code)]

mod actor;
mod arena;
mod bench;
mod call;
mod cluster;
mod demo;
mod doctor;
mod heap;
mod job;
mod node;
mod run;
mod sql;
mod terminal;
mod top;
mod which_node;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// `call bench` says how often calls come here.
#[global_allocator]
static ALLOCATOR: banyan_calls::allocations::Counting = banyan_calls::allocations::Counting;

/// Makes many Linux machines behave as one computer
///
/// Banyan runs an ordinary multi-threaded program as one process whose threads execute on several nodes and
/// share one memory. The program is not changed, not recompiled and not linked with anything.
#[derive(Debug, Parser)]
#[command(
    name = "banyan",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "To begin:\n  banyan doctor\n  banyan demo\n  banyan run -n 3 --stats -- PROGRAM ARGUMENTS..."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a program as one process over several nodes
    Run(run::RunArguments),
    /// Run a program natively and over local nodes, compare, and show what ran where
    Demo(demo::DemoArguments),
    /// Say what this machine lacks for Banyan, and what to type about it
    Doctor(doctor::DoctorArguments),
    /// Measure on this machine what is promised, beside what others would use
    Bench(bench::BenchArguments),
    /// The programs that `bench` runs
    #[command(hide = true)]
    BenchProgram {
        /// Which, and what it takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Commands about arenas, files that hold a persistent heap
    #[command(subcommand)]
    Arena(arena::ArenaCommand),
    /// Commands about explicit heaps, memory that processes share by name
    #[command(subcommand)]
    Heap(heap::HeapCommand),
    /// Run configurations of actors under sponsors, and look into them
    Actor(actor::ActorCommand),
    /// Make this machine a node, and begin a cluster if there is none
    Up(cluster::UpArguments),
    /// Make this machine a node of a cluster that stands
    Join(cluster::JoinArguments),
    /// Stop the node of this machine; it stays a member of its cluster
    Down(cluster::EndArguments),
    /// Take this machine out of its cluster
    Leave(cluster::EndArguments),
    /// Say what the cluster is and who is there
    Status(cluster::StatusArguments),
    /// Make, list and revoke what lets machines join
    #[command(subcommand)]
    Token(cluster::TokenCommand),
    /// Names of what runs in the cluster: list, register, remove and watch them
    #[command(subcommand)]
    Name(cluster::NameCommand),
    /// Commands about the nodes of the cluster
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Look at running programs, move their threads, and keep detached ones
    #[command(subcommand)]
    Job(job::JobCommand),
    /// The same as `job list`
    Ps(job::ListArguments),
    /// The same as `job wait`
    Wait(job::WaitArguments),
    /// The keeper of a detached run
    #[command(hide = true)]
    Keep(job::KeepArguments),
    /// Watch nodes, programs and pages while they work
    Top(top::TopArguments),
    /// Ask what the nodes hold: jobs, threads, pages, faults and more, in SQL
    Sql(sql::SqlArguments),
    /// Calls in another process, which cannot crash their caller
    Call(call::CallCommand),
    /// Print the completion script of a shell
    #[command(
        after_help = "For bash:\n  banyan completions bash > ~/.local/share/bash-completion/completions/banyan"
    )]
    Completions {
        /// The shell
        #[arg(value_enum, value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

/// Our own failures, as docker has it.
const STATUS_OURS: u8 = 125;

fn main() -> ExitCode {
    banyan_bench::init();
    // What a program executes to have another one in its place. No word behind it is ours to read: `--` and
    // `--help` are that program's.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == banyan_node::again::COMMAND)
        && let Some(script) = words.next()
    {
        return ExitCode::from(run::again(script.as_ref(), words.collect()));
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { STATUS_OURS } else { 0 });
        }
    };
    let result = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::BenchProgram { words } => banyan_bench::program(&words).map(|()| 0),
        Command::Arena(command) => arena::arena(&command),
        Command::Heap(command) => heap::heap(&command),
        Command::Actor(command) => command.run(),
        Command::Up(arguments) => cluster::up(&arguments),
        Command::Join(arguments) => cluster::join(&arguments),
        Command::Down(arguments) => cluster::down(&arguments),
        Command::Leave(arguments) => cluster::leave(&arguments),
        Command::Status(arguments) => cluster::status(&arguments),
        Command::Token(command) => cluster::token(command),
        Command::Name(command) => command.run(),
        Command::Node(command) => node::node(command),
        Command::Job(command) => job::job(command),
        Command::Ps(arguments) => job::list(&arguments),
        Command::Wait(arguments) => job::wait(&arguments),
        Command::Keep(arguments) => job::keep(&arguments),
        Command::Top(arguments) => top::top(&arguments),
        Command::Sql(arguments) => sql::sql(&arguments),
        Command::Call(command) => command.run(),
        Command::Completions { shell } => Ok(completions(shell)),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("banyan: {}", with_causes(&error));
            ExitCode::from(STATUS_OURS)
        }
    }
}

/// An error and what it came from, each once: some say their cause themselves.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text.push_str(colon);
            text.push_str(&cause);
        }
    }
    text
}

fn completions(shell: clap_complete::Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "banyan", &mut script);
    terminal::print(&String::from_utf8_lossy(&script));
    0
}

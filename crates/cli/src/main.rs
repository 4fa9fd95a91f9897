//! The `banyan` command: parses, and hands over to one file per subcommand.
//!
//! Data goes to standard output, everything else to standard error. Exit status as docker's: 125 is ours, 126 a
//! program that cannot be executed, 127 one that is not found, anything else the program's own.
#![forbid(unsafe_code)]

mod bench;
mod node;
mod run;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Makes many Linux machines behave as one computer.
#[derive(Debug, Parser)]
#[command(name = "banyan", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a program as one process over several nodes
    Run(run::RunArguments),
    /// Measure what running over several nodes costs
    Bench(bench::BenchArguments),
    /// The programs that `bench` runs
    #[command(hide = true)]
    BenchProgram(bench::ProgramArguments),
    /// The node daemon
    #[command(subcommand)]
    Node(node::NodeCommand),
}

/// Our own failures, as docker has it.
const STATUS_OURS: u8 = 125;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { STATUS_OURS } else { 0 });
        }
    };
    let result = match arguments.command {
        Command::Run(arguments) => Ok(run::run(&arguments)),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::BenchProgram(arguments) => bench::bench_program(&arguments),
        Command::Node(command) => node::node(&command),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("banyan: {error:#}");
            ExitCode::from(STATUS_OURS)
        }
    }
}

//! The simulator's commands: run many seeds, replay one, explore every state.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use banyan_core::coherence::Faithful;
use banyan_sim::explorer::{self, Order};
use banyan_sim::simulation;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Simulates and explores the coherence protocol")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one history for each seed.
    Run {
        /// The seeds, as FIRST..END.
        #[arg(long, default_value = "0..10000", value_parser = parse_range)]
        seeds: (u64, u64),
    },
    /// Run one history again.
    Replay {
        /// Its seed.
        #[arg(long)]
        seed: u64,
        /// Print everything that happens.
        #[arg(long)]
        trace: bool,
    },
    /// Visit every state that a cluster of three nodes can reach.
    Explore {
        /// Allow more operations and more accidents: takes long.
        #[arg(long)]
        deep: bool,
        /// Stop after this many states in each setting.
        #[arg(long, default_value_t = 100_000_000)]
        states: usize,
    },
}

fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let parse = |part: &str| part.parse::<u64>().map_err(|error| format!("{part}: {error}"));
    let (first, end) = text.split_once("..").ok_or("write it as FIRST..END")?;
    Ok((parse(first)?, parse(end)?))
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { seeds } => run(seeds),
        Command::Replay { seed, trace } => replay(seed, trace),
        Command::Explore { deep, states } => explore(deep, states),
    }
}

fn run((first, end): (u64, u64)) -> ExitCode {
    let begun = Instant::now();
    let (mut events, mut messages, mut accesses, mut time) = (0, 0, 0, 0);
    for seed in first..end {
        match simulation::run(seed) {
            Ok(tally) => {
                events += tally.events;
                messages += tally.messages;
                accesses += tally.accesses;
                time += tally.time;
            }
            Err(failure) => {
                eprintln!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{} histories, {events} events, {messages} messages, {accesses} accesses, {} s simulated, {:.1} s",
        end.saturating_sub(first),
        time / 1_000_000,
        begun.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}

fn replay(seed: u64, trace: bool) -> ExitCode {
    let (outcome, written) = simulation::run_with(seed, &Faithful, trace.then(String::new));
    if let Some(written) = written {
        print!("{written}");
    }
    match outcome {
        Ok(tally) => {
            println!("{:?}\n{tally:?}", simulation::Shape::of_seed(seed));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn explore(deep: bool, states: usize) -> ExitCode {
    let settings = if deep { explorer::deep_settings() } else { explorer::settings() };
    for setting in settings {
        let begun = Instant::now();
        match explorer::explore(&setting, &Faithful, Order::Deepest, states) {
            Ok(found) => println!(
                "{:<28} {:>9} states, {:>10} steps, depth {:>3}, {}, {:.1} s",
                setting.name,
                found.states,
                found.steps,
                found.depth,
                if found.complete { "all" } else { "stopped" },
                begun.elapsed().as_secs_f64()
            ),
            Err(counterexample) => {
                // A shorter history of the same, if it can be had cheaply, is easier to read.
                let nearer = explorer::explore(&setting, &Faithful, Order::Nearest, 1_000_000);
                let counterexample = nearer.err().unwrap_or(counterexample);
                eprintln!("{}: {counterexample}", setting.name);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

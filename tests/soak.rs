//! Runs each real program again and again on each node count, and stops at the first difference or hang.
//!
//! `banyan-soak [TIMES [MINUTES]]`: by default twenty times, and for twenty minutes at most.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use banyan_tests::{catalog, compare, workspace};

const TIMES: u64 = 20;
const MINUTES: u64 = 20;

fn main() -> ExitCode {
    match soak() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn soak() -> anyhow::Result<()> {
    anyhow::ensure!(!workspace::native_only(), "BANYAN_NATIVE_ONLY leaves nothing to soak");
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u64>());
    let times = numbers.next().transpose()?.unwrap_or(TIMES);
    let minutes = numbers.next().transpose()?.unwrap_or(MINUTES);
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let (cases, counts) = (catalog::real_programs(), workspace::node_counts()?);
    let mut runs = 0;
    // Round by round, so that a run that time cuts short has tried everything about equally often.
    for round in 1..=times {
        for case in &cases {
            if Instant::now() > end {
                println!(
                    "soak: {minutes} minutes are over in round {round} of {times}: {runs} runs without a difference"
                );
                return Ok(());
            }
            let started = Instant::now();
            compare::differences(case, &counts)
                .map_err(|error| error.context(format!("round {round}, {}", case.name)))?;
            runs += counts.len();
            println!(
                "round {round:2} of {times}  {:24} {:6.1} s",
                case.name,
                started.elapsed().as_secs_f64()
            );
        }
    }
    println!("soak: {runs} runs without a difference");
    Ok(())
}

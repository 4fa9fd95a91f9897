//! Runs targets on mutated inputs for a time, with no special compiler: `mutate [TARGET [SECONDS [SEED]]]`.
#![forbid(unsafe_code)]

use banyan_fuzz::{mutate, targets};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, usual: u64| words.get(at).map_or(Some(usual), |word| word.parse().ok());
    let (Some(seconds), Some(seed)) = (number(1, 60), number(2, 1)) else {
        eprintln!("mutate [TARGET [SECONDS [SEED]]]");
        return ExitCode::from(2);
    };
    let chosen: Vec<_> =
        targets().into_iter().filter(|target| words.first().is_none_or(|word| word == target.name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = targets().iter().map(|target| target.name).collect();
        eprintln!("there is no such target; there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    for target in chosen {
        let ran = mutate::run(&target, seed, Duration::from_secs(seconds), u64::MAX);
        println!(
            "{}: {} inputs in {seconds} s, slowest {:?}, none failed",
            target.name, ran.inputs, ran.slowest
        );
    }
    ExitCode::SUCCESS
}

//! `mutate TARGET SECONDS [SEED]`: runs a fuzz target on mutated inputs, without a nightly compiler.

use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let target = arguments
        .get(1)
        .and_then(|name| banyan_actors_fuzz::TARGETS.iter().find(|(known, ..)| known == name));
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    let (Some(target), Some(seconds)) = (target, number(2)) else {
        eprintln!("mutate module|message|state|frames SECONDS [SEED]");
        std::process::exit(2);
    };
    let runs =
        banyan_actors_fuzz::mutate(target, number(3).unwrap_or(1), Duration::from_secs(seconds), u64::MAX);
    println!("{}: {runs} inputs in {seconds} s", target.0);
}

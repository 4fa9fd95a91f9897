//! Runs a target on mutated inputs for a time: `mutate TARGET SECONDS [SEED]`.

use banyan_calls_fuzz::mutate::{Random, mutate};
use banyan_calls_fuzz::targets;
use std::time::{Duration, Instant};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let seconds: u64 = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(600);
    let seed = words.get(2).and_then(|word| word.parse().ok()).unwrap_or(0x5eed);
    for (name, target, inputs) in targets() {
        if words.first().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let (start, mut random, mut kept, mut runs) = (Instant::now(), Random(seed), inputs.clone(), 0_u64);
        let mut slowest = Duration::ZERO;
        while start.elapsed() < Duration::from_secs(seconds) {
            let input = mutate(&mut random, &kept);
            let begin = Instant::now();
            if let Err(panic) = std::panic::catch_unwind(|| target(&input)) {
                eprintln!("{name}: input {:?}", String::from_utf8_lossy(&input));
                std::panic::resume_unwind(panic);
            }
            slowest = slowest.max(begin.elapsed());
            // Walk away from the first inputs, and come back to them.
            if input.len() < 32 << 10 || name == "exports" {
                if kept.len() < 64 { kept.push(input) } else { kept[runs as usize % 64] = input }
            }
            if runs % 997 == 0 {
                kept.truncate(1);
                kept.extend(inputs.clone());
            }
            runs += 1;
        }
        println!("{name}: {runs} runs in {} s, slowest {slowest:?}, none failed", start.elapsed().as_secs());
    }
}

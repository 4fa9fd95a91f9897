//! Runs a target on mutated inputs for a time, with no special compiler: `mutate [TARGET [SECONDS [SEED]]]`.
//! Blind where libFuzzer sees coverage. Its random numbers come from the seed, so a failure can be had again.

use std::time::{Duration, Instant};

use banyan_arena::store::fuzzing;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let seconds = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(60);
    let mut seed: u64 = words.get(2).and_then(|word| word.parse().ok()).unwrap_or(1);
    let mut next = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % bound.max(1)
    };
    let whole = fuzzing::sample().expect("an arena in memory");
    // Jams with texts, sharing and references.
    let jams: Vec<Vec<u8>> = ["02", "0c", "48", "29", "3103", "21d1", "714834", "c5c8262701"]
        .iter()
        .map(|hex| {
            hex.as_bytes()
                .chunks(2)
                .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                .collect()
        })
        .collect();
    for name in ["cue", "open", "tree"] {
        if words.first().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let (started, mut runs, mut slowest) = (Instant::now(), 0_u64, Duration::ZERO);
        let mut kept = jams.clone();
        while started.elapsed() < Duration::from_secs(seconds) {
            let begun = Instant::now();
            match name {
                "cue" => {
                    let mut input = kept[next(kept.len())].clone();
                    for _ in 0..=next(4) {
                        let at = next(input.len() + 1);
                        match next(4) {
                            0 => input.insert(at, next(256) as u8),
                            1 if at < input.len() => input[at] ^= 1 << next(8),
                            2 => input.truncate(at.max(1)),
                            _ => {
                                let other = &kept[next(kept.len())];
                                let start = next(other.len());
                                input.splice(at..at, other[start..].iter().copied().take(64));
                            }
                        }
                    }
                    banyan_arena_fuzz::cue(&input);
                    // Walk away from the first inputs, and come back to them.
                    if input.len() < 4096 {
                        kept.push(input);
                    }
                    if kept.len() > 256 {
                        kept.clone_from(&jams);
                    }
                }
                "open" => fuzzing::open(&fuzzing::mutated(&whole, &mut next)),
                _ => {
                    let bytes = fuzzing::mutated(&whole, &mut next);
                    let start = next(bytes.len());
                    fuzzing::tree(&bytes[start..(start + 4096).min(bytes.len())]);
                }
            }
            slowest = slowest.max(begun.elapsed());
            runs += 1;
        }
        println!("{name}: {runs} runs in {seconds} s, slowest {slowest:?}, none failed");
    }
}

//! The mutator, which needs no special compiler: random changes to inputs, and crossings between them.
//!
//! Blind where libFuzzer sees coverage, but it runs wherever the workspace builds. Its random numbers come
//! from a seed, so a failure can be had again.

use crate::Target;
use fastrand::Rng;
use std::time::{Duration, Instant};

/// Inputs that are mutated again, at most.
const KEPT_MAX: usize = 256;
/// After this number of inputs the first ones come back.
const RETURN_EVERY: u64 = 997;

/// Changes an input of `kept`, which is not empty; `words` are put in as they are.
#[must_use]
pub fn mutate(random: &mut Rng, kept: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = kept[random.usize(..kept.len())].clone();
    for _ in 0..random.usize(1..=6) {
        let at = random.usize(..=bytes.len());
        match random.u8(..8) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            2 => bytes.insert(at, random.u8(..)),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 if !words.is_empty() => {
                let word = random.choice(words).copied().unwrap_or_default();
                bytes.splice(at..at, word.bytes());
            }
            6 => {
                let other = &kept[random.usize(..kept.len())];
                let from = random.usize(..=other.len());
                let piece = other[from..].iter().copied().take(random.usize(..64)).collect::<Vec<u8>>();
                bytes.splice(at..at, piece);
            }
            _ => {
                let value = [0, 1, 0x7f, 0x80, 0xff][random.usize(..5)];
                for byte in bytes.iter_mut().skip(at).take(random.usize(1..=9)) {
                    *byte = value;
                }
            }
        }
    }
    bytes
}

/// What a target was run on.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// Inputs.
    pub inputs: u64,
    /// The longest time that one took.
    pub slowest: Duration,
}

/// Runs a target on mutated inputs until there is no more time, or on a number of them.
///
/// # Panics
/// If the target does; the input is said first.
#[must_use]
pub fn run(target: &Target, seed: u64, time: Duration, inputs_max: u64) -> Ran {
    let first = (target.inputs)();
    assert!(first.iter().any(|input| !input.is_empty()), "{}: nothing to begin from", target.name);
    let (begun, mut random) = (Instant::now(), Rng::with_seed(seed));
    let (mut kept, mut ran) = (first.clone(), Ran { inputs: 0, slowest: Duration::ZERO });
    first.iter().for_each(|input| one(target, input, &mut ran));
    while ran.inputs < inputs_max && begun.elapsed() < time {
        let input = match target.mutate {
            Some(mutate) => mutate(&mut random, &first[0]),
            None => mutate(&mut random, &kept, target.words),
        };
        one(target, &input, &mut ran);
        // Walk away from the first inputs, and come back to them.
        if target.mutate.is_some() || input.len() > target.kept_bytes_max {
        } else if kept.len() < KEPT_MAX {
            kept.push(input);
        } else {
            kept[random.usize(..KEPT_MAX)] = input;
        }
        if ran.inputs % RETURN_EVERY == 0 {
            kept.clone_from(&first);
        }
    }
    ran
}

fn one(target: &Target, input: &[u8], ran: &mut Ran) {
    let begun = Instant::now();
    if let Err(panic) = std::panic::catch_unwind(|| (target.run)(input)) {
        eprintln!("{}: the input was \"{}\"", target.name, input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
    ran.inputs += 1;
    ran.slowest = ran.slowest.max(begun.elapsed());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_again() {
        let kept = [b"one input".to_vec(), b"and another".to_vec()];
        let inputs = |seed| {
            let mut random = Rng::with_seed(seed);
            (0..100).map(|_| mutate(&mut random, &kept, &["word"])).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }

    /// A decoder that forgets a length is found out.
    #[test]
    #[should_panic(expected = "range")]
    fn what_reads_past_its_end_is_found() {
        fn careless(bytes: &[u8]) {
            let Some((length, rest)) = bytes.split_first() else { return };
            assert!(rest[..usize::from(*length)].len() <= 255);
        }
        let target = Target { inputs: || vec![vec![2, 7, 7]], ..Target::new("careless", careless) };
        let _ran = run(&target, 1, Duration::from_secs(10), 10_000);
    }
}

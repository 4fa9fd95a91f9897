//! Counts the words of a file with many threads: `wordcount FILE [THREADS [PASSES]]`.
//!
//! Each thread takes a part of the text, from one word's start to another's, and counts in a table of its
//! own; the tables are added up at the end, and the most common words are printed. More passes over the
//! text make it work longer, and count every word as often. A plain program: it knows of threads, and of
//! nothing else.

use std::collections::HashMap;
use std::process::ExitCode;
use std::thread;

const SHOWN: usize = 20;

type Counts = HashMap<Vec<u8>, u64>;

/// Counts words: letters and digits of any script, in lower case.
fn count(text: &[u8], passes: usize) -> Counts {
    let mut counts = Counts::new();
    let mut word = Vec::new();
    for _ in 0..passes {
        for byte in text.iter().copied().chain([b' ']) {
            if is_part_of_word(byte) {
                word.push(byte.to_ascii_lowercase());
            } else if !word.is_empty() {
                match counts.get_mut(&word) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(word.clone(), 1);
                    }
                }
                word.clear();
            }
        }
    }
    counts
}

// Bytes above 127 belong to a letter of another script, near enough.
fn is_part_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 128
}

/// Cuts the text into parts of about the same length, none of which begins inside a word.
fn parts(text: &[u8], wanted: usize) -> Vec<&[u8]> {
    let mut parts = Vec::with_capacity(wanted);
    let mut rest = text;
    for left in (1..=wanted).rev() {
        let even = rest.len() / left;
        let cut = rest[even..]
            .iter()
            .position(|byte| !is_part_of_word(*byte))
            .map_or(rest.len(), |more| even + more);
        let (part, after) = rest.split_at(if left == 1 { rest.len() } else { cut });
        parts.push(part);
        rest = after;
    }
    parts
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, usual: usize| arguments.get(place).map_or(Ok(usual), |word| word.parse());
    let (Some(path), Ok(threads @ 1..=1024), Ok(passes @ 1..)) =
        (arguments.first(), number(1, 8), number(2, 1))
    else {
        eprintln!("usage: wordcount FILE [THREADS up to 1024 [PASSES]]");
        return ExitCode::from(2);
    };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("wordcount: {path}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let tables: Vec<Counts> = thread::scope(|scope| {
        let workers: Vec<_> =
            parts(&text, threads).into_iter().map(|part| scope.spawn(move || count(part, passes))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a thread panicked")).collect()
    });
    let mut total = Counts::new();
    for (word, count) in tables.into_iter().flatten() {
        *total.entry(word).or_default() += count;
    }
    let words: u64 = total.values().sum();
    let mut ranking: Vec<(Vec<u8>, u64)> = total.into_iter().collect();
    ranking.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    println!("{} bytes, {words} words, {} different", text.len(), ranking.len());
    for (word, count) in ranking.iter().take(SHOWN) {
        println!("{count:10}  {}", String::from_utf8_lossy(word));
    }
    // The text and the tables end with the process; to free them first would be work for nothing.
    std::process::exit(0)
}

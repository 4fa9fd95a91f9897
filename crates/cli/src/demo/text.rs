//! Text for the demonstration when no file is given: the same on every machine, with the word frequencies,
//! sentences and paragraphs of a language. Its words are made of syllables, so it reads like a language that
//! nobody speaks.

use std::io::{self, Write};

/// Different words. The rank of a word decides how often it comes, as in every language: half as often, twice
/// the rank.
const WORDS: usize = 20_000;

const BEGINNINGS: [&str; 24] = [
    "b", "br", "d", "dr", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "pl", "r", "s", "sh", "st", "t",
    "th", "tr", "v", "w", "",
];
const MIDDLES: [&str; 10] = ["a", "e", "i", "o", "u", "ai", "ea", "ou", "io", "ei"];
const ENDINGS: [&str; 14] = ["", "", "", "n", "r", "s", "l", "t", "nd", "st", "m", "ck", "rn", "ng"];

/// A short generator of numbers that look random (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A rank from 0, the low ones more often.
    fn rank(&mut self) -> usize {
        let part = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        // The ranks up to r have the share log(r) / log(all).
        ((WORDS as f64).powf(part) as usize - 1).min(WORDS - 1)
    }
}

fn vocabulary(numbers: &mut Numbers) -> Vec<String> {
    (0..WORDS)
        .map(|rank| {
            // Frequent words are short.
            let syllables = 1 + (rank > 60) as usize + (rank > 3000) as usize * numbers.below(2);
            let mut word = String::new();
            for _ in 0..syllables {
                word.push_str(BEGINNINGS[numbers.below(BEGINNINGS.len())]);
                word.push_str(MIDDLES[numbers.below(MIDDLES.len())]);
                word.push_str(ENDINGS[numbers.below(ENDINGS.len())]);
            }
            word
        })
        .collect()
}

/// Writes about `bytes` of text, whole paragraphs.
pub(super) fn write(out: &mut impl Write, bytes: u64) -> io::Result<u64> {
    let mut numbers = Numbers(1);
    let words = vocabulary(&mut numbers);
    let mut written = 0;
    let mut paragraph = String::new();
    while written < bytes {
        paragraph.clear();
        for _ in 0..3 + numbers.below(5) {
            let length = 5 + numbers.below(18);
            for place in 0..length {
                let word = &words[numbers.rank()];
                if place == 0 {
                    paragraph.extend(word.chars().next().map(|letter| letter.to_ascii_uppercase()));
                    paragraph.push_str(&word[1..]);
                } else {
                    paragraph.push(' ');
                    paragraph.push_str(word);
                }
                if place + 1 < length && numbers.below(12) == 0 {
                    paragraph.push(',');
                }
            }
            paragraph.push_str(". ");
        }
        paragraph.truncate(paragraph.trim_end().len());
        paragraph.push_str("\n\n");
        out.write_all(paragraph.as_bytes())?;
        written += paragraph.len() as u64;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_text_is_always_the_same_and_has_frequent_words() {
        let mut text = Vec::new();
        let written = write(&mut text, 200_000).unwrap();
        assert_eq!(written, text.len() as u64);
        let mut again = Vec::new();
        write(&mut again, 200_000).unwrap();
        assert_eq!(text, again);
        let text = String::from_utf8(text).unwrap().to_lowercase();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let words = text.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty());
        words.for_each(|word| *counts.entry(word).or_default() += 1);
        let most = counts.values().max().unwrap();
        assert!(counts.len() > 3000 && *most > 1000, "{} words, {most}", counts.len());
    }
}

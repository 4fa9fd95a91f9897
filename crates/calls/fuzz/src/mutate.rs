//! A mutator that needs no special compiler: random changes to inputs, and crossings between them.
//!
//! Blind where libFuzzer sees coverage, but it runs wherever the crate builds. Its random numbers
//! come from a seed, so a failure can be had again.

/// xorshift64*: small, and good enough to choose bytes.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Words that make C headers interesting.
const WORDS: &[&str] = &[
    "struct ",
    "union ",
    "enum ",
    "typedef ",
    "{",
    "}",
    "(",
    ")",
    ";",
    "[",
    "]",
    "*",
    "...",
    "int ",
    "long ",
    "double ",
    "unsigned ",
    "char ",
    "_Complex ",
    "_Bool ",
    ": 3",
    "= 1 << 40",
    "sizeof(",
    "void ",
    "# 7 \"x.h\"\n",
    ",",
    "'",
    "\"",
];

/// A changed copy of one of `inputs`.
pub fn mutate(random: &mut Random, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] = random.next() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 => bytes.insert(at, random.next() as u8),
            3 if at < bytes.len() => {
                bytes.remove(at);
            }
            4 => bytes.truncate(at),
            5 => {
                let word = WORDS[random.below(WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
            6 => {
                let other = &inputs[random.below(inputs.len())];
                let (start, length) = (random.below(other.len()), random.below(64));
                let piece: Vec<u8> = other.iter().skip(start).take(length).copied().collect();
                bytes.splice(at..at, piece);
            }
            _ => {
                let value = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
                for byte in bytes.iter_mut().skip(at).take(1 + random.below(9)) {
                    *byte = value;
                }
            }
        }
    }
    bytes
}

//! Input for the programs under test, the same bytes on every machine.

/// A small generator (xorshift).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.draw() >> 16) % bound
    }
}

/// Text of words as common as in a language, in lines, with a little noise: it compresses about as prose
/// does.
#[must_use]
pub fn text(length: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let words: Vec<Vec<u8>> = (0..4000)
        .map(|_| {
            let letters = 2 + numbers.below(9);
            (0..letters).map(|_| b"etaoinshrdlucmfwypvbgk"[numbers.below(22) as usize]).collect()
        })
        .collect();
    let mut text = Vec::with_capacity(length + 32);
    let mut column = 0;
    while text.len() < length {
        // Squaring twice makes the first words far more common than the last.
        let draw = numbers.below(1 << 20) as f64 / f64::from(1 << 20);
        let word = &words[(draw.powi(4) * words.len() as f64) as usize];
        text.extend_from_slice(word);
        column += word.len();
        if numbers.below(40) == 0 {
            text.extend_from_slice(numbers.draw().to_string().as_bytes());
        }
        if column > 70 {
            text.push(b'\n');
            column = 0;
        } else {
            text.push(b' ');
        }
    }
    text.truncate(length);
    text
}

/// Bytes that do not compress.
#[must_use]
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&numbers.draw().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        assert_eq!(text(100_000, 1), text(100_000, 1));
        assert_ne!(text(100_000, 1), text(100_000, 2));
        assert_eq!(noise(1001, 3).len(), 1001);
    }
}

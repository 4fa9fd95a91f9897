//! The bits of a jammed noun, the lowest of each byte first: numbers with their own length before them.
//!
//! The reader takes untrusted bytes: no length is believed before it was compared with what is left.

use super::cue_error::CueError;

/// Bits of which the first is the lowest of the first byte.
#[derive(Default)]
pub(super) struct BitWriter {
    /// As long as there is room; what is behind `position` has no meaning.
    bytes: Vec<u8>,
    /// Bits written.
    position: u64,
    /// The bits of the last byte, if it is not full.
    partial: u64,
}

/// Bits that fit one write beside a partial byte.
const PUT_MAX: u32 = 56;

impl BitWriter {
    #[inline]
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The low `count` bits of a value that has no others, at most 56: one write, and no branch that could be
    /// guessed wrongly.
    #[inline]
    pub(super) fn put(&mut self, value: u64, count: u32) {
        debug_assert!(count <= PUT_MAX && value >> count == 0, "the value fits");
        let (byte, filled) = ((self.position / 8) as usize, (self.position % 8) as u32);
        if byte + 8 > self.bytes.len() {
            self.grow();
        }
        let word = self.partial | value << filled;
        self.bytes[byte..byte + 8].copy_from_slice(&word.to_le_bytes());
        self.position += u64::from(count);
        self.partial = word >> ((filled + count) & !7);
    }

    #[cold]
    fn grow(&mut self) {
        let length = self.bytes.len();
        self.bytes.resize((length * 2).max(64), 0);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(self.position.div_ceil(8) as usize);
        self.bytes
    }

    #[inline]
    pub(super) fn put_reference(&mut self, position: u64) {
        self.put_tagged(0b11, 2, position);
    }

    pub(super) fn put_atom(&mut self, words: &[u64]) {
        match words {
            [] => self.put_tagged(0, 1, 0),
            [word] => self.put_tagged(0, 1, *word),
            _ => {
                self.put(0, 1);
                self.put_long(bit_length(words), words);
            }
        }
    }

    /// A tag, then a number with its own length before it: as many zeroes as the length has bits, a one, the
    /// length without its highest bit, and the number.
    #[inline]
    pub(super) fn put_tagged(&mut self, tag: u64, tag_bits: u32, value: u64) {
        if value == 0 {
            return self.put(tag | 1 << tag_bits, tag_bits + 1);
        }
        let bits = 64 - value.leading_zeros();
        let width = 32 - bits.leading_zeros();
        let length = u64::from(bits) & !(1 << (width - 1));
        let prefix = tag | (1 << width | length << (width + 1)) << tag_bits;
        let prefix_bits = tag_bits + 2 * width;
        if prefix_bits + bits <= PUT_MAX {
            return self.put(prefix | value << prefix_bits, prefix_bits + bits);
        }
        self.put(prefix, prefix_bits);
        self.put_word(value, bits);
    }

    fn put_word(&mut self, value: u64, bits: u32) {
        let low = bits.min(32);
        self.put(value & 0xffff_ffff, low);
        self.put(value >> low, bits - low);
    }

    #[cold]
    fn put_long(&mut self, bits: u64, words: &[u64]) {
        let width = 64 - bits.leading_zeros();
        self.put(1 << width, width + 1);
        self.put(bits & !(1 << (width - 1)), width - 1);
        let mut left = bits;
        for word in words {
            let count = left.min(64) as u32;
            self.put_word(*word, count);
            left -= u64::from(count);
        }
    }
}

pub(super) fn bit_length(words: &[u64]) -> u64 {
    match words.split_last() {
        Some((last, rest)) => rest.len() as u64 * 64 + u64::from(64 - last.leading_zeros()),
        None => 0,
    }
}

pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: u64,
    end: u64,
}

/// Bits that a look at the next ones gives at least.
const PEEK_MIN: u32 = 57;

/// A number as it is read: most fit a word.
pub(super) enum Number {
    Small(u64),
    /// Its words are in the buffer.
    Large,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, end: bytes.len() as u64 * 8 }
    }

    #[inline]
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next bits, at least [`PEEK_MIN`] of them, with zeroes behind the end.
    #[inline]
    pub(super) fn peek(&self) -> u64 {
        let (byte, shift) = ((self.position / 8) as usize, self.position % 8);
        match self.bytes.get(byte..byte + 8).and_then(|word| word.try_into().ok()) {
            Some(word) => u64::from_le_bytes(word) >> shift,
            None => self.peek_at_the_end(byte) >> shift,
        }
    }

    #[cold]
    fn peek_at_the_end(&self, byte: usize) -> u64 {
        let mut word = [0; 8];
        let rest = self.bytes.get(byte..).unwrap_or_default();
        word[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(word)
    }

    /// Goes on by this many bits.
    #[inline]
    pub(super) fn skip(&mut self, count: u64) -> Result<(), CueError> {
        if count > self.end - self.position {
            return Err(CueError::Truncated(self.position));
        }
        self.position += count;
        Ok(())
    }

    /// At most 64 bits.
    #[inline]
    fn get(&mut self, count: u64) -> Result<u64, CueError> {
        let first = self.peek();
        if count <= u64::from(PEEK_MIN) {
            self.skip(count)?;
            return Ok(first & ((1 << count) - 1));
        }
        self.skip(32)?;
        let rest = self.peek();
        self.skip(count - 32)?;
        Ok(first & 0xffff_ffff | (rest & ((1 << (count - 32)) - 1)) << 32)
    }

    /// A number with its length before it, which began at bit `start`.
    #[inline]
    pub(super) fn number(&mut self, start: u64, words: &mut Vec<u64>) -> Result<Number, CueError> {
        let next = self.peek();
        let width = next.trailing_zeros();
        if width == 0 {
            self.skip(1)?;
            return Ok(Number::Small(0));
        }
        // Most numbers lie whole in what was looked at.
        if width <= 5 {
            let bits = (next >> (width + 1)) as u32 & ((1 << (width - 1)) - 1) | 1 << (width - 1);
            let all = 2 * width + bits;
            if all <= PEEK_MIN && u64::from(all) <= self.end - self.position {
                self.position += u64::from(all);
                return Ok(Number::Small(next >> (2 * width) & ((1 << bits) - 1)));
            }
        }
        self.long_number(u64::from(width), start, words)
    }

    #[cold]
    fn long_number(&mut self, width: u64, start: u64, words: &mut Vec<u64>) -> Result<Number, CueError> {
        if width >= 48 {
            // So long a number is longer than any input, if the zeroes do not end with the input.
            let cut = self.end - self.position < 48;
            return Err(if cut { CueError::Truncated(self.position) } else { CueError::Length(start) });
        }
        self.skip(width + 1)?;
        let bits = self.get(width - 1)? | 1 << (width - 1);
        // Checked before any memory is taken for it.
        if bits > self.end - self.position {
            return Err(CueError::Length(start));
        }
        if bits <= 64 {
            return Ok(Number::Small(self.get(bits)?));
        }
        words.clear();
        let mut left = bits;
        while left > 0 {
            let count = left.min(64);
            words.push(self.get(count)?);
            left -= count;
        }
        Ok(Number::Large)
    }
}

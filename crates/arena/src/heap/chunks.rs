//! Which 2 MiB chunks of the heap may hold anything: what scans are kept to, since a scan of a hole
//! allocates page tables. Shared between the program's thread and the pager's; no locks.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bytes in a chunk.
pub(crate) const CHUNK: usize = 2 << 20;

/// A set of chunks.
#[derive(Debug)]
pub(crate) struct Chunks {
    words: Box<[AtomicU64]>,
    /// No word from here on has a bit set: keeps a walk to what is used of a large reservation.
    used: AtomicUsize,
}

impl Chunks {
    pub(crate) fn new(length: usize) -> Self {
        let words = length.div_ceil(CHUNK).div_ceil(64);
        Self { words: (0..words).map(|_| AtomicU64::new(0)).collect(), used: AtomicUsize::new(0) }
    }

    /// Adds the chunks that the bytes lie in.
    pub(crate) fn add(&self, offset: usize, length: usize) {
        for chunk in offset / CHUNK..(offset + length).div_ceil(CHUNK) {
            let (word, bit) = (chunk / 64, 1 << (chunk % 64));
            if self.words[word].load(Ordering::Relaxed) & bit == 0 {
                self.words[word].fetch_or(bit, Ordering::Relaxed);
                self.used.fetch_max(word + 1, Ordering::Relaxed);
            }
        }
    }

    /// Takes a chunk out.
    pub(crate) fn remove(&self, chunk: usize) {
        self.words[chunk / 64].fetch_and(!(1 << (chunk % 64)), Ordering::Relaxed);
    }

    /// The chunks, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let used = self.used.load(Ordering::Relaxed);
        self.words[..used].iter().enumerate().flat_map(|(at, word)| {
            let mut bits = word.load(Ordering::Relaxed);
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros() as usize;
                (bits != 0).then(|| {
                    bits &= bits - 1;
                    at * 64 + bit
                })
            })
        })
    }

    /// The bytes of adjacent chunks together, as offsets, none beyond `length`.
    pub(crate) fn runs(&self, length: usize) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for chunk in self.iter() {
            let (start, end) = (chunk * CHUNK, ((chunk + 1) * CHUNK).min(length));
            match runs.last_mut() {
                Some((_, last)) if *last == start => *last = end,
                _ => runs.push((start, end)),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_and_go() {
        let chunks = Chunks::new(1 << 40);
        chunks.add(3 * CHUNK + 5, CHUNK);
        chunks.add(200 * CHUNK, 1);
        assert_eq!(chunks.iter().collect::<Vec<_>>(), [3, 4, 200]);
        assert_eq!(chunks.runs(1 << 40), [(3 * CHUNK, 5 * CHUNK), (200 * CHUNK, 201 * CHUNK)]);
        chunks.remove(4);
        assert_eq!(chunks.iter().collect::<Vec<_>>(), [3, 200]);
    }
}

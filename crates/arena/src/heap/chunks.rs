//! Which 2 MiB chunks of the heap may hold anything: what scans are kept to, since a scan of a hole allocates
//! page tables; and which of them have all their pages, so that a scan need not look for holes, which takes
//! it half as long again. Shared between the program's thread and the pager's; no locks, see
//! [`Chunks::set_full`].

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bytes in a chunk.
pub(crate) const CHUNK: usize = 2 << 20;

/// Chunks side by side, as offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether there is no hole in them.
    pub(crate) is_full: bool,
}

/// A set of chunks.
#[derive(Debug)]
pub(crate) struct Chunks {
    words: Box<[AtomicU64]>,
    /// Of the chunks in `words`, those without a hole.
    full: Box<[AtomicU64]>,
    /// Those in which pages have come since they were last looked at for holes.
    fuller: Box<[AtomicU64]>,
    /// No word from here on has a bit set: keeps a walk to what is used of a large reservation.
    used: AtomicUsize,
}

impl Chunks {
    pub(crate) fn new(length: usize) -> Self {
        let words = length.div_ceil(CHUNK).div_ceil(64);
        let empty = || (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { words: empty(), full: empty(), fuller: empty(), used: AtomicUsize::new(0) }
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
        self.full[chunk / 64].fetch_and(!(1 << (chunk % 64)), Ordering::Relaxed);
    }

    /// A chunk has all its pages. Making holes, asking for fullness and this exclude each other: the pager's
    /// lock does, where there is a pager.
    pub(crate) fn set_full(&self, chunk: usize) {
        self.full[chunk / 64].fetch_or(1 << (chunk % 64), Ordering::Relaxed);
    }

    /// The bytes may have holes from now on.
    pub(crate) fn set_holed(&self, offset: usize, length: usize) {
        for chunk in offset / CHUNK..(offset + length).div_ceil(CHUNK) {
            self.full[chunk / 64].fetch_and(!(1 << (chunk % 64)), Ordering::Relaxed);
        }
    }

    /// Pages have come in these bytes: some of the chunks may have no hole any more.
    pub(crate) fn set_fuller(&self, offset: usize, length: usize) {
        for chunk in offset / CHUNK..(offset + length).div_ceil(CHUNK) {
            self.fuller[chunk / 64].fetch_or(1 << (chunk % 64), Ordering::Relaxed);
        }
    }

    /// At most `most` of the chunks that may have no hole any more, from a chunk on and then from the first;
    /// they are about to be looked at.
    pub(crate) fn take_fuller(&self, from: usize, most: usize) -> Vec<usize> {
        let used = self.used.load(Ordering::Relaxed);
        let from = from / 64;
        let words = (from..used).chain(0..from.min(used));
        let mut taken = Vec::new();
        for word in words {
            // Mostly none of a word.
            let mut bits = self.fuller[word].load(Ordering::Relaxed);
            while bits != 0 && taken.len() < most {
                let bit = bits & bits.wrapping_neg();
                bits ^= bit;
                self.fuller[word].fetch_and(!bit, Ordering::Relaxed);
                if (self.words[word].load(Ordering::Relaxed) & !self.full[word].load(Ordering::Relaxed)) & bit
                    != 0
                {
                    taken.push(word * 64 + bit.trailing_zeros() as usize);
                }
            }
        }
        taken
    }

    fn is_full(&self, chunk: usize) -> bool {
        self.full[chunk / 64].load(Ordering::Relaxed) >> (chunk % 64) & 1 == 1
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

    /// The bytes of adjacent chunks together, none beyond `length`.
    pub(crate) fn runs(&self, length: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for chunk in self.iter() {
            let (start, end) = (chunk * CHUNK, ((chunk + 1) * CHUNK).min(length));
            let is_full = self.is_full(chunk);
            match runs.last_mut() {
                Some(run) if run.end == start && run.is_full == is_full => run.end = end,
                _ => runs.push(Run { start, end, is_full }),
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
        let run = |start: usize, end: usize, is_full| Run { start: start * CHUNK, end: end * CHUNK, is_full };
        assert_eq!(chunks.runs(1 << 40), [run(3, 5, false), run(200, 201, false)]);
        chunks.set_full(4);
        assert_eq!(chunks.runs(1 << 40), [run(3, 4, false), run(4, 5, true), run(200, 201, false)]);
        // A chunk is looked at once for all the pages that have come, unless it is full or not there.
        chunks.set_fuller(2 * CHUNK, 3 * CHUNK);
        chunks.set_fuller(200 * CHUNK, 1);
        assert_eq!(chunks.take_fuller(64, 1), [200]);
        assert_eq!((chunks.take_fuller(64, 9), chunks.take_fuller(0, 9)), (vec![3], vec![]));
        chunks.set_holed(5 * CHUNK - 1, 1);
        assert_eq!(chunks.runs(1 << 40), [run(3, 5, false), run(200, 201, false)]);
        chunks.set_full(4);
        chunks.remove(4);
        chunks.add(4 * CHUNK, 1);
        assert_eq!(chunks.runs(1 << 40), [run(3, 5, false), run(200, 201, false)]);
    }
}

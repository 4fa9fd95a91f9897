//! Where direct atoms were first written, and hashes that nobody can choose.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Where direct atoms were first written. Small ones, of which there are most, by index.
#[derive(Default)]
pub(super) struct SeenAtoms {
    small: Vec<u64>,
    large: Numbers,
}

const SMALL_ATOMS: usize = 4096;

impl SeenAtoms {
    pub(super) fn clear(&mut self) {
        self.small.clear();
        self.small.resize(SMALL_ATOMS, 0);
        self.large.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        self.large.capacity() * 16
    }

    /// The position of an atom that was seen, or else it is remembered, if it can ever pay to refer to it.
    #[inline]
    pub(super) fn place(&mut self, value: u64, position: u64) -> Option<u64> {
        if let Some(known) = self.small.get_mut(value as usize) {
            // Kept one higher, since 0 says that it was not seen.
            if *known != 0 {
                return Some(*known - 1);
            }
            *known = position + 1;
            return None;
        }
        match self.large.entry(value) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(vacant) => {
                if value.leading_zeros() < position.leading_zeros() {
                    vacant.insert(position);
                }
                None
            }
        }
    }
}

type Numbers = HashMap<u64, u64, Keys>;

/// Makes hashes of numbers that nobody can choose without knowing the keys.
pub(super) struct Keys(u64, u64);

impl Default for Keys {
    fn default() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(1), random.hash_one(2) | 1)
    }
}

impl BuildHasher for Keys {
    type Hasher = Multiply;
    fn build_hasher(&self) -> Multiply {
        Multiply { hash: self.0, factor: self.1 }
    }
}

/// A hash for keys that are numbers already.
pub(super) struct Multiply {
    hash: u64,
    factor: u64,
}

impl Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.hash
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.hash ^ value) * u128::from(self.factor);
        self.hash = product as u64 ^ (product >> 64) as u64;
    }
}

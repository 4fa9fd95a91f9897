//! The disk after a power cut, decided sector by sector, and only when a sector is read.
//!
//! A block read with undecided sectors forks into: all new, all old, new up to sector i and old
//! from there, all new but sector i old, and sector i garbage, for every i. (A checksum over the
//! block cannot tell more apart; the brute-force test checks that on small windows, every subset.)

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::recording::{CrashPoint, SECTOR};
use crate::disk::{BLOCK_SIZE, Disk, Room};

const SECTORS: u64 = (BLOCK_SIZE / SECTOR) as u64;

/// The choices of one run: replayed from a prefix, then the first option at each new fork.
#[derive(Clone, Default)]
pub(crate) struct Choices {
    pub(crate) taken: Vec<(u32, u32)>,
    pub(crate) position: usize,
    /// If set, new forks choose at random from this seed.
    pub(crate) random: Option<u64>,
}

impl Choices {
    pub(crate) fn next(&mut self, options: u32) -> u32 {
        if self.position == self.taken.len() {
            let choice = match &mut self.random {
                Some(seed) => {
                    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (*seed >> 33) as u32 % options
                }
                None => 0,
            };
            self.taken.push((choice, options));
        }
        self.position += 1;
        self.taken[self.position - 1].0
    }

    /// The next run in depth-first order; `false` once all are done.
    pub(crate) fn advance(&mut self) -> bool {
        self.position = 0;
        while let Some((choice, options)) = self.taken.pop() {
            if choice + 1 < options {
                self.taken.push((choice + 1, options));
                return true;
            }
        }
        false
    }
}

#[derive(Default)]
struct State {
    choices: Choices,
    decided: BTreeMap<u64, [u8; SECTOR]>,
    /// What recovery itself wrote.
    written: BTreeMap<u64, [u8; SECTOR]>,
    length: Option<u64>,
}

/// A crash state that unfolds as it is read.
pub(crate) struct CrashDisk {
    point: Arc<CrashPoint>,
    state: Mutex<State>,
}

pub(crate) fn garbage(sector: u64) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    for (at, chunk) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *chunk = xxh3_64_with_seed(&sector.to_le_bytes(), at as u64 + 1).to_le_bytes();
    }
    bytes
}

impl CrashDisk {
    pub(crate) fn new(point: Arc<CrashPoint>, choices: Choices) -> Self {
        Self { point, state: Mutex::new(State { choices, ..State::default() }) }
    }

    pub(crate) fn take_choices(&self) -> Choices {
        std::mem::take(&mut self.state.lock().unwrap().choices)
    }

    /// Everything that was decided, as one number; `base` stands for the durable image.
    pub(crate) fn fingerprint(&self, base: u64) -> u64 {
        let state = self.state.lock().unwrap();
        let mut sum = base ^ xxh3_64_with_seed(b"length", state.length.unwrap_or(0));
        for (sector, bytes) in &state.decided {
            sum ^= xxh3_64_with_seed(bytes, *sector + 1);
        }
        sum
    }

    /// A concrete image: what is still undecided is chosen at random.
    pub(crate) fn concretize(&self, mut seed: u64) -> Vec<u8> {
        let length = self.length().unwrap() as usize;
        let state = self.state.lock().unwrap();
        let mut image = (*self.point.durable).clone();
        image.resize(length, 0);
        for (sector, versions) in &self.point.window.sectors {
            let start = *sector as usize * SECTOR;
            if start + SECTOR > length {
                continue;
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let bytes = match state.decided.get(sector) {
                Some(bytes) => *bytes,
                None if (seed >> 40).is_multiple_of(2) => *versions.last().unwrap(),
                None => continue,
            };
            image[start..start + SECTOR].copy_from_slice(&bytes);
        }
        image
    }

    fn old(&self, sector: u64) -> [u8; SECTOR] {
        let start = sector as usize * SECTOR;
        self.point.durable.get(start..start + SECTOR).map_or([0; SECTOR], |bytes| bytes.try_into().unwrap())
    }

    fn decide(&self, state: &mut State, block: u64) {
        let first = block * SECTORS;
        let open: Vec<u64> = (first..first + SECTORS)
            .filter(|sector| self.point.window.sectors.contains_key(sector))
            .filter(|sector| !state.decided.contains_key(sector))
            .collect();
        if open.is_empty() {
            return;
        }
        let count = open.len() as u32;
        let newest = |sector: u64| *self.point.window.sectors[&sector].last().unwrap();
        // An older unsynced version may have reached the platter in place of the newest.
        let versions =
            open.iter().map(|sector| self.point.window.sectors[sector].len()).max().unwrap_or(1) as u32;
        let choice = state.choices.next(3 * count + versions);
        for (at, sector) in (0..count).zip(&open) {
            let bytes = if choice == 0 {
                newest(*sector)
            } else if choice <= count {
                // New before, old from `choice - 1` on: choice 1 is all old.
                if at < choice - 1 { newest(*sector) } else { self.old(*sector) }
            } else if choice <= 2 * count {
                if at == choice - count - 1 { self.old(*sector) } else { newest(*sector) }
            } else if choice <= 3 * count {
                if at == choice - 2 * count - 1 { garbage(*sector) } else { newest(*sector) }
            } else {
                let list = &self.point.window.sectors[sector];
                list[((choice - 3 * count - 1) as usize).min(list.len() - 1)]
            };
            state.decided.insert(*sector, bytes);
        }
    }
}

impl Disk for CrashDisk {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset + buffer.len() as u64 > self.length()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut state = self.state.lock().unwrap();
        for (at, part) in buffer.chunks_mut(BLOCK_SIZE).enumerate() {
            let block = offset / BLOCK_SIZE as u64 + at as u64;
            self.decide(&mut state, block);
            let start = block as usize * BLOCK_SIZE;
            match self.point.durable.get(start..start + part.len()) {
                Some(bytes) => part.copy_from_slice(bytes),
                None => part.fill(0),
            }
            let range = block * SECTORS..(block + 1) * SECTORS;
            for (sector, bytes) in state.decided.range(range.clone()).chain(state.written.range(range)) {
                let within = (*sector % SECTORS) as usize * SECTOR;
                part[within..within + SECTOR].copy_from_slice(bytes);
            }
        }
        Ok(())
    }
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let sectors = pieces.iter().flat_map(|piece| piece.as_chunks::<SECTOR>().0);
        for (sector, bytes) in (offset / SECTOR as u64..).zip(sectors) {
            state.written.insert(sector, *bytes);
        }
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn length(&self) -> io::Result<u64> {
        let mut state = self.state.lock().unwrap();
        if let Some(length) = state.length {
            return Ok(length);
        }
        let lengths = &self.point.window.lengths;
        let durable = self.point.durable.len() as u64;
        let length = match lengths.is_empty() {
            true => durable,
            false => match state.choices.next(lengths.len() as u32 + 1) as usize {
                0 => lengths[lengths.len() - 1],
                choice if choice == lengths.len() => durable,
                choice => lengths[choice - 1],
            },
        };
        state.length = Some(length);
        Ok(length)
    }
    fn grow(&self, _length: u64, _room: Room) -> io::Result<()> {
        Err(io::Error::other("recovery must not grow the file"))
    }
    fn cut(&self, _length: u64) -> io::Result<()> {
        Err(io::Error::other("recovery must not cut the file"))
    }
}

/// The number of a durable image, to tell the states over it apart from those over another.
pub(crate) fn image_number(image: &Arc<Vec<u8>>) -> u64 {
    xxh3_64_with_seed(image, 7)
}

//! [`Ahead`]: blocks that a reader is about to ask for, fetched before it does.
//!
//! A log is read header by header, and each says where the next one is: one read after another, if nothing is
//! guessed. Headers that are near each other are fetched in runs, with what lies between them. Those that are
//! far from each other, and equally far, as records of one size are, are fetched without what lies between,
//! several at a time. A guess that is wrong costs its read and nothing else, and so does one that cannot be
//! read. Not for what the bytes mean, nor for whether they are still on the disk.

use std::io;

use parking_lot::Mutex;

use super::{BLOCK_SIZE, Block};

const BLOCK: u64 = BLOCK_SIZE as u64;
/// Bytes of a run: few at first, more as it goes on.
const RUN_MIN: usize = 64 << 10;
const RUN_MAX: usize = 4 << 20;
/// Steps that are at least so long are fetched without what lies between: about what a disk reads in one go
/// in the time that several reads at a time take each.
const STEP_MIN: u64 = 32 << 10;
const STEP_MAX: u64 = 1 << 40;
/// Equal steps in a row before more of them are expected.
const STEADY: u32 = 2;
/// Blocks that are fetched in steps: few at first, more as it goes on.
const STEPS_MIN: usize = 16;
const STEPS_MAX: usize = 256;
/// Reads at a time.
const READERS: usize = 8;

/// What was fetched, and how the reader goes on. Blocks are at `start`, `start + step` and so on.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    start: u64,
    step: u64,
    blocks: Vec<Block>,
    /// The last place that was asked for, how far it was from the one before, and how often in a row so far.
    last: u64,
    distance: u64,
    repeats: u32,
}

impl Ahead {
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Fills `buffer` from `offset` of a disk, which `read` reads, and of which `length` says how many bytes
    /// it has: it is asked when something is fetched.
    pub(super) fn read(
        &mut self,
        offset: u64,
        buffer: &mut [u8],
        length: impl FnOnce() -> io::Result<u64>,
        read: impl Fn(u64, &mut [u8]) -> io::Result<()> + Sync,
    ) -> io::Result<()> {
        let distance = offset.wrapping_sub(self.last);
        self.repeats = if distance == self.distance { self.repeats.saturating_add(1) } else { 0 };
        (self.last, self.distance) = (offset, distance);
        let at = match self.find(offset, buffer.len()) {
            Some(at) => at,
            None => {
                self.fetch(offset, buffer.len(), length()?, read)?;
                0
            }
        };
        let bytes = zerocopy::IntoBytes::as_bytes(self.blocks.as_slice());
        buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
        Ok(())
    }

    /// Where it is among the bytes that were fetched.
    fn find(&self, offset: u64, wanted: usize) -> Option<usize> {
        let behind = offset.checked_sub(self.start)?;
        let at = if self.step == BLOCK {
            usize::try_from(behind).ok()?
        } else if wanted == BLOCK_SIZE && self.step > 0 && behind.is_multiple_of(self.step) {
            usize::try_from(behind / self.step).ok()?.checked_mul(BLOCK_SIZE)?
        } else {
            return None;
        };
        at.checked_add(wanted).filter(|end| *end <= self.blocks.len() * BLOCK_SIZE).map(|_| at)
    }

    fn fetch(
        &mut self,
        offset: u64,
        wanted: usize,
        length: u64,
        read: impl Fn(u64, &mut [u8]) -> io::Result<()> + Sync,
    ) -> io::Result<()> {
        let left = length.saturating_sub(offset);
        if left < wanted as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The same memory again: fresh pages would cost as much as the disk.
        let mut blocks = std::mem::take(&mut self.blocks);
        let far = (STEP_MIN..=STEP_MAX).contains(&self.distance);
        let fetched = if far && self.repeats >= STEADY && wanted == BLOCK_SIZE {
            let goes_on = if self.step == self.distance { 4 * blocks.len() } else { 0 };
            let room = (left - BLOCK) / self.distance + 1;
            let count = (goes_on.clamp(STEPS_MIN, STEPS_MAX) as u64).min(room);
            blocks.resize(count as usize, Block::ZERO);
            self.step = self.distance;
            read_steps(&mut blocks, offset, self.step, read)
        } else {
            // A jump within what was fetched last time is a walk, for which more and more is fetched: the log
            // of a busy writer is short, and what is fetched behind it only takes time.
            let last = if self.step == BLOCK { blocks.len() * BLOCK_SIZE } else { 0 };
            let walks = offset.wrapping_sub(self.start) <= 2 * last as u64;
            let goes_on = if walks { 4 * last } else { 0 };
            let bytes = (goes_on.clamp(RUN_MIN, RUN_MAX).max(wanted) as u64).min(left);
            blocks.resize((bytes / BLOCK) as usize, Block::ZERO);
            self.step = BLOCK;
            read(offset, zerocopy::IntoBytes::as_mut_bytes(blocks.as_mut_slice())).map(|()| blocks.len())
        };
        self.start = offset;
        blocks.truncate(fetched?);
        self.blocks = blocks;
        Ok(())
    }
}

/// Reads a block at each step, several at a time; gives how many there are before one that could not be read.
fn read_steps(
    blocks: &mut [Block],
    offset: u64,
    step: u64,
    read: impl Fn(u64, &mut [u8]) -> io::Result<()> + Sync,
) -> io::Result<usize> {
    let count = blocks.len();
    let next = Mutex::new(blocks.iter_mut().enumerate());
    let failed: Mutex<Option<(usize, io::Error)>> = Mutex::new(None);
    let serve = || {
        loop {
            let Some((number, block)) = next.lock().next() else { return };
            if let Err(error) = read(offset + number as u64 * step, &mut block.0) {
                let mut failed = failed.lock();
                if failed.as_ref().is_none_or(|(first, _)| number < *first) {
                    *failed = Some((number, error));
                }
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        // Without those that cannot be started the others have more to do.
        for _ in 1..READERS.min(count) {
            let _started = std::thread::Builder::new().spawn_scoped(scope, serve);
        }
        serve();
    });
    match failed.into_inner() {
        None => Ok(count),
        Some((0, error)) => Err(error),
        Some((number, _)) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A disk each of whose blocks holds its number, some of which cannot be read.
    struct Numbers {
        blocks: u64,
        bad: Option<u64>,
        reads: AtomicUsize,
        bytes: AtomicUsize,
    }

    impl Numbers {
        fn new(blocks: u64) -> Self {
            Self { blocks, bad: None, reads: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(buffer.len(), Ordering::Relaxed);
            for (block, bytes) in (offset / BLOCK..).zip(buffer.chunks_mut(BLOCK_SIZE)) {
                assert!(block < self.blocks, "nothing is read behind the end");
                if self.bad == Some(block) {
                    return Err(io::Error::other("bad"));
                }
                bytes[..8].copy_from_slice(&block.to_le_bytes());
            }
            Ok(())
        }

        /// The number that is found in a block.
        fn ask(&self, ahead: &mut Ahead, block: u64) -> io::Result<u64> {
            let mut buffer = Block::ZERO;
            ahead.read(
                block * BLOCK,
                &mut buffer.0,
                || Ok(self.blocks * BLOCK),
                |offset, buffer| self.read_at(offset, buffer),
            )?;
            let mut number = [0; 8];
            number.copy_from_slice(&buffer.0[..8]);
            Ok(u64::from_le_bytes(number))
        }
    }

    #[test]
    fn every_walk_finds_what_is_there() {
        let walks: [Vec<u64>; 5] = [
            (0..3000).collect(),
            (0..700).map(|record| 17 * record).collect(),
            (0..700).map(|record| 17 * record + record / 90).collect(),
            (0..700).rev().map(|record| 17 * record).collect(),
            (0..900).map(|record| record * record % 11_900).collect(),
        ];
        for walk in walks {
            let disk = Numbers::new(12_000);
            let mut ahead = Ahead::default();
            for block in walk {
                assert_eq!(disk.ask(&mut ahead, block).unwrap(), block);
            }
        }
    }

    /// What is read follows from how many records there are, if they are of one size, and not from that.
    #[test]
    fn steps_are_read_without_what_lies_between() {
        let bytes_of = |step: u64| {
            let disk = Numbers::new(600 * step);
            let mut ahead = Ahead::default();
            for record in 0..600 {
                assert_eq!(disk.ask(&mut ahead, step * record).unwrap(), step * record);
            }
            disk.bytes.into_inner()
        };
        let (short, long) = (bytes_of(17), bytes_of(170));
        // The first few are fetched in runs.
        let most = (600 + STEPS_MAX) * BLOCK_SIZE + 4 * RUN_MIN + 4 * RUN_MIN;
        assert!(short <= most && long <= most, "{short} and {long} bytes, {most} at most");
    }

    #[test]
    fn a_block_that_cannot_be_read_matters_to_who_asks_for_it() {
        let disk = Numbers { bad: Some(17 * 50), ..Numbers::new(17 * 100) };
        let mut ahead = Ahead::default();
        for record in 0..50 {
            assert_eq!(disk.ask(&mut ahead, 17 * record).unwrap(), 17 * record);
        }
        assert!(disk.ask(&mut ahead, 17 * 50).is_err());
        assert_eq!(disk.ask(&mut ahead, 17 * 51).unwrap(), 17 * 51, "and to nobody else");
        let end = disk.ask(&mut ahead, 17 * 100).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }
}

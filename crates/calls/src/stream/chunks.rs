//! Large arguments and results over a stream: what the peer has seen before travels as a
//! reference, what is nearly the same as a difference.
//!
//! A value is cut into chunks of [`CHUNK`] bytes. Sender and receiver remember the same chunks of
//! one connection, the newest [`REMEMBERED`], under numbers that both count. The sender finds a chunk by a
//! hash and compares the bytes before it refers to it, so nothing rests on the hash. All that a
//! peer sends is checked. Not for small values, which travel as they are.

use std::collections::{HashMap, VecDeque};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a chunk.
pub(super) const CHUNK: usize = 4096;
/// Chunks that both ends remember.
pub(super) const REMEMBERED: usize = 4096;
/// Values below this many bytes are not cut.
pub(super) const CUT_FROM: usize = 4 * CHUNK;
/// A difference of more bytes than this is sent as a whole chunk.
const DIFFERENCE_MAX: usize = CHUNK / 4;

const WHOLE: u8 = 0;
const SAME: u8 = 1;
const CHANGED: u8 = 2;

/// Why chunks were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of a value contradict what was sent before")]
pub struct ChunkError;

#[derive(Debug, Default)]
struct Memory {
    chunks: VecDeque<Vec<u8>>,
    first: u64,
}

impl Memory {
    fn get(&self, number: u64) -> Option<&[u8]> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.chunks.get(index).map(Vec::as_slice)
    }

    /// Remembers a chunk; returns its number, and the one forgotten for it.
    fn add(&mut self, chunk: Vec<u8>) -> (u64, Option<(u64, Vec<u8>)>) {
        self.chunks.push_back(chunk);
        let number = self.first + self.chunks.len() as u64 - 1;
        if self.chunks.len() <= REMEMBERED {
            return (number, None);
        }
        let old = self.chunks.pop_front().map(|old| (self.first, old));
        self.first += 1;
        (number, old)
    }
}

/// The sending end.
#[derive(Debug, Default)]
pub struct Sender {
    memory: Memory,
    by_hash: HashMap<u64, u64>,
    /// Numbers of the chunks of the value sent last, to compare the next with.
    last: Vec<u64>,
}

fn put_number(to: &mut Vec<u8>, value: u64) {
    to.extend(value.to_le_bytes());
}

/// The parts of `new` that differ from `old`, each (offset, length), joined when close; `None` when too many.
fn differences(old: &[u8], new: &[u8]) -> Option<Vec<(usize, usize)>> {
    const JOIN: usize = 8;
    if old.len() != new.len() {
        return None;
    }
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let mut cost = 0;
    for (index, (old, new)) in old.iter().zip(new).enumerate() {
        if old == new {
            continue;
        }
        match runs.last_mut() {
            Some((start, length)) if index - (*start + *length) < JOIN => {
                cost += index + 1 - (*start + *length);
                *length = index + 1 - *start;
            }
            _ => {
                runs.push((index, 1));
                cost += 5;
            }
        }
        if cost > DIFFERENCE_MAX {
            return None;
        }
    }
    Some(runs)
}

impl Sender {
    /// Appends `value` to `to` in the shortest form that the receiver understands.
    pub fn put(&mut self, value: &[u8], to: &mut Vec<u8>) {
        put_number(to, value.len() as u64);
        if value.len() < CUT_FROM {
            to.extend(value);
            return;
        }
        let before = std::mem::take(&mut self.last);
        for (position, chunk) in value.chunks(CHUNK).enumerate() {
            let hash = xxh3_64(chunk);
            let known = self.by_hash.get(&hash).copied();
            if let Some(number) = known.filter(|&number| self.memory.get(number) == Some(chunk)) {
                to.push(SAME);
                put_number(to, number);
                self.last.push(number);
                continue;
            }
            let base = before.get(position).copied();
            let runs = base.and_then(|base| differences(self.memory.get(base)?, chunk));
            if let (Some(base), Some(runs)) = (base, runs) {
                to.push(CHANGED);
                put_number(to, base);
                to.extend((runs.len() as u16).to_le_bytes());
                for (start, length) in runs {
                    to.extend((start as u16).to_le_bytes());
                    to.extend((length as u16).to_le_bytes());
                    to.extend(&chunk[start..start + length]);
                }
            } else {
                to.push(WHOLE);
                to.extend(chunk);
            }
            let (number, forgotten) = self.memory.add(chunk.to_vec());
            if let Some((old, bytes)) = forgotten {
                let hash = xxh3_64(&bytes);
                if self.by_hash.get(&hash) == Some(&old) {
                    self.by_hash.remove(&hash);
                }
            }
            self.by_hash.insert(hash, number);
            self.last.push(number);
        }
    }
}

/// The receiving end.
#[derive(Debug, Default)]
pub struct Receiver {
    memory: Memory,
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Result<&'a [u8], ChunkError> {
    let (head, tail) = from.split_at_checked(count).ok_or(ChunkError)?;
    *from = tail;
    Ok(head)
}

fn take_number(from: &mut &[u8]) -> Result<u64, ChunkError> {
    let (head, tail) = from.split_first_chunk().ok_or(ChunkError)?;
    *from = tail;
    Ok(u64::from_le_bytes(*head))
}

fn take_short(from: &mut &[u8]) -> Result<usize, ChunkError> {
    let (head, tail) = from.split_first_chunk().ok_or(ChunkError)?;
    *from = tail;
    Ok(usize::from(u16::from_le_bytes(*head)))
}

impl Receiver {
    /// Takes a value off the front of `from`; at most `limit` bytes long.
    ///
    /// # Errors
    /// [`ChunkError`]; the connection can be used no longer then.
    pub fn take(&mut self, from: &mut &[u8], limit: usize) -> Result<Vec<u8>, ChunkError> {
        let length =
            usize::try_from(take_number(from)?).ok().filter(|&length| length <= limit).ok_or(ChunkError)?;
        if length < CUT_FROM {
            return Ok(take(from, length)?.to_vec());
        }
        // A full chunk takes nine bytes at least: no more is set aside than the frame can mean.
        if length / CHUNK > from.len() / 9 {
            return Err(ChunkError);
        }
        let mut value = Vec::with_capacity(length);
        while value.len() < length {
            let size = CHUNK.min(length - value.len());
            match take(from, 1)?[0] {
                SAME => {
                    let number = take_number(from)?;
                    let chunk =
                        self.memory.get(number).filter(|chunk| chunk.len() == size).ok_or(ChunkError)?;
                    value.extend(chunk);
                    continue;
                }
                WHOLE => value.extend(take(from, size)?),
                CHANGED => {
                    let base = take_number(from)?;
                    let base = self.memory.get(base).filter(|chunk| chunk.len() == size).ok_or(ChunkError)?;
                    let start = value.len();
                    value.extend(base);
                    let chunk = &mut value[start..];
                    for _ in 0..take_short(from)? {
                        let (at, count) = (take_short(from)?, take_short(from)?);
                        let bytes = take(from, count)?;
                        chunk.get_mut(at..at + count).ok_or(ChunkError)?.copy_from_slice(bytes);
                    }
                }
                _ => return Err(ChunkError),
            }
            let start = value.len() - size;
            self.memory.add(value[start..].to_vec());
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(length: usize, mut seed: u64) -> Vec<u8> {
        (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .collect()
    }

    fn travel(sender: &mut Sender, receiver: &mut Receiver, value: &[u8]) -> usize {
        let mut bytes = Vec::new();
        sender.put(value, &mut bytes);
        let mut from = &bytes[..];
        assert!(receiver.take(&mut from, 1 << 30).unwrap() == value);
        assert!(from.is_empty());
        bytes.len()
    }

    #[test]
    fn a_megabyte_seen_before_costs_little_and_one_changed_byte_hardly_more() {
        let (mut sender, mut receiver) = (Sender::default(), Receiver::default());
        let mut value = noise(1 << 20, 1);
        assert!(travel(&mut sender, &mut receiver, &value) > 1 << 20);
        assert!(travel(&mut sender, &mut receiver, &value) < 3000);
        value[300_000] ^= 1;
        assert!(travel(&mut sender, &mut receiver, &value) < 3000);
        value.extend([1, 2, 3]);
        assert!(travel(&mut sender, &mut receiver, &value) < 3100, "another tail");
    }

    #[test]
    fn what_was_forgotten_is_sent_again() {
        let (mut sender, mut receiver) = (Sender::default(), Receiver::default());
        for round in 0..40 {
            let value = noise(CHUNK * 150 + 17, round % 35);
            travel(&mut sender, &mut receiver, &value);
        }
        assert_eq!(sender.memory.first, receiver.memory.first);
        assert!(sender.by_hash.len() <= REMEMBERED);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..600), length in 0..40_000_u64) {
            let mut receiver = Receiver::default();
            let mut framed = length.to_le_bytes().to_vec();
            framed.extend(&bytes);
            if let Ok(value) = receiver.take(&mut &framed[..], 1 << 20) {
                prop_assert_eq!(value.len() as u64, length);
            }
        }

        #[test]
        fn any_sequence_of_values_arrives(edits in prop::collection::vec((0..60_000_usize, any::<u8>(), 16_000..60_000_usize), 1..12)) {
            let (mut sender, mut receiver) = (Sender::default(), Receiver::default());
            let mut value = noise(60_000, 7);
            for (at, byte, length) in edits {
                value[at] = byte;
                travel(&mut sender, &mut receiver, &value[..length]);
            }
        }
    }
}

//! Small objects: a granule of one size class, with a bit for each object that is in use.
//!
//! The state of a span (word 3 of its descriptor): how many are in use (bits 15 to 0), the first word of the
//! bitmap that may have a free bit (bits 31 to 16), whether it is on its class's list (bit 32). The list has
//! the spans that have room.
//!
//! Invariant: the bitmap of a granule that is no span is zero.

use super::change::{Change, Damaged};
use super::classes::{objects_of_class, size_of_class};
use super::runs::{self, Run, descriptor};
use super::{Allocator, Object, Refused};
use crate::identity::Participant;
use crate::layout::{BITMAP_WORDS, CLASSES, GRANULE, WORD_PARTIAL};

#[derive(Clone, Copy)]
struct State {
    used: usize,
    hint: usize,
    is_listed: bool,
}

impl State {
    fn read(change: &Change<'_>, granule: usize) -> Result<Self, Damaged> {
        let word = change.get(descriptor(granule, 3))?;
        Ok(Self {
            used: (word & 0xffff) as usize,
            hint: ((word >> 16) & 0xffff) as usize % BITMAP_WORDS,
            is_listed: (word >> 32) & 1 == 1,
        })
    }

    fn write(self, change: &mut Change<'_>, granule: usize) -> Result<(), Damaged> {
        let word = self.used as u64 | ((self.hint as u64) << 16) | (u64::from(self.is_listed) << 32);
        change.set(descriptor(granule, 3), word)
    }
}

fn bitmap(allocator: &Allocator<'_>, granule: usize) -> usize {
    allocator.geometry.bitmaps() + granule * BITMAP_WORDS
}

fn class_of(change: &Change<'_>, granule: usize) -> Result<Option<usize>, Damaged> {
    let word = change.get(descriptor(granule, 0))?;
    let class = (word >> 8) as usize & 0xff;
    Ok((word & 0xff == runs::SPAN && class < CLASSES).then_some(class))
}

pub(super) fn allocate(
    allocator: &Allocator<'_>,
    change: &mut Change<'_>,
    class: usize,
) -> Result<Object, Refused> {
    let head = WORD_PARTIAL + class;
    let granule = match (change.get(head)? as usize).checked_sub(1) {
        Some(granule) => granule,
        None => begin(allocator, change, class)?,
    };
    if class_of(change, granule)? != Some(class) {
        return Err(Damaged { word: descriptor(granule, 0) }.into());
    }
    let mut state = State::read(change, granule)?;
    let count = objects_of_class(class);
    let first = bitmap(allocator, granule);
    for word in state.hint..count.div_ceil(64) {
        let bits = change.get(first + word)?;
        let number = word * 64 + (!bits).trailing_zeros() as usize;
        if bits == u64::MAX || number >= count {
            continue;
        }
        change.set(first + word, bits | (1 << (number % 64)))?;
        state.used += 1;
        state.hint = word;
        if state.used == count {
            runs::pull(change, head, granule)?;
            state.is_listed = false;
        }
        state.write(change, granule)?;
        let bytes = size_of_class(class);
        return Ok(Object { offset: granule * GRANULE + number * bytes, bytes });
    }
    Err(Damaged { word: first }.into())
}

/// Makes a span and puts it on its class's list.
fn begin(allocator: &Allocator<'_>, change: &mut Change<'_>, class: usize) -> Result<usize, Refused> {
    let granule = runs::take(allocator, change, 1)?.first;
    let backing = allocator.backing;
    let reserved = backing.reserve_metadata(bitmap(allocator, granule) * 8, BITMAP_WORDS * 8);
    let whole = Object { offset: granule * GRANULE, bytes: GRANULE };
    reserved.and_then(|()| backing.reserve(whole)).map_err(Refused::NoMemory)?;
    runs::set_span(change, granule, class)?;
    runs::push(change, WORD_PARTIAL + class, granule)?;
    State { used: 0, hint: 0, is_listed: true }.write(change, granule)?;
    Ok(granule)
}

/// The object that begins at `offset`.
pub(super) fn object(
    allocator: &Allocator<'_>,
    change: &Change<'_>,
    offset: usize,
) -> Result<Object, Refused> {
    let granule = offset / GRANULE;
    if granule >= runs::frontier(change, allocator.geometry)? {
        return Err(Refused::NoObject);
    }
    let class = class_of(change, granule)?.ok_or(Refused::NoObject)?;
    let bytes = size_of_class(class);
    let inside = offset % GRANULE;
    let number = inside / bytes;
    if !inside.is_multiple_of(bytes) || number >= objects_of_class(class) {
        return Err(Refused::NoObject);
    }
    let bits = change.get(bitmap(allocator, granule) + number / 64)?;
    if bits >> (number % 64) & 1 == 0 {
        return Err(Refused::NoObject);
    }
    Ok(Object { offset, bytes })
}

/// Frees an object that [`object`] has found; gives the granule if it is empty and there is another span.
pub(super) fn free(
    allocator: &Allocator<'_>,
    change: &mut Change<'_>,
    offset: usize,
    process: Participant,
) -> Result<Option<Object>, Refused> {
    let granule = offset / GRANULE;
    let class = class_of(change, granule)?.ok_or(Refused::NoObject)?;
    let head = WORD_PARTIAL + class;
    let number = offset % GRANULE / size_of_class(class);
    let word = bitmap(allocator, granule) + number / 64;
    let bits = change.get(word)?;
    change.set(word, bits & !(1 << (number % 64)))?;
    let mut state = State::read(change, granule)?;
    state.used = state.used.checked_sub(1).ok_or(Damaged { word: descriptor(granule, 3) })?;
    state.hint = state.hint.min(number / 64);
    if !state.is_listed {
        runs::push(change, head, granule)?;
        state.is_listed = true;
    }
    // The last span of a class stays, so that one object to and fro costs nothing.
    let is_alone = change.get(head)? == granule as u64 + 1 && change.get(descriptor(granule, 2))? == 0;
    if state.used > 0 || is_alone {
        state.write(change, granule)?;
        return Ok(None);
    }
    runs::pull(change, head, granule)?;
    let run = Run { first: granule, length: 1 };
    runs::set_pending(change, allocator.geometry, run, process)?;
    Ok(Some(Object { offset: granule * GRANULE, bytes: GRANULE }))
}

//! `mremap`. Memory has the offset of its address, so moving is copying.

use super::advise::first_contents;
use super::region_map::Backing;
use super::{Caller, Effect, Operation, Outcome, READ_WRITE, Range, Region, Regions, has, is_page_aligned};
use banyan_wire::address_space::{may_map, page_up};
use banyan_wire::ids::PAGE_BYTES;
use linux_raw_sys::errno::{EFAULT, EINVAL, ENOMEM};
use linux_raw_sys::general::{MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, PROT_READ};

/// First address that no program has: the kernel's `TASK_SIZE`.
const TASK_BYTES: u64 = (1 << 47) - PAGE_BYTES;

/// What stays where a mapping was that moved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Nothing.
    Nothing,
    /// A mapping with its first contents.
    Mapped,
}

impl Regions {
    pub(super) fn remap(&mut self, arguments: [u64; 6], caller: Caller) -> Outcome {
        let [start, old_length, new_length, flags, target, _] = arguments;
        let old = Range { start, length: page_up(old_length).ok_or(EINVAL)? };
        let new_length = page_up(new_length).ok_or(EINVAL)?;
        check(old, new_length, flags, target)?;
        let region = self.lookup(start).ok_or(EFAULT)?;
        let moves = has(flags, MREMAP_FIXED | MREMAP_DONTUNMAP);
        // Whatever lies behind the first mapping, only what becomes too much is unmapped.
        if new_length <= old.length && !moves {
            return Ok(self.shrink(old, new_length));
        }
        let rest = self.behind_copy(region, old);
        if rest.is_none() && old.length > region.end - start {
            return Err(EFAULT);
        }
        if new_length > self.memory_total {
            return Err(ENOMEM);
        }
        let kept = if has(flags, MREMAP_DONTUNMAP) { Kept::Mapped } else { Kept::Nothing };
        let more = match kept {
            Kept::Mapped => new_length,
            Kept::Nothing => new_length.saturating_sub(old.length),
        };
        self.check_limits(more, region.protection, &caller.limits)?;
        // Memory has one address, and no copy of the image is kept.
        if kept == Kept::Mapped && (rest.is_some() || matches!(region.backing, Backing::Image)) {
            return Err(EINVAL);
        }
        let node = if matches!(region.backing, Backing::Kernel(_)) { 0 } else { caller.node };
        if let Some(rest) = rest {
            // What lies behind the end of the file has no contents that could be moved.
            if !has(flags, MREMAP_MAYMOVE) {
                return Err(ENOMEM);
            }
            let mut effect = Effect::new(start);
            self.remove(&mut effect, rest);
            let copied = [start, region.end - start, new_length, flags, target, 0];
            let then = self.remap(copied, caller).unwrap_or_else(Effect::failure);
            effect.operations.extend(then.operations);
            return Ok(Effect { result: then.result, forget: cover(effect.forget, then.forget), ..effect });
        }
        if has(flags, MREMAP_FIXED) {
            return Ok(self.move_mapping(region, old, Range { start: target, length: new_length }, kept));
        }
        if kept == Kept::Nothing
            && let Some(effect) = self.grow(region, old, new_length)
        {
            return Ok(effect);
        }
        if !has(flags, MREMAP_MAYMOVE) {
            return Err(ENOMEM);
        }
        let start = self.place(node, new_length).ok_or(ENOMEM)?;
        Ok(self.move_mapping(region, old, Range { start, length: new_length }, kept))
    }

    /// The part of a range that the kernel maps behind the copy of a file with which the range begins: the
    /// program made both with one call.
    fn behind_copy(&self, region: Region, range: Range) -> Option<Range> {
        let end = range.start.checked_add(range.length).filter(|&end| end > region.end)?;
        let behind = self.lookup(region.end).filter(|behind| end <= behind.end)?;
        let both = matches!((region.backing, behind.backing), (Backing::File { .. }, Backing::Kernel(_)));
        (both && region.protection == behind.protection)
            .then_some(Range { start: region.end, length: end - region.end })
    }

    fn shrink(&mut self, old: Range, new_length: u64) -> Effect {
        let mut effect = Effect::new(old.start);
        if new_length < old.length {
            let rest = Range { start: old.start + new_length, length: old.length - new_length };
            self.remove(&mut effect, rest);
        }
        effect
    }

    /// Grows a mapping where it is, if the addresses after it are free.
    fn grow(&mut self, region: Region, old: Range, new_length: u64) -> Option<Effect> {
        let (tail, end) = (old.start + old.length, old.start.checked_add(new_length)?);
        if !may_map(old.start, new_length) || self.map.overlaps(tail, end) {
            return None;
        }
        let mut effect = Effect::new(old.start);
        let grown = Range { start: tail, length: end - tail };
        match region.backing {
            Backing::Kernel(_) => {
                effect.push(Operation::Move {
                    from: old.start,
                    to: Range { start: old.start, length: new_length },
                });
            }
            Backing::File { file, offset, .. } => {
                effect.push(Operation::Reserve(grown));
                effect.push(Operation::Confirm(grown));
                effect.push(Operation::Protect(grown, READ_WRITE));
                let offset = offset + (tail - region.start);
                effect.push(Operation::ReadFile { to: grown, file, offset });
                effect.push(Operation::Protect(grown, region.protection));
            }
            Backing::Anonymous | Backing::Image => effect.create(grown, region.protection),
        }
        self.map.join(region.extended_by(tail, end));
        Some(effect)
    }

    fn move_mapping(&mut self, region: Region, old: Range, new: Range, kept: Kept) -> Effect {
        let (old_end, new_end) = (old.start + old.length, new.start + new.length);
        let mut effect = Effect::new(new.start);
        let replaced = self.map.overlaps(new.start, new_end);
        if matches!(region.backing, Backing::Kernel(_)) {
            if replaced {
                effect.remove(new);
            }
            effect.push(Operation::Move { from: old.start, to: new });
        } else {
            copy_mapping(&mut effect, region, old, new, replaced);
        }
        let moved = region.extended_by(old.start, old_end);
        match (kept, region.backing) {
            (Kept::Nothing, Backing::Kernel(_)) => {}
            (Kept::Nothing, _) => effect.remove(old),
            (Kept::Mapped, _) => {
                if region.protection & PROT_READ == 0 {
                    effect.push(Operation::Protect(old, region.protection));
                }
                first_contents(&mut effect, moved);
            }
        }
        effect.forget = cover((kept == Kept::Nothing).then_some(old), replaced.then_some(new));
        if kept == Kept::Nothing {
            self.map.cut(old.start, old_end);
            self.locked.cut(old.start, old_end);
        }
        self.locked.cut(new.start, new_end);
        self.map.replace(Region { start: new.start, end: new_end, ..moved });
        effect
    }
}

/// What covers both ranges: a replica that unmaps too much only learns it again.
fn cover(one: Option<Range>, other: Option<Range>) -> Option<Range> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    let (start, end) = (one.start.min(other.start), (one.start + one.length).max(other.start + other.length));
    Some(Range { start, length: end - start })
}

/// Makes `new` what `old` is, which is no mapping of the kernel's. `old` can be read afterwards.
fn copy_mapping(effect: &mut Effect, region: Region, old: Range, new: Range, replaced: bool) {
    effect.push(Operation::Reserve(new));
    // What lay at the target goes first.
    if replaced {
        effect.push(Operation::Discard(new));
    }
    effect.push(Operation::Confirm(new));
    effect.push(Operation::Protect(new, READ_WRITE));
    if region.protection & PROT_READ == 0 {
        effect.push(Operation::Protect(old, PROT_READ));
    }
    let kept = Range { start: new.start, length: old.length.min(new.length) };
    effect.push(Operation::Copy { to: kept, from: old.start });
    if let Backing::File { file, offset, .. } = region.backing
        && new.length > kept.length
    {
        let to = Range { start: new.start + kept.length, length: new.length - kept.length };
        let offset = offset + (old.start - region.start) + kept.length;
        effect.push(Operation::ReadFile { to, file, offset });
    }
    effect.push(Operation::Protect(new, region.protection));
}

/// What the kernel refuses whatever is mapped.
fn check(old: Range, new_length: u64, flags: u64, target: u64) -> Result<(), u32> {
    let known = u64::from(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP);
    if !is_page_aligned(old.start) || old.length == 0 || new_length == 0 || flags & !known != 0 {
        return Err(EINVAL);
    }
    let old_end = old.start.checked_add(old.length);
    if new_length > TASK_BYTES || old_end.is_none_or(|end| end > TASK_BYTES) {
        return Err(EINVAL);
    }
    let overlaps =
        target < old.start.saturating_add(old.length) && old.start < target.saturating_add(new_length);
    let possible = has(flags, MREMAP_MAYMOVE) && is_page_aligned(target) && !overlaps;
    let refused = has(flags, MREMAP_FIXED) && !may_map(target, new_length)
        || has(flags, MREMAP_DONTUNMAP) && old.length != new_length;
    if has(flags, MREMAP_FIXED | MREMAP_DONTUNMAP) && !possible || refused {
        return Err(EINVAL);
    }
    Ok(())
}

//! `mmap`.

use super::region_map::{Backing, FileNumber, KernelMapping, copy_with};
use super::{
    Caller, Effect, Operation, Outcome, READ_WRITE, RIGHTS, Range, Region, Regions, Source, has,
    is_page_aligned,
};
use banyan_wire::address_space::{
    LOW, POOL_BYTES, POOLS, may_hold_code, may_map, page_down, page_up, pool_start,
};
use banyan_wire::ids::PAGE_BYTES;
use linux_raw_sys::errno::{EEXIST, EINVAL, ENOMEM};
use linux_raw_sys::general as linux;

/// A mapping of a file is copied only if it is no larger than this part of the memory of all nodes.
const COPIED_SHARE: u64 = 4;

/// Where a new mapping goes.
enum Place {
    /// Free addresses.
    Free(u64),
    /// Addresses at which something is mapped already, which the new mapping replaces.
    Occupied(u64),
}

impl Regions {
    pub(super) fn map(&mut self, arguments: [u64; 6], caller: Caller) -> Outcome {
        let [hint, asked, protection, flags, _, offset] = arguments;
        if asked == 0 {
            return Err(EINVAL);
        }
        let length = page_up(asked).ok_or(ENOMEM)?;
        let private = is_private(flags)?;
        let protection = protection as u32 & RIGHTS;
        if !has(flags, linux::MAP_ANONYMOUS) && !is_page_aligned(offset) {
            return Err(EINVAL);
        }
        // The kernel's heuristic overcommit refuses what can never be backed; so does huge-page memory here.
        let counted = private && protection & linux::PROT_WRITE != 0 && !has(flags, linux::MAP_NORESERVE);
        if has(flags, linux::MAP_HUGETLB) || (counted && length > self.memory_total) {
            return Err(ENOMEM);
        }
        self.check_limits(length, if private { protection } else { 0 }, &caller.limits)?;
        let at_home = matches!(caller.source, Source::Kernel | Source::Segment);
        let node = if at_home { 0 } else { caller.node };
        let place = if has(flags, linux::MAP_FIXED | linux::MAP_FIXED_NOREPLACE) {
            self.fixed_place(hint, length, protection, flags)?
        } else {
            self.free_place(page_down(hint), length, flags, node).map(Place::Free).ok_or(ENOMEM)?
        };
        let (Place::Free(start) | Place::Occupied(start)) = place;
        let range = Range { start, length };
        let mut effect = Effect::new(start);
        if matches!(place, Place::Occupied(_)) {
            effect.forget = Some(range);
            self.locked.cut(start, start + length);
        }
        let backing = match caller.source {
            Source::Zeroes => Backing::Anonymous,
            Source::Copied { file, size } => {
                let copied = self.copied_length(length, size.saturating_sub(offset));
                let (copy, rest) = range.split_at(copied);
                let backing = Backing::File { file, offset, copy: copy_with(protection) };
                self.enter(&mut effect, copy, protection, backing);
                self.enter_natively(&mut effect, rest, protection, (file, offset.saturating_add(copied)));
                return Ok(effect);
            }
            Source::Kernel if has(flags, linux::MAP_GROWSDOWN) => Backing::Kernel(KernelMapping::Stack),
            Source::Kernel => Backing::Kernel(KernelMapping::Plain),
            Source::Segment => Backing::Kernel(KernelMapping::Segment(start)),
        };
        self.enter(&mut effect, range, protection, backing);
        Ok(effect)
    }

    /// How much of a new mapping of a file is copied: what there is of the file, for only the kernel's own
    /// mapping shows that it ends there, or what comes when it grows. Of more than all nodes could well keep,
    /// nothing is: the kernel reads what is touched.
    fn copied_length(&self, length: u64, left_of_file: u64) -> u64 {
        let whole = page_up(left_of_file).map_or(length, |left| left.min(length));
        if whole > self.memory_total / COPIED_SHARE { 0 } else { whole }
    }

    /// Makes a mapping in place of whatever is there. One of the kernel's own, the caller of the call makes.
    fn enter(&mut self, effect: &mut Effect, range: Range, protection: u32, backing: Backing) {
        let (start, end) = (range.start, range.start + range.length);
        if range.length == 0 {
            return;
        }
        match backing {
            // The kernel replaces its own mappings at once.
            Backing::Kernel(_) => {
                let kernels = |piece: Region| matches!(piece.backing, Backing::Kernel(_));
                if !self.map.pieces(start, end).all(kernels) {
                    effect.remove(range);
                }
            }
            Backing::Anonymous | Backing::Image | Backing::File { .. } => {
                effect.push(Operation::Reserve(range));
                if self.map.overlaps(start, end) {
                    effect.push(Operation::Discard(range));
                }
                effect.push(Operation::Confirm(range));
                if let Backing::File { file, offset, .. } = backing {
                    effect.push(Operation::Protect(range, READ_WRITE));
                    effect.push(Operation::ReadFile { to: range, file, offset });
                }
                effect.push(Operation::Protect(range, protection));
            }
        }
        self.map.replace(Region { start, end, protection, backing });
    }

    /// Makes a mapping of a file that is the kernel's own, from an offset.
    fn enter_natively(
        &mut self,
        effect: &mut Effect,
        range: Range,
        protection: u32,
        (file, offset): (FileNumber, u64),
    ) {
        if range.length > 0 {
            self.enter(effect, range, protection, Backing::Kernel(KernelMapping::Plain));
            effect.push(Operation::MapFile { at: range, file, offset });
            effect.push(Operation::Protect(range, protection));
        }
    }

    /// The addresses that the program insists on.
    fn fixed_place(&self, address: u64, length: u64, protection: u32, flags: u64) -> Result<Place, u32> {
        if !is_page_aligned(address) {
            return Err(EINVAL);
        }
        let executable = protection & linux::PROT_EXEC != 0;
        if !may_map(address, length) || (executable && !may_hold_code(address, length)) {
            return Err(ENOMEM);
        }
        if !self.map.overlaps(address, address + length) {
            return Ok(Place::Free(address));
        }
        if has(flags, linux::MAP_FIXED_NOREPLACE) {
            return Err(EEXIST);
        }
        Ok(Place::Occupied(address))
    }

    /// Addresses at `hint` if they are free, else wherever there is room.
    fn free_place(&mut self, hint: u64, length: u64, flags: u64, node: u8) -> Option<u64> {
        if has(flags, linux::MAP_32BIT) {
            return self.map.gap(LOW.start, LOW.end, length, PAGE_BYTES);
        }
        let may_be_there = may_hold_code(hint, length) && self.is_in_use(hint, length, node);
        if hint != 0 && may_be_there && !self.map.overlaps(hint, hint + length) {
            return Some(hint);
        }
        self.place(node, length)
    }

    /// Whether a node has memory where a program would like to have some. A pool in which nobody has any may
    /// have to become that of a node which is not here yet.
    fn is_in_use(&self, start: u64, length: u64, node: u8) -> bool {
        let is_used = |pool: u8| {
            let first = pool_start(pool);
            pool == node || self.map.overlaps(first, first + POOL_BYTES)
        };
        let pool_of = |address: u64| ((address - POOLS.start) / POOL_BYTES) as u8;
        match (start.max(POOLS.start), (start + length).min(POOLS.end)) {
            (first, end) if first < end => (pool_of(first)..=pool_of(end - 1)).all(is_used),
            _ => true,
        }
    }
}

/// Whether the mapping is private; `EINVAL` if it is of no kind.
fn is_private(flags: u64) -> Result<bool, u32> {
    match flags as u32 & linux::MAP_TYPE {
        linux::MAP_PRIVATE => Ok(true),
        linux::MAP_SHARED => Ok(false),
        // The former that refuses unknown flags, which the kernel does for a file; only a file can have it.
        linux::MAP_SHARED_VALIDATE if !has(flags, linux::MAP_ANONYMOUS) => Ok(false),
        _ => Err(EINVAL),
    }
}

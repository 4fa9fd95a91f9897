//! `madvise`: discarding is done, hints do nothing.

use super::region_map::{Backing, Copy, Region};
use super::{Effect, Operation, Outcome, Range, Regions, is_page_aligned};
use banyan_wire::address_space::page_up;
use linux_raw_sys::errno::EINVAL;
use linux_raw_sys::general as linux;

/// What an advice comes to.
enum Advice {
    /// Nothing: a hint.
    Hint,
    /// The memory gets its first contents again.
    Discard,
    /// The file behind the memory gets a hole, which only a shared mapping has.
    Remove,
}

impl Regions {
    pub(super) fn advise(&self, arguments: [u64; 6]) -> Outcome {
        let [start, length, advice, ..] = arguments;
        let advice = u32::try_from(advice).ok().and_then(meaning).ok_or(EINVAL)?;
        let length = page_up(length).filter(|_| is_page_aligned(start)).ok_or(EINVAL)?;
        let end = start.checked_add(length).ok_or(EINVAL)?;
        let mut effect = Effect::new(0);
        self.push_kernel_calls(&mut effect, start, end);
        for piece in self.map.pieces(start, end) {
            match (&advice, piece.backing) {
                (_, Backing::Kernel(_)) | (Advice::Hint, _) => {}
                (Advice::Discard, _) => discard(&mut effect, piece),
                (Advice::Remove, Backing::Anonymous) => discard(&mut effect, piece),
                (Advice::Remove, Backing::Image | Backing::File { .. }) => return Err(EINVAL),
            }
        }
        self.or_hole(effect, start, end)
    }
}

/// Gives a piece its first contents again.
fn discard(effect: &mut Effect, piece: Region) {
    let range = Range { start: piece.start, length: piece.end - piece.start };
    match piece.backing {
        Backing::Anonymous => effect.push(Operation::Discard(range)),
        Backing::File { file, offset, copy: Copy::Writable } => {
            effect.fill(range, piece.protection, file, offset);
        }
        // What was copied is as good as what would be read again; of the image nobody kept a copy.
        Backing::File { copy: Copy::Clean, .. } | Backing::Image | Backing::Kernel(_) => {}
    }
}

/// What an advice means, if there is one with this number.
fn meaning(advice: u32) -> Option<Advice> {
    match advice {
        linux::MADV_DONTNEED | linux::MADV_DONTNEED_LOCKED => Some(Advice::Discard),
        linux::MADV_REMOVE => Some(Advice::Remove),
        linux::MADV_NORMAL..=linux::MADV_WILLNEED | linux::MADV_FREE..=linux::MADV_COLLAPSE => {
            Some(Advice::Hint)
        }
        // Simulated failures of memory, and guard pages, which a kernel may not have either.
        _ => None,
    }
}

//! `madvise`: discarding is done, hints do nothing, and what the kernel refuses of a mapping is refused.

use super::region_map::{Backing, Copy, Region};
use super::{Effect, Operation, Outcome, Range, Regions, is_page_aligned};
use banyan_wire::address_space::page_up;
use banyan_wire::ids::EXTENT_BYTES;
use linux_raw_sys::errno::{EACCES, EINVAL};
use linux_raw_sys::general as linux;

/// Bytes of the kernel's huge pages.
const HUGE_PAGE_BYTES: u64 = EXTENT_BYTES;

/// What an advice comes to.
#[derive(Clone, Copy)]
enum Advice {
    /// Nothing: a hint.
    Hint,
    /// Nothing, but only private memory of zeroes can get it.
    HintForPrivateZeroes,
    /// Nothing, but only memory with this right can get it.
    Populate(u32),
    /// Nothing, but only memory that can hold a huge page can get it.
    Collapse,
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
        if length == 0 {
            return Ok(effect);
        }
        for piece in self.map.pieces(start, end) {
            // As the kernel: what comes before a mapping that cannot get it has got it.
            if let Err(error) = self.advise_piece(&mut effect, advice, piece) {
                effect.result = -i64::from(error);
                return Ok(effect);
            }
        }
        self.or_hole(effect, start, end)
    }

    fn advise_piece(&self, effect: &mut Effect, advice: Advice, piece: Region) -> Result<(), u32> {
        match (advice, piece.backing) {
            (_, Backing::Kernel(_)) => {
                effect.push(Operation::Call(Range { start: piece.start, length: piece.end - piece.start }));
            }
            (Advice::Hint, _) | (Advice::HintForPrivateZeroes, Backing::Anonymous) => {}
            (Advice::HintForPrivateZeroes, _) => return Err(EINVAL),
            (Advice::Populate(right), _) if piece.protection & right == 0 => return Err(EINVAL),
            (Advice::Populate(_), _) => {}
            (Advice::Collapse, Backing::Anonymous) if self.holds_huge_page(piece) => {}
            (Advice::Collapse, _) => return Err(EINVAL),
            (Advice::Discard, _) => first_contents(effect, piece),
            (Advice::Remove, Backing::Anonymous) => return Err(EINVAL),
            (Advice::Remove, Backing::Image | Backing::File { .. }) => return Err(EACCES),
        }
        Ok(())
    }

    /// Whether the mapping of which this is a piece has room for an aligned huge page.
    fn holds_huge_page(&self, piece: Region) -> bool {
        let whole = self.lookup(piece.start).unwrap_or(piece);
        let first = whole.start.next_multiple_of(HUGE_PAGE_BYTES);
        first.checked_add(HUGE_PAGE_BYTES).is_some_and(|end| end <= whole.end)
    }
}

/// Gives a piece of private memory its first contents again.
pub(super) fn first_contents(effect: &mut Effect, piece: Region) {
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
        linux::MADV_FREE | linux::MADV_WIPEONFORK => Some(Advice::HintForPrivateZeroes),
        linux::MADV_POPULATE_READ => Some(Advice::Populate(linux::PROT_READ)),
        linux::MADV_POPULATE_WRITE => Some(Advice::Populate(linux::PROT_WRITE)),
        linux::MADV_COLLAPSE => Some(Advice::Collapse),
        linux::MADV_NORMAL..=linux::MADV_WILLNEED | linux::MADV_DONTFORK..=linux::MADV_PAGEOUT => {
            Some(Advice::Hint)
        }
        // Simulated failures of memory, and guard pages, which a kernel may not have either.
        _ => None,
    }
}

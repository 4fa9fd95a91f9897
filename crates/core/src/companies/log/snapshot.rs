//! A company as bytes: what a member that is far behind is sent, and what is kept in place of old entries.
//!
//! They come from another node, so nothing in them is believed: they must be what this version would write,
//! and a state that entries can lead to.

use super::apply::{Company, SlotState};
use crate::companies::SLOTS;
use alloc::vec::Vec;
use banyan_wire::frame::{self, FrameError, LENGTH_BYTES};

/// Why bytes are no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not the encoding of any state.
    #[error(transparent)]
    Bytes(#[from] FrameError),
    /// No entries lead to such a state.
    #[error("a state of a company that contradicts itself")]
    Unsound,
}

impl Company {
    /// All of it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        frame::encode(self).split_off(LENGTH_BYTES)
    }

    /// What [`Self::to_bytes`] has written. It takes as much memory as a small multiple of the bytes.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let company: Self = frame::decode(bytes)?;
        let is_sound = company.slots.iter().all(|(slot, state)| {
            let is_slot = slot.0 < SLOTS;
            match state {
                SlotState::Open(table) | SlotState::Sealed(table, _) => {
                    let belongs = table.leases().all(|lease| lease.extents.slot() == *slot);
                    is_slot && table.is_sound() && belongs
                }
                SlotState::Gone(_) => is_slot,
            }
        });
        if is_sound { Ok(company) } else { Err(SnapshotError::Unsound) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::companies::log::{Entry, ExtentRun, Owner};
    use crate::support::{Footing, Incarnation};
    use banyan_wire::cluster::MemberId;
    use banyan_wire::ids::{ExtentNumber, JobId};
    use proptest::prelude::*;

    fn company() -> Company {
        let mut company = Company::root();
        let owner = Owner { node: MemberId([1; 10]), incarnation: Incarnation(3) };
        company.apply(&Entry::Join { owner, footing: Footing::on(&[owner.node]) }).unwrap();
        for (job, first, count) in [(1, 0x80_0000, 64), (1, 0x80_0200, 512), (2, 0x80_0000, 1)] {
            let extents = ExtentRun { job: JobId(job), first: ExtentNumber(first), count };
            company.apply(&Entry::Allocate { owner, extents }).unwrap();
        }
        company
    }

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_refused() {
        let bytes = company().to_bytes();
        assert_eq!(Company::from_bytes(&bytes), Ok(company()));
        for cut in 0..bytes.len() {
            assert!(Company::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_state_in_its_only_spelling_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = company().to_bytes();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            for bytes in [&bytes[..], &bytes[cut.index(bytes.len())..]] {
                if let Ok(company) = Company::from_bytes(bytes) {
                    prop_assert_eq!(company.to_bytes(), bytes);
                }
            }
        }
    }
}

//! The kernel operations that the daemon has the stub perform, in order, for a memory call or to learn a mapping.

use super::packet::{Body, Field};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Kernel operations that the stub performs for one memory call, at most.
pub const ACTIONS_MAX: usize = 12;

/// Kinds of [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(u64)]
pub enum ActionKind {
    /// Map `[address, +length)` of the memory file at its own address without access rights.
    Reserve = 1,
    /// Tell the daemon ([`Request::Confirm`](super::Request::Confirm)) that the range is mapped; it registers what is
    /// shared.
    Confirm = 2,
    /// Set access rights of the range to `extra` (PROT_ bits).
    Protect = 3,
    /// Unmap the range.
    Unmap = 4,
    /// Drop the pages of the range from the memory file here; no other node has any.
    Punch = 5,
    /// Ask the daemon ([`Request::Discard`](super::Request::Discard)) to make the range zero on all nodes.
    Discard = 6,
    /// Fill the range from the file of the original call, at offset `extra`.
    ReadFile = 7,
    /// Copy `length` bytes from `extra` to `address`.
    Copy = 8,
}

/// One kernel operation for the stub to perform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Action {
    /// What to do.
    pub kind: ActionKind,
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// Meaning depends on the kind.
    pub extra: u64,
}

impl Action {
    /// An action of `kind`.
    #[must_use]
    pub const fn new(kind: ActionKind, address: u64, length: u64, extra: u64) -> Self {
        Self { kind, address, length, extra }
    }
}

/// The result of a memory call, and what to do before the call returns it. In a packet: the result, and as many actions
/// as there are.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// What the call returns: a value, or a negated errno.
    pub result: i64,
    count: usize,
    actions: [Action; ACTIONS_MAX],
}

impl Steps {
    /// Nothing to do yet.
    #[must_use]
    pub const fn new(result: i64) -> Self {
        let unused = Action::new(ActionKind::Reserve, 0, 0, 0);
        Self { result, count: 0, actions: [unused; ACTIONS_MAX] }
    }

    /// Appends an action. Returns false if there is no room.
    #[must_use]
    pub fn push(&mut self, action: Action) -> bool {
        let Some(slot) = self.actions.get_mut(self.count) else { return false };
        *slot = action;
        self.count += 1;
        true
    }

    /// What to do, in order.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.actions[..self.count]
    }
}

impl PartialEq for Steps {
    fn eq(&self, other: &Self) -> bool {
        self.result == other.result && self.actions() == other.actions()
    }
}

impl Eq for Steps {}

impl Body for Steps {
    const FIELDS: &'static [Field] = &[
        Field { name: "result", offset: 0, bytes: 8 },
        Field { name: "actions", offset: 8, bytes: size_of::<Action>() * ACTIONS_MAX },
    ];

    fn write(&self, to: &mut [u8]) -> usize {
        let actions = self.actions().as_bytes();
        to[..8].copy_from_slice(&self.result.to_le_bytes());
        to[8..8 + actions.len()].copy_from_slice(actions);
        8 + actions.len()
    }

    fn read(from: &[u8]) -> Option<Self> {
        let (result, list) = from.split_first_chunk::<8>()?;
        let mut steps = Self::new(i64::from_le_bytes(*result));
        let actions = list.chunks_exact(size_of::<Action>());
        if !actions.remainder().is_empty() {
            return None;
        }
        for action in actions {
            if !steps.push(Action::try_read_from_bytes(action).ok()?) {
                return None;
            }
        }
        Some(steps)
    }
}

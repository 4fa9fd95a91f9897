//! The kernel operations that the daemon has the stub perform, in order, for a memory call or to learn a
//! mapping.

use super::packet::{Body, Field, Packet, enumeration, records};
use zerocopy::{IntoBytes, TryFromBytes};

/// Kernel operations that the stub performs for one memory call, at most.
pub const ACTIONS_MAX: usize = 12;

enumeration! {
    /// Kinds of [`Action`].
    ActionKind: u64 {
        /// Map the memory file at the range, at the offset that is the address, without rights.
        1 Reserve,
        /// Send the request `Confirm`; the daemon registers what is shared.
        2 Confirm,
        /// Give the range the rights in `extra` (`PROT_` bits).
        3 Protect,
        /// Unmap the range.
        4 Unmap,
        /// Make the range zero, of which no other node has any: in the memory file, or in private memory.
        5 Punch,
        /// Send the request `Discard`.
        6 Discard,
        /// Fill the range from the file, at offset `extra`.
        7 ReadFile,
        /// Copy to the range from the address `extra`.
        8 Copy,
        /// Make the call itself, on the range.
        9 Call,
        /// Have the kernel move the call's range from the address `extra` to this one.
        10 Move,
        /// Ask for more steps with the request `More`.
        11 More,
        /// Have the kernel map the file privately at the range, from offset `extra` on, without rights.
        12 MapFile,
    }
}

records! {
    /// One kernel operation for the stub to perform.
    Action {
        /// What to do.
        kind: ActionKind,
        /// First byte.
        address: u64,
        /// Bytes.
        length: u64,
        /// Depends on the kind.
        extra: u64,
    }
}

impl Action {
    /// An action of `kind`.
    #[must_use]
    pub const fn new(kind: ActionKind, address: u64, length: u64, extra: u64) -> Self {
        Self { kind, address, length, extra }
    }
}

/// The result of a memory call, and what to do before the call returns it. In a packet: the result, and as
/// many actions as there are.
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
        Field {
            name: "result",
            about: "What the call returns: a value, or a negated errno.",
            offset: 0,
            bytes: 8,
        },
        Field {
            name: "actions",
            about: "What to do, in order: as many as the packet holds, twelve at most.",
            offset: 8,
            bytes: size_of::<Action>() * ACTIONS_MAX,
        },
    ];

    fn write(&self, to: &mut Packet) {
        to.put(&self.result.to_le_bytes());
        to.put(self.actions().as_bytes());
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

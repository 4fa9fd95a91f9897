//! What the stub and its node daemon say to each other over two Unix sockets of kind SEQPACKET.
//!
//! - the *request* socket: the stub asks, the daemon answers, one at a time;
//! - the *command* socket: the daemon commands, the stub's service thread answers.
//!
//! Every message is one fixed-size record, so a packet of another size is an error and nothing needs a length.
//! Files (memory file, userfaultfd, deputy connections) travel beside a record as SCM_RIGHTS.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of these records; both sides come from one binary, so a mismatch is a build error made visible.
pub const STUB_ABI_VERSION: u32 = 1;

/// Kernel operations that the stub performs for one memory call, at most.
pub const ACTIONS_MAX: usize = 12;

/// What the stub asks of its daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RequestKind {
    /// First record of a replica: carries the userfaultfd. Values: ABI version, process id.
    Hello = 1,
    /// Ready to run. The answer's values are instruction pointer and stack pointer (home only).
    Ready = 2,
    /// A memory call (`mmap`, `munmap`, `mprotect`, `mremap`, `brk`, `madvise`). Values: number, six arguments,
    /// the node whose thread called. The answer lists actions.
    Memory = 3,
    /// The actions up to [`ActionKind::Confirm`] were performed. Values: address, length.
    Confirm = 4,
    /// The range is unmapped here: make its pages zero everywhere. Values: address, length.
    Discard = 5,
    /// A replica touched an address that it has no mapping for. Values: address, the `PROT_` bit needed. The answer
    /// lists actions, or has a negative result if the program has no such mapping either.
    Lookup = 6,
    /// Bring `[address, address + length)` here before a system call uses it. Values: address, length, 1 to write.
    Acquire = 7,
    /// A new thread wants a connection to another node. Values: node, thread id. The answer carries a socket.
    Connect = 8,
    /// The program ends. Values: exit status, threads that it started. Answered when the other replicas have ended and all is counted.
    Exit = 9,
    /// Say a line to the person: a call was refused. Values: system call number, reason ([`Refusal`]).
    Refused = 10,
    /// Bring the pages at these addresses here: a thread is about to start on them. Values: unused, addresses.
    Push = 11,
    /// Counters of a thread that ends. Values: node, CPU nanoseconds, deputy calls.
    ThreadEnd = 12,
}

/// Why a call was refused; the daemon turns it into one line on the standard error of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Refusal {
    /// The number has no class that can be served yet.
    NotTreated = 1,
    /// A shared, writable mapping of a file.
    SharedFileMapping = 2,
    /// A signal with a program handler reached a thread on another node.
    HandlerOnRemoteThread = 3,
}

/// What the daemon commands of the stub's service thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CommandKind {
    /// Start a carrier on the connection that comes with this record. Value: thread id at home.
    StartCarrier = 1,
    /// Unmap a range: threads that touch it will look it up again. Values: address, length.
    Forget = 2,
    /// End at once with the status in the value.
    End = 3,
}

/// One record of either socket, in either direction.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Record {
    /// [`RequestKind`] or [`CommandKind`]; an answer repeats it.
    pub kind: u32,
    /// How many of `actions` are meant.
    pub action_count: u32,
    /// Result of an answer: a value, or a negated errno.
    pub result: i64,
    /// Meaning depends on the kind.
    pub values: [u64; 8],
    /// What to do, in order.
    pub actions: [Action; ACTIONS_MAX],
}

impl Record {
    /// A record of `kind` with `values`, without actions.
    #[must_use]
    pub const fn new(kind: u32, values: [u64; 8]) -> Self {
        Self { kind, action_count: 0, result: 0, values, actions: [Action::NONE; ACTIONS_MAX] }
    }

    /// Appends an action. Returns false if there is no room.
    #[must_use]
    pub fn push(&mut self, action: Action) -> bool {
        let Some(slot) = self.actions.get_mut(self.action_count as usize) else { return false };
        *slot = action;
        self.action_count += 1;
        true
    }

    /// The actions meant.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.actions[..(self.action_count as usize).min(ACTIONS_MAX)]
    }
}

/// Kinds of [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ActionKind {
    /// Map `[address, +length)` of the memory file at its own address without access rights.
    Reserve = 1,
    /// Tell the daemon ([`RequestKind::Confirm`]) that the range is mapped; it registers what is shared.
    Confirm = 2,
    /// Set access rights of the range to `extra` (PROT_ bits).
    Protect = 3,
    /// Unmap the range.
    Unmap = 4,
    /// Drop the pages of the range from the memory file here; nobody else has any.
    Punch = 5,
    /// Ask the daemon ([`RequestKind::Discard`]) to make the range zero on all nodes.
    Discard = 6,
    /// Fill the range from the file of the original call, at offset `extra`.
    ReadFile = 7,
    /// Copy `length` bytes from `extra` to `address`.
    Copy = 8,
}

/// One kernel operation for the stub to perform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Action {
    /// An [`ActionKind`].
    pub kind: u32,
    /// Unused, zero.
    pub reserved: u32,
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// Meaning depends on the kind.
    pub extra: u64,
}

impl Action {
    const NONE: Self = Self { kind: 0, reserved: 0, address: 0, length: 0, extra: 0 };

    /// An action of `kind`.
    #[must_use]
    pub const fn new(kind: ActionKind, address: u64, length: u64, extra: u64) -> Self {
        Self { kind: kind as u32, reserved: 0, address, length, extra }
    }
}

/// Gives an enum of this module a checked conversion from its number.
macro_rules! from_number {
    ($name:ident, $number:ty, $($variant:ident),+) => {
        impl $name {
            /// The variant with this number, if there is one.
            #[must_use]
            pub fn from_number(number: $number) -> Option<Self> {
                $(if number == Self::$variant as $number { return Some(Self::$variant); })+
                None
            }
        }
    };
}
from_number!(
    RequestKind,
    u32,
    Hello,
    Ready,
    Memory,
    Confirm,
    Discard,
    Lookup,
    Acquire,
    Connect,
    Exit,
    Refused,
    Push,
    ThreadEnd
);
from_number!(CommandKind, u32, StartCarrier, Forget, End);
from_number!(ActionKind, u32, Reserve, Confirm, Protect, Unmap, Punch, Discard, ReadFile, Copy);
from_number!(Refusal, u64, NotTreated, SharedFileMapping, HandlerOnRemoteThread);

/// First record from the daemon to a new stub, beside which the memory file and the command socket travel.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Welcome {
    /// [`STUB_ABI_VERSION`].
    pub version: u32,
    /// This replica's node; 0 is home.
    pub node: u32,
    /// Nodes of the run.
    pub nodes: u32,
    /// Threads that each node takes in turn before the next one gets any: 1 spreads, more packs.
    pub threads_per_turn: u32,
    /// What the process is called, as the kernel would: the file's last component, zero-filled.
    pub name: [u8; 16],
}

//! What the stub and its node daemon say to each other over two Unix sockets of kind SEQPACKET.
//!
//! - the *request* socket: the stub sends a [`Request`], the daemon an [`Answer`], one at a time;
//! - the *command* socket: the daemon sends a [`Command`], the stub's service thread a [`Reply`].
//!
//! A message is one packet: its kind in four bytes, then the fields of its record without padding. The stub
//! shares its address space with the program, so the daemon believes nothing that comes from it: a packet
//! decodes only if its kind is known, its length is that of the kind, and every enumeration has one of its
//! values. What was decoded encodes to the same bytes again.
//!
//! Descriptors (memory file, userfaultfd, deputy connections) travel beside a packet as SCM_RIGHTS.
//!
//! A new message is a row in [`request`] or [`command`] and an arm where it is handled; the compiler asks for
//! the arm, and a test for the row's line in `docs/formats/stub-abi.md`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub mod actions;
pub mod command;
pub mod packet;
pub mod request;

pub use actions::{ACTIONS_MAX, Action, ActionKind, Steps};
pub use command::{Command, End, Failed, LeaveNode, Raise, Reply, StartCarrier, Started, TimeHere, Used};
pub use packet::{Field, Malformed, PACKET_MAX, Packet, Row};
pub use request::{
    Acquire, Answer, Copied, Enter, Execute, Executes, Exit, Filter, Hello, Lookup, LowCode, MapSource,
    MemoryCall, Nothing, Open, Placed, Purpose, Push, Range, Refusal, Refused, Request, StartThread,
    StoppedThread, ThreadEnd, TimeElsewhere, TimerCall, TimerState,
};

/// Version of these records; both sides come from one binary, so a mismatch is a build error made visible.
pub const STUB_ABI_VERSION: u32 = 13;

/// The most instructions of a filter of system calls that the stub has room for.
pub const FILTER_MAX: usize = 512;

/// First packet from the daemon to a new stub, beside which the memory file and the command socket travel.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Welcome {
    /// [`STUB_ABI_VERSION`].
    pub version: u32,
    /// This replica's node; 0 is home.
    pub node: u32,
    /// Nodes of the run.
    pub nodes: u32,
    /// Whether what children of the program execute is a run, too: 1, or 0.
    pub follows_children: u32,
    /// What the process is called, as the kernel would: the file's last component, zero-filled.
    pub name: [u8; 16],
}

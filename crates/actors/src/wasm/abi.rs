//! The names, numbers and signatures that host and guest agree on. What they mean is described byte by byte
//! in `docs/reference/guest-abi.md`; the functions themselves are in `host_functions`.

use wasmparser::ValType;

/// The version that this host speaks. A module exports a function `banyan_abi_<version>`, which is never
/// called.
pub const VERSION: u32 = 1;
/// The start of the name by which a module says which version it speaks.
pub const VERSION_PREFIX: &str = "banyan_abi_";
/// The module name of every import.
pub const IMPORTS: &str = "banyan";
/// Called with the first message of an actor; optional.
pub const START: &str = "banyan_start";
/// Called with every other message.
pub const RECEIVE: &str = "banyan_receive";
/// What the instrumenter's exports begin with; refused in a module's own.
pub const RESERVED_PREFIX: &str = "banyan:";

/// The handle by which an actor knows itself.
pub const SELF_HANDLE: u32 = 0;
/// Bytes in one message.
pub const MESSAGE_BYTES: u32 = 1 << 20;
/// Addresses in one message.
pub const MESSAGE_ADDRESSES: u32 = 256;
/// Addresses that an actor can hold at a time.
pub const HANDLES: u32 = 65_536;
/// Sends and creates in one event.
pub const EFFECTS: usize = 65_536;
/// Bytes in the text of a failure or a line of the log; what is longer is cut.
pub const TEXT_BYTES: u32 = 4_096;
/// Lines of the log in one event; more are counted and dropped.
pub const LOG_LINES: usize = 64;

use ValType::{I32, I64};

/// Parameters and results of [`START`] and [`RECEIVE`]: behaviour, bytes and addresses of the message.
pub const ENTRY: (&[ValType], &[ValType]) = (&[I32, I32, I32], &[]);

/// A host function: its name, parameters and results.
pub type Signature = (&'static str, &'static [ValType], &'static [ValType]);

/// Everything that a module may import.
pub const HOST_FUNCTIONS: &[Signature] = &[
    ("message_read", &[I32, I32, I32], &[]),
    ("message_address", &[I32], &[I32]),
    ("send", &[I32, I32, I32, I32, I32], &[]),
    ("create", &[I32, I32, I32, I32, I32], &[I32]),
    ("become", &[I32], &[]),
    ("release", &[I32], &[]),
    ("same", &[I32, I32], &[I32]),
    ("fail", &[I32, I32], &[]),
    ("log", &[I32, I32, I32], &[]),
    ("time", &[], &[I64]),
];

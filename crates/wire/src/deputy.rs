//! What a carrier (the thread's place of execution) and its deputy (the home thread that makes its system
//! calls) say to each other, over a TCP connection of their own: one wake-up each way and nothing in between.
//!
//! A message is a [`Header`] and `length` bytes of payload. The payload of a call is the contents of its
//! inward buffers, one after another in argument order; that of a return, the contents of its outward
//! buffers.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of every message: "bnyd" and the version of this protocol.
const DEPUTY_MAGIC: u32 = 0x626e_0004;
/// Bytes of a payload at most. Larger buffers are not shipped: the deputy uses the program's memory itself.
pub const PAYLOAD_MAX: usize = 128 << 10;
/// Number of a call that stands for one that is not served on another node, whose number is argument 0: the
/// deputy refuses it.
pub const NOT_SERVED: i64 = -1;

/// Kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DeputyMessage {
    /// Deputy to carrier: run the thread. Arguments: frame address, FS base, thread id, signal mask, GS
    /// base.
    Start = 1,
    /// Carrier to deputy: make this system call. Number and arguments as the program gave them;
    /// `rt_sigreturn` has one argument, the mask that holds from then on.
    Call = 2,
    /// Deputy to carrier: the result is in `number`. Argument 0 is a [`SignalNotice`],
    /// argument 1 the deputy's processor time in nanoseconds.
    Return = 3,
    /// Carrier to deputy: the thread has ended; the deputy ends as well. Arguments: exit status, CPU
    /// nanoseconds.
    Exit = 4,
    /// Carrier to deputy: an instruction of the thread faulted. Arguments: signal, and whether a handler can
    /// be started for it (1) or not (0). Returned as `TakeSignal` is, or the program dies of it.
    Fault = 5,
    /// Carrier to deputy: the thread goes on at home. Number: CPU nanoseconds. Arguments: frame address, FS
    /// base, of its alternate signal stack the address, size and flags, and GS base.
    ComeHome = 6,
    /// Deputy to carrier, as urgent data, between calls: a signal waits for the thread, which runs the
    /// program. Its last byte is the urgent one, for which the kernel interrupts the carrier. Not answered.
    Interrupt = 7,
    /// Carrier to deputy: give the signal that waits. The return's number is the signal, or 0 if there is
    /// none any more; arguments 1 to 4 are handler, flags and mask of its disposition, and what the thread
    /// blocked when it came; argument 5 is the restorer. The payload is its `siginfo_t`.
    TakeSignal = 8,
}

/// What a return says of signals for the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum SignalNotice {
    /// None waits.
    None = 0,
    /// One waits, and is to be taken before the thread goes on.
    SignalWaits = 1,
    /// The same, and the call was not made or is to be made again after the handler.
    CallAgain = 2,
}

impl SignalNotice {
    /// The notice with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::SignalWaits,
            2 => Self::CallAgain,
            _ => return None,
        })
    }
}

impl DeputyMessage {
    /// The kind with this number, if there is one.
    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Start,
            2 => Self::Call,
            3 => Self::Return,
            4 => Self::Exit,
            5 => Self::Fault,
            6 => Self::ComeHome,
            7 => Self::Interrupt,
            8 => Self::TakeSignal,
            _ => return None,
        })
    }
}

/// Head of every message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Header {
    /// `DEPUTY_MAGIC`.
    pub magic: u32,
    /// A [`DeputyMessage`].
    pub kind: u32,
    /// System call number of a call, result of a return.
    pub number: i64,
    /// Arguments.
    pub arguments: [u64; 6],
    /// Bytes of payload that follow, at most [`PAYLOAD_MAX`].
    pub length: u32,
    /// Bit i: argument i of the call is a buffer whose contents are shipped.
    pub shipped: u32,
}

impl Header {
    /// A message without payload.
    #[must_use]
    pub const fn new(kind: DeputyMessage, number: i64, arguments: [u64; 6]) -> Self {
        Self { magic: DEPUTY_MAGIC, kind: kind as u32, number, arguments, length: 0, shipped: 0 }
    }

    /// The kind, if the header is well-formed: right magic, known kind, payload within bounds.
    #[must_use]
    pub fn check(&self) -> Option<DeputyMessage> {
        if self.magic != DEPUTY_MAGIC || self.length as usize > PAYLOAD_MAX {
            return None;
        }
        DeputyMessage::from_number(self.kind)
    }
}

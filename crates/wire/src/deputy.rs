//! What a carrier (the thread's place of execution) and its deputy (the home thread that makes its system
//! calls) say to each other, over a TCP connection of their own: one wake-up each way and nothing in between.
//!
//! A message is a [`Header`] and `length` bytes of payload. The payload of a call is the contents of its
//! inward buffers, one after another in argument order; that of a return, the contents of its outward
//! buffers.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of every message: "bnyd" and the version of this protocol.
const DEPUTY_MAGIC: u32 = 0x626e_0005;
/// Bytes of a payload at most. Larger buffers are not shipped: the deputy uses the program's memory itself.
pub const PAYLOAD_MAX: usize = 128 << 10;
/// Number of a call that stands for one that is not served on another node, whose number is argument 0: the
/// deputy refuses it.
pub const NOT_SERVED: i64 = -1;

/// Kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DeputyMessage {
    /// Deputy to carrier: run the thread. The payload is the thread, a [`ThreadState`] and what follows it.
    Start = 1,
    /// Carrier to deputy: make this system call. Number and arguments as the program gave them.
    /// `rt_sigreturn` has one argument, the mask that holds from then on; `clone` and `clone3` have the
    /// flags and the words of parent and child, and the payload is the new thread.
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
    /// Carrier to deputy: the thread leaves this node. Number: CPU nanoseconds. Argument 0: a [`Departure`].
    /// The payload is the thread.
    Leave = 6,
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

/// Why a thread leaves a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Departure {
    /// It touched what only the home node has: it goes on there.
    HomeOnly = 0,
    /// It was asked to: home says where it goes on.
    Asked = 1,
}

impl Departure {
    /// The one with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::HomeOnly),
            1 => Some(Self::Asked),
            _ => None,
        }
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
            6 => Self::Leave,
            7 => Self::Interrupt,
            8 => Self::TakeSignal,
            _ => return None,
        })
    }
}

/// What a thread is between two of its instructions. `extended` bytes follow: its floating-point and vector
/// registers, as the kernel saves them in a signal frame (an XSAVE area, or an FXSAVE image).
///
/// Behind a [`Header`] the bytes that follow begin at a multiple of 64, where the kernel wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ThreadState {
    /// Its registers: `struct ucontext`, of which stack and mask say nothing.
    pub context: [u64; 38],
    /// FS base.
    pub fs_base: u64,
    /// GS base.
    pub gs_base: u64,
    /// Signals that the program blocks.
    pub mask: u64,
    /// Its alternate signal stack: `stack_t`.
    pub alternate_stack: [u64; 3],
    /// Nanoseconds of processor time that it used on other nodes than the one it goes to.
    pub used_elsewhere: u64,
    /// Its id at home.
    pub thread: u64,
    /// Bytes that follow.
    pub extended: u64,
}
const _: () = assert!((size_of::<Header>() + size_of::<ThreadState>()).is_multiple_of(64));

/// An FXSAVE image has this many bytes.
const EXTENDED_MIN: usize = 512;

impl ThreadState {
    /// The thread at the beginning of a payload, if it is one and nothing else.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (state, rest) = Self::read_from_prefix(payload).ok()?;
        let whole = state.extended == rest.len() as u64 && (rest.is_empty() || rest.len() >= EXTENDED_MIN);
        whole.then_some(state)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_read_whole_or_not_at_all() {
        let state = ThreadState {
            context: core::array::from_fn(|word| word as u64),
            fs_base: 1,
            gs_base: 2,
            mask: 3,
            alternate_stack: [4, 5, 6],
            used_elsewhere: 7,
            thread: 8,
            extended: 512,
        };
        let mut payload = [0; size_of::<ThreadState>() + 513];
        payload[..size_of::<ThreadState>()].copy_from_slice(state.as_bytes());
        let right = size_of::<ThreadState>() + 512;
        for length in 0..payload.len() {
            assert_eq!(ThreadState::read(&payload[..length]), (length == right).then_some(state), "{length}");
        }
        let small = ThreadState { extended: 8, ..state };
        payload[..size_of::<ThreadState>()].copy_from_slice(small.as_bytes());
        assert_eq!(ThreadState::read(&payload[..size_of::<ThreadState>() + 8]), None);
    }
}

//! Shipping a call's buffers with the call: which argument is which comes from the syscall table.
//!
//! Inward buffers and the old contents of fixed structures travel with the call, in argument order; outward
//! buffers travel with the return, in argument order. A structure that is written is shipped both ways, so
//! that a call that leaves it alone leaves the program's alone too.

use crate::memory::copy::{self, ProgramAddress};
use banyan_sys::raw::Errno;
use banyan_wire::deputy::{Header, PAYLOAD_MAX};
use banyan_wire::ids::PAGE_BYTES;
use banyan_wire::syscalls::{Argument, SystemCall};

/// Longest path that is shipped: `PATH_MAX`.
const PATH_MAX: usize = 4096;

/// Where one argument's bytes lie in the payload of a call.
#[derive(Clone, Copy, Default)]
pub struct Piece {
    /// Offset in the payload buffer.
    pub offset: usize,
    /// Bytes; for an outward buffer, the room.
    pub length: usize,
    /// The bytes go back with the return.
    pub outward: bool,
    /// How many bytes go back is the call's result.
    pub by_result: bool,
    /// The argument is shipped at all.
    pub used: bool,
}

/// Where all arguments' bytes lie.
pub type Pieces = [Piece; 6];

/// Copies a call's inward buffers from program memory into `payload` and notes in `header` what is shipped.
/// Buffers that do not fit, and those that are not wholly the program's memory, are left to the process that
/// makes the call, with the program's own pointers: the kernel then does the part that it can, or says what
/// is wrong.
pub fn pack(row: &SystemCall, header: &mut Header, payload: &mut [u8]) -> Pieces {
    let arguments = header.arguments;
    let mut pieces = Pieces::default();
    let mut end = 0;
    for (index, argument) in row.arguments().iter().enumerate() {
        let pointer = arguments[index];
        if pointer == 0 {
            continue;
        }
        let (length, fixed_out) = match *argument {
            Argument::In(of) => (arguments[of as usize] as usize, false),
            Argument::FixedIn(size) => (size as usize, false),
            Argument::FixedOut(size) => (size as usize, true),
            Argument::Path => (0, false),
            _ => continue,
        };
        let copied = if *argument == Argument::Path {
            let room = PATH_MAX.min(PAYLOAD_MAX - end);
            copy::copy_string_in(ProgramAddress(pointer), &mut payload[end..end + room])
        } else if length <= PAYLOAD_MAX - end {
            copy::copy_in(ProgramAddress(pointer), &mut payload[end..end + length]).map(|()| length)
        } else {
            continue;
        };
        let Ok(length) = copied else { continue };
        pieces[index] = Piece { offset: end, length, outward: fixed_out, by_result: false, used: true };
        header.shipped |= 1 << index;
        end += length;
    }
    header.length = end as u32;
    for (index, argument) in row.arguments().iter().enumerate() {
        let Argument::Out(of) = *argument else { continue };
        let room = arguments[of as usize] as usize;
        // The call must not take data that cannot be delivered.
        let whole = room <= PAYLOAD_MAX - end && is_writable(ProgramAddress(arguments[index]), room as u64);
        if arguments[index] != 0 && whole {
            pieces[index] = Piece { offset: end, length: room, outward: true, by_result: true, used: true };
            header.shipped |= 1 << index;
            end += room;
        }
    }
    pieces
}

/// Whether the program can write all of a buffer.
fn is_writable(start: ProgramAddress, length: u64) -> bool {
    let first = PAGE_BYTES - start.0 % PAGE_BYTES;
    let pages = (first..length).step_by(PAGE_BYTES as usize);
    length == 0
        || core::iter::once(0).chain(pages).all(|offset| copy::probe_writable(start.add(offset)).is_ok())
}

/// The deputy's side of [`pack`]: where the shipped arguments lie, from a header and payload that came over
/// the network. `None` if they do not agree with the table.
pub fn unpack(row: &SystemCall, header: &Header, payload: &[u8]) -> Option<Pieces> {
    let received = header.length as usize;
    let mut pieces = Pieces::default();
    let mut end = 0;
    for (index, argument) in row.arguments().iter().enumerate() {
        if header.shipped & (1 << index) == 0 {
            continue;
        }
        let (length, fixed_out) = match *argument {
            Argument::In(of) => (usize::try_from(header.arguments[of as usize]).ok()?, false),
            Argument::FixedIn(size) => (size as usize, false),
            Argument::FixedOut(size) => (size as usize, true),
            Argument::Path => {
                let zero = payload.get(end..received)?.iter().position(|&byte| byte == 0)?;
                (zero + 1, false)
            }
            Argument::Out(_) => continue,
            _ => return None,
        };
        if length > received.checked_sub(end)? {
            return None;
        }
        pieces[index] = Piece { offset: end, length, outward: fixed_out, by_result: false, used: true };
        end += length;
    }
    if end != received || header.shipped >> row.arguments().len() != 0 {
        return None;
    }
    for (index, argument) in row.arguments().iter().enumerate() {
        let Argument::Out(of) = *argument else { continue };
        if header.shipped & (1 << index) == 0 {
            continue;
        }
        let room = usize::try_from(header.arguments[of as usize]).ok()?;
        if room > PAYLOAD_MAX - end {
            return None;
        }
        pieces[index] = Piece { offset: end, length: room, outward: true, by_result: true, used: true };
        end += room;
    }
    Some(pieces)
}

impl Piece {
    /// Bytes that go back after a call with this result.
    #[must_use]
    pub fn returned(&self, result: i64) -> usize {
        if !self.outward {
            0
        } else if self.by_result {
            usize::try_from(result).unwrap_or(0).min(self.length)
        } else {
            self.length
        }
    }
}

/// The call's arguments with shipped pointers replaced by their place in `payload`.
pub fn local_arguments(header: &Header, pieces: &Pieces, payload: &mut [u8]) -> [u64; 6] {
    let mut arguments = header.arguments;
    for (argument, piece) in arguments.iter_mut().zip(pieces).filter(|(_, piece)| piece.used) {
        *argument = payload[piece.offset..].as_mut_ptr() as u64;
    }
    arguments
}

/// Where outward bytes lie in a payload after the call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Where the call wrote them.
    InPlace,
    /// One after another from the start, as they come over the network.
    Compact,
}

/// Copies outward bytes to the program.
///
/// # Errors
/// `EFAULT` if an outward buffer is not the program's writable memory.
pub fn deliver(
    arguments: &[u64; 6],
    pieces: &Pieces,
    result: i64,
    payload: &[u8],
    order: Order,
) -> Result<(), Errno> {
    let mut at = 0;
    for (argument, piece) in arguments.iter().zip(pieces) {
        let length = piece.returned(result);
        if length != 0 {
            let from = match order {
                Order::InPlace => piece.offset,
                Order::Compact => at,
            };
            copy::copy_out(ProgramAddress(*argument), &payload[from..from + length])?;
            at += length;
        }
    }
    Ok(())
}

/// Bytes that a return with this result carries.
#[must_use]
pub fn returned_total(pieces: &Pieces, result: i64) -> usize {
    pieces.iter().map(|piece| piece.returned(result)).sum()
}

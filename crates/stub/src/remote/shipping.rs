//! Shipping a call's buffers with the call: which argument is which comes from the syscall table.
//!
//! Inward buffers and the old contents of fixed structures travel with the call, in argument order; outward
//! buffers travel with the return, in argument order. A structure that is written is shipped both ways, so
//! that a call that leaves it alone leaves the program's alone too.

use crate::memory::copy::{self, ProgramAddress};
use banyan_sys::raw::Errno;
use banyan_wire::deputy::{Header, PAYLOAD_MAX};
use banyan_wire::ids::PAGE_BYTES;
use banyan_wire::syscalls::{self, Argument, SystemCall};

/// Longest path that is shipped: `PATH_MAX`.
const PATH_MAX: usize = 4096;

/// Which way an argument's bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// None: the call has the program's own pointer, or no pointer at all.
    NotShipped,
    /// With the call.
    In,
    /// With the call, and back with the return.
    InAndOut,
    /// With the return, as many as its result says.
    Out,
}

/// Where one argument's bytes lie in the payload of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    offset: u32,
    length: u32,
    way: Way,
}

/// Where all arguments' bytes lie.
pub type Pieces = [Piece; 6];

/// Nothing is shipped.
pub const NONE: Pieces = [Piece { offset: 0, length: 0, way: Way::NotShipped }; 6];

/// A buffer that an argument leads to: its bytes, and which way they go. A path's are counted where it lies.
fn buffer(argument: Argument, arguments: &[u64; 6]) -> Option<(usize, Way)> {
    let length = |of| syscalls::argument(arguments, of) as usize;
    Some(match argument {
        Argument::In(of) => (length(of), Way::In),
        Argument::Out(of) => (length(of), Way::Out),
        Argument::FixedIn(size) => (size.into(), Way::In),
        Argument::FixedOut(size) => (size.into(), Way::InAndOut),
        Argument::Path => (0, Way::In),
        _ => return None,
    })
}

/// The buffers of a call in the order in which they lie in its payload, with their arguments' numbers: first
/// what travels with the call, then the room for what only travels back.
fn buffers(
    row: &SystemCall,
    arguments: [u64; 6],
    mut lay: impl FnMut(usize, Argument, usize, Way) -> Option<()>,
) -> Option<()> {
    for only_out in [false, true] {
        for (index, &argument) in row.arguments().iter().enumerate() {
            if let Some((length, way)) = buffer(argument, &arguments)
                && (way == Way::Out) == only_out
            {
                lay(index, argument, length, way)?;
            }
        }
    }
    Some(())
}

/// Copies a call's inward buffers from program memory into `payload` and notes in `header` what is shipped.
/// Buffers that do not fit, and those that are not wholly the program's memory, are left to the process that
/// makes the call, with the program's own pointers: the kernel then does the part that it can, or says what
/// is wrong.
pub fn pack(row: &SystemCall, header: &mut Header, payload: &mut [u8]) -> Pieces {
    let mut pieces = NONE;
    let mut end = 0;
    let arguments = header.arguments;
    buffers(row, arguments, |index, argument, length, way| {
        let from = ProgramAddress(arguments[index]);
        let room = &mut payload[end..PAYLOAD_MAX];
        let shipped = if from.0 == 0 {
            None
        } else if argument == Argument::Path {
            let most = room.len().min(PATH_MAX);
            copy::copy_string_in(from, &mut room[..most]).ok()
        } else if let Some(room) = room.get_mut(..length) {
            // The call must not take data that cannot be delivered.
            let whole = if way == Way::Out {
                is_writable(from, length as u64)
            } else {
                copy::copy_in(from, room).is_ok()
            };
            whole.then_some(length)
        } else {
            None
        };
        if let Some(length) = shipped {
            pieces[index] = Piece { offset: end as u32, length: length as u32, way };
            header.shipped |= 1 << index;
            end += length;
            if way != Way::Out {
                header.length = end as u32;
            }
        }
        Some(())
    });
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
    let (mut pieces, mut found) = (NONE, 0);
    let (mut end, mut inward) = (0, 0);
    buffers(row, header.arguments, |index, argument, length, way| {
        let shipped = header.shipped & (1 << index);
        if shipped != 0 {
            let bound = if way == Way::Out { PAYLOAD_MAX } else { received };
            let rest = payload.get(end..bound)?;
            let length = match argument {
                Argument::Path => rest.iter().position(|&byte| byte == 0)? + 1,
                _ => rest.get(..length)?.len(),
            };
            pieces[index] = Piece { offset: end as u32, length: length as u32, way };
            found |= shipped;
            end += length;
            if way != Way::Out {
                inward = end;
            }
        }
        Some(())
    })?;
    (inward == received && found == header.shipped).then_some(pieces)
}

impl Piece {
    /// Whether its bytes are shipped at all.
    #[must_use]
    pub fn is_shipped(self) -> bool {
        self.way != Way::NotShipped
    }

    /// Its bytes in the payload; for an outward buffer, all of its room. None if it is not shipped.
    #[must_use]
    pub fn of(self, payload: &mut [u8]) -> &mut [u8] {
        &mut payload[self.offset as usize..][..self.length as usize]
    }

    /// Bytes that go back after a call with this result.
    #[must_use]
    pub fn returned(self, result: i64) -> usize {
        let length = self.length as usize;
        match self.way {
            Way::NotShipped | Way::In => 0,
            Way::InAndOut => length,
            Way::Out => usize::try_from(result).unwrap_or(0).min(length),
        }
    }
}

/// The call's arguments with shipped pointers replaced by their place in `payload`.
pub fn local_arguments(header: &Header, pieces: &Pieces, payload: &mut [u8]) -> [u64; 6] {
    let mut arguments = header.arguments;
    for (argument, piece) in arguments.iter_mut().zip(pieces).filter(|(_, piece)| piece.is_shipped()) {
        *argument = piece.of(payload).as_mut_ptr() as u64;
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
                Order::InPlace => piece.offset as usize,
                Order::Compact => at,
            };
            copy::copy_out(ProgramAddress(*argument), &payload[from..][..length])?;
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

//! Bytes under three roots of fixed names, for a program that keeps its whole state as bytes
//! ([`Pma`](crate::image::Pma)). Only pages that differ are written.

use std::alloc::Layout;
use std::ptr::NonNull;

use crate::arena::{AllocateError, Arena};
use crate::disk::Disk;

/// The bytes; `None` before they were first written.
pub(crate) fn read<D: Disk>(arena: &Arena<D>) -> Option<Vec<u8>> {
    arena.assert_here();
    let (pointer, _, length) = place(arena)?;
    // SAFETY: the object holds `length` bytes that `write` put there, and the arena is borrowed.
    Some(unsafe { std::slice::from_raw_parts(pointer.as_ptr(), length) }.to_vec())
}

fn place<D: Disk>(arena: &Arena<D>) -> Option<(NonNull<u8>, Layout, usize)> {
    let address = usize::try_from(arena.root("state")?).ok()?;
    let capacity = usize::try_from(arena.root("capacity")?).ok()?;
    let length = usize::try_from(arena.root("length")?).ok()?;
    let pointer = NonNull::new(std::ptr::with_exposed_provenance_mut(address))?;
    Some((pointer, Layout::from_size_align(capacity, 16).ok()?, length))
}

/// Makes these the bytes.
///
/// # Errors
/// [`AllocateError`]; the arena is then to be rolled back.
pub(crate) fn write<D: Disk>(arena: &mut Arena<D>, bytes: &[u8]) -> Result<(), AllocateError> {
    arena.check_allocation()?;
    let place = match place(arena) {
        Some((pointer, layout, _)) if layout.size() >= bytes.len() => pointer,
        old => {
            let capacity = bytes.len().next_power_of_two().max(64);
            let error = AllocateError::Full { size: capacity, alignment: 16 };
            let layout = Layout::from_size_align(capacity, 16).map_err(|_| error)?;
            if let Some((pointer, layout, _)) = old {
                // SAFETY: the object was allocated by an earlier `write` with this layout, and the roots that
                // lead to it are replaced below.
                unsafe { arena.free(pointer, layout) };
            }
            let pointer = arena.allocate(layout)?;
            arena.set_root("state", pointer.as_ptr() as u64);
            arena.set_root("capacity", capacity as u64);
            pointer
        }
    };
    // SAFETY: the object has room for the bytes, and no other reference leads to it.
    let target = unsafe { std::slice::from_raw_parts_mut(place.as_ptr(), bytes.len()) };
    // Only pages that differ are written, so that only they are dirty.
    for (old, new) in target.chunks_mut(4096).zip(bytes.chunks(4096)) {
        if old != new {
            old.copy_from_slice(new);
        }
    }
    arena.set_root("length", bytes.len() as u64);
    Ok(())
}

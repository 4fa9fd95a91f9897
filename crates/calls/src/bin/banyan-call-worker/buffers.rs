//! The buffers of the caller's streams: what is in them is read, and what fits is written, without its
//! caller.
//!
//! As the C library's own macros do it (`getc_unlocked`, `putc_unlocked`), which is why the first fields of a
//! `FILE` never change. Not for streams of this process, and not for what needs the file: that is the
//! caller's to do.

use std::ffi::c_void;

/// The first fields of the C library's `FILE`.
#[repr(C)]
struct Fields {
    flags: i32,
    read_at: *mut u8,
    read_end: *mut u8,
    read_start: *mut u8,
    write_start: *mut u8,
    write_at: *mut u8,
    write_end: *mut u8,
}

/// A stream of the caller, whose memory comes when it is touched.
#[derive(Clone, Copy)]
pub(crate) struct Buffers(*mut Fields);

impl Buffers {
    /// # Safety
    /// `file` must be a stream of the caller, which it uses on no other thread.
    pub(crate) const unsafe fn of(file: *mut c_void) -> Self {
        Self(file.cast())
    }

    /// The next byte, if it is in the buffer.
    pub(crate) fn byte(self) -> Option<u8> {
        // SAFETY: a stream, by the contract of `of`; what lies between the two is its buffer.
        unsafe {
            let fields = self.0;
            ((*fields).read_at < (*fields).read_end).then(|| {
                let byte = *(*fields).read_at;
                (*fields).read_at = (*fields).read_at.add(1);
                byte
            })
        }
    }

    /// How many bytes wait in the buffer.
    fn waiting(self) -> usize {
        // SAFETY: as in `byte`.
        unsafe { ((*self.0).read_end as usize).saturating_sub((*self.0).read_at as usize) }
    }

    /// Copies `count` bytes to `to` if the buffer has as many.
    ///
    /// # Safety
    /// There must be room for them.
    pub(crate) unsafe fn read(self, to: *mut u8, count: usize) -> bool {
        let has = self.waiting() >= count;
        if has {
            // SAFETY: as in `byte`; the caller's contract.
            unsafe {
                std::ptr::copy((*self.0).read_at, to, count);
                (*self.0).read_at = (*self.0).read_at.add(count);
            }
        }
        has
    }

    /// Copies a line, its end included, or as much of it as `room` holds, if it is in the buffer; how many
    /// bytes.
    ///
    /// # Safety
    /// There must be that room.
    pub(crate) unsafe fn line(self, to: *mut u8, room: usize) -> Option<usize> {
        let waiting = self.waiting().min(room);
        if waiting == 0 {
            return None;
        }
        // SAFETY: as in `byte`.
        let bytes = unsafe { std::slice::from_raw_parts((*self.0).read_at, waiting) };
        let end = bytes.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
        let count = end.or_else(|| (waiting == room).then_some(room))?;
        // SAFETY: as in `read`.
        unsafe { self.read(to, count) }.then_some(count)
    }

    /// Appends bytes if there is room for all of them; a stream without a buffer, and one that is written at
    /// each line's end, has none.
    pub(crate) fn write(self, bytes: &[u8]) -> bool {
        // SAFETY: as in `byte`.
        unsafe {
            let room = ((*self.0).write_end as usize).saturating_sub((*self.0).write_at as usize);
            let fits = bytes.len() <= room;
            if fits && !bytes.is_empty() {
                std::ptr::copy(bytes.as_ptr(), (*self.0).write_at, bytes.len());
                (*self.0).write_at = (*self.0).write_at.add(bytes.len());
            }
            fits
        }
    }
}

const _: () = assert!(std::mem::offset_of!(Fields, write_end) == 48);

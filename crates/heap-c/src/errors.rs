//! Error numbers, and the text that goes with the last one of a thread.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt::Display;

use banyan_heap::sync::{Acquired, LockError};
use banyan_heap::{AllocateError, FreeError, OpenError, RootError};

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::new(CString::default());
}

/// Remembers the text, and gives the number as C gets it.
pub(crate) fn failed(number: c_int, text: &dyn Display) -> c_int {
    let text = CString::new(text.to_string().replace('\0', " ")).unwrap_or_default();
    MESSAGE.with(|message| *message.borrow_mut() = text);
    -number
}

/// The text of the last error in this thread; valid until its next error.
#[unsafe(no_mangle)]
pub extern "C" fn bn_message() -> *const c_char {
    MESSAGE.with(|message| message.borrow().as_ptr())
}

/// A name that C gave.
///
/// # Safety
/// `name` is null, or ends with a zero.
pub(crate) unsafe fn text<'a>(name: *const c_char) -> Result<&'a str, c_int> {
    if name.is_null() {
        return Err(failed(libc::EINVAL, &"a name is NULL"));
    }
    // SAFETY: passed on to the caller.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().map_err(|_| failed(libc::EINVAL, &"a name is not UTF-8"))
}

pub(crate) fn open(error: &OpenError) -> c_int {
    let number = match error {
        OpenError::Exists { .. } => libc::EEXIST,
        OpenError::Missing { .. } => libc::ENOENT,
        OpenError::Denied { .. } => libc::EACCES,
        OpenError::Directory { .. } => libc::ENOTDIR,
        OpenError::NoMemory { .. } => libc::ENOMEM,
        OpenError::Busy(_) => libc::EBUSY,
        OpenError::AddressTaken { .. } => libc::EADDRINUSE,
        OpenError::NoPlace(_) | OpenError::TooManyHeaps => libc::EMFILE,
        OpenError::System { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
        OpenError::BadName(_)
        | OpenError::WrongSize { .. }
        | OpenError::WrongModel { .. }
        | OpenError::NotAHeap(_)
        | OpenError::BadSize(_)
        | OpenError::BadAddress(_) => libc::EINVAL,
    };
    failed(number, error)
}

pub(crate) fn allocate(error: &AllocateError) -> c_int {
    let number = match error {
        AllocateError::NoRoom { .. } => libc::ENOSPC,
        AllocateError::NoMemory { .. } => libc::ENOMEM,
        AllocateError::BadAlignment(_) => libc::EINVAL,
        AllocateError::Lock(error) => number_of(error),
        AllocateError::Damaged(_) => libc::EUCLEAN,
    };
    failed(number, error)
}

pub(crate) fn free(error: &FreeError) -> c_int {
    let number = match error {
        FreeError::NoObject { .. } => libc::EINVAL,
        FreeError::Lock(error) => number_of(error),
        FreeError::Damaged(_) => libc::EUCLEAN,
    };
    failed(number, error)
}

pub(crate) fn root(error: &RootError) -> c_int {
    let number = match error {
        RootError::BadName(_) | RootError::Outside(_) => libc::EINVAL,
        RootError::WrongType { .. } => libc::EPROTOTYPE,
        RootError::Missing { .. } => libc::ETIMEDOUT,
        RootError::TooMany => libc::ENOSPC,
        RootError::Allocate(error) => return allocate(error),
        RootError::Lock(error) => number_of(error),
        RootError::Damaged(_) => libc::EUCLEAN,
    };
    failed(number, error)
}

fn number_of(error: &LockError) -> c_int {
    match error {
        LockError::TimedOut { .. } => libc::ETIMEDOUT,
        LockError::Deadlock { .. } => libc::EDEADLK,
        LockError::NotHeld { .. } => libc::EPERM,
        LockError::NoSuchObject { .. } => libc::EINVAL,
        LockError::Broken => libc::EOWNERDEAD,
        LockError::TooManyReaders => libc::EAGAIN,
        LockError::NotAttached => libc::ESTALE,
    }
}

/// What a lock's function gives.
pub(crate) fn locked(result: Result<Acquired, LockError>) -> c_int {
    match result {
        Ok(Acquired::Clean) => 0,
        Ok(Acquired::OwnerDied) => failed(
            libc::EOWNERDEAD,
            &"the last holder died: the lock is held, and what it protects may be half changed",
        ),
        Err(error) => failed(number_of(&error), &error),
    }
}

/// What any other function of locks gives.
pub(crate) fn done(result: Result<(), LockError>) -> c_int {
    result.map_or_else(|error| failed(number_of(&error), &error), |()| 0)
}

//! Functions of a Rust program that run in a worker: what `#[isolated]` expands to.
//!
//! Arguments and results travel as bytes ([`Portable`]); the worker is the program itself, started
//! again, which never reaches its `main`; where it runs, [`crate::rust::discovery`] says. Encoding small
//! arguments for workers of this machine allocates nothing.

use crate::caller::connection::CallOptions;
use crate::error::CallError;
use crate::rust::discovery::Service;
use std::cell::Cell;
use std::sync::OnceLock;

/// A value that can travel to a worker and back.
pub trait Portable: Sized {
    /// Appends the value to `to` from `at` on; returns the new end, or `None` when it does not fit.
    fn put(&self, to: &mut [u8], at: usize) -> Option<usize>;
    /// Takes a value from the front of `from`; `None` when the bytes are none.
    fn take(from: &mut &[u8]) -> Option<Self>;
}

macro_rules! portable_numbers {
    ($($kind:ty)*) => {$(
        impl Portable for $kind {
            fn put(&self, to: &mut [u8], at: usize) -> Option<usize> {
                let end = at + size_of::<Self>();
                to.get_mut(at..end)?.copy_from_slice(&self.to_le_bytes());
                Some(end)
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                let (head, tail) = from.split_first_chunk()?;
                *from = tail;
                Some(Self::from_le_bytes(*head))
            }
        }
    )*};
}
portable_numbers! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 }

impl Portable for bool {
    fn put(&self, to: &mut [u8], at: usize) -> Option<usize> {
        u8::from(*self).put(to, at)
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        match u8::take(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Portable for char {
    fn put(&self, to: &mut [u8], at: usize) -> Option<usize> {
        u32::from(*self).put(to, at)
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Self::from_u32(u32::take(from)?)
    }
}

impl Portable for () {
    fn put(&self, _: &mut [u8], at: usize) -> Option<usize> {
        Some(at)
    }

    fn take(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl<T: Portable> Portable for Vec<T> {
    fn put(&self, to: &mut [u8], at: usize) -> Option<usize> {
        let at = (self.len() as u64).put(to, at)?;
        self.iter().try_fold(at, |at, value| value.put(to, at))
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let count = usize::try_from(u64::take(from)?).ok()?;
        // No more than the bytes could hold, whatever the count says.
        let mut values = Self::with_capacity(count.min(from.len()));
        for _ in 0..count {
            if from.is_empty() && count > 1 << 20 {
                return None;
            }
            values.push(T::take(from)?);
        }
        Some(values)
    }
}

impl Portable for String {
    fn put(&self, to: &mut [u8], at: usize) -> Option<usize> {
        let at = (self.len() as u64).put(to, at)?;
        to.get_mut(at..at + self.len())?.copy_from_slice(self.as_bytes());
        Some(at + self.len())
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let count = usize::try_from(u64::take(from)?).ok()?;
        let (head, tail) = from.split_at_checked(count)?;
        *from = tail;
        Self::from_utf8(head.to_vec()).ok()
    }
}

impl<T: Portable> Portable for Option<T> {
    fn put(&self, to: &mut [u8], at: usize) -> Option<usize> {
        let at = self.is_some().put(to, at)?;
        self.as_ref().map_or(Some(at), |value| value.put(to, at))
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(if bool::take(from)? { Some(T::take(from)?) } else { None })
    }
}

impl<T: Portable, E: Portable> Portable for Result<T, E> {
    fn put(&self, to: &mut [u8], at: usize) -> Option<usize> {
        let at = self.is_ok().put(to, at)?;
        match self {
            Ok(value) => value.put(to, at),
            Err(error) => error.put(to, at),
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(if bool::take(from)? { Ok(T::take(from)?) } else { Err(E::take(from)?) })
    }
}

macro_rules! portable_tuples {
    ($(($($name:ident $index:tt),+))*) => {$(
        impl<$($name: Portable),+> Portable for ($($name,)+) {
            fn put(&self, to: &mut [u8], at: usize) -> Option<usize> {
                $(let at = self.$index.put(to, at)?;)+
                Some(at)
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                Some(($($name::take(from)?,)+))
            }
        }
    )*};
}
portable_tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4) (A 0, B 1, C 2, D 3, E 4, F 5) }

static SERVICE: OnceLock<Result<Service, CallError>> = OnceLock::new();

thread_local! {
    /// The service of [`through`]; no destructor, nothing to set up.
    static CHOSEN: Cell<*const Service> = const { Cell::new(std::ptr::null()) };
}

/// The service that calls of this program's own functions go to, found at the first use: the one that
/// [`use_service`] or the environment names, else a process of one's own.
///
/// # Errors
/// [`CallError::NoService`] with the reason, the same at every call.
pub fn service() -> Result<&'static Service, CallError> {
    SERVICE.get_or_init(Service::from_environment).as_ref().map_err(Clone::clone)
}

/// Has all calls of this program go to `service`. Returns false when a call was made before.
pub fn use_service(service: Service) -> bool {
    SERVICE.set(Ok(service)).is_ok()
}

/// Has the calls that `work` makes on this thread go to `service`.
pub fn through<T>(service: &Service, work: impl FnOnce() -> T) -> T {
    struct Restore(*const Service);
    impl Drop for Restore {
        fn drop(&mut self) {
            CHOSEN.set(self.0);
        }
    }
    let _restore = Restore(CHOSEN.replace(service));
    work()
}

/// Calls function `number` of this program in a worker.
///
/// # Errors
/// Any [`CallError`].
pub fn call<A: Portable, R: Portable>(
    number: u64,
    arguments: &A,
    options: &CallOptions,
) -> Result<R, CallError> {
    // SAFETY: set by `through` only, whose argument outlives the work that we are part of.
    let service = match unsafe { CHOSEN.get().as_ref() } {
        Some(chosen) => chosen,
        None => service()?,
    };
    service.call(number, arguments, options)
}

/// Runs a function on decoded arguments, in the worker.
///
/// # Errors
/// A text, when the arguments do not decode or the result is too long.
pub fn serve<A: Portable, R: Portable>(
    mut bytes: &[u8],
    output: &mut Vec<u8>,
    function: impl FnOnce(A) -> R,
) -> Result<(), String> {
    let arguments = A::take(&mut bytes).ok_or("the arguments do not decode")?;
    let result = function(arguments);
    let mut capacity = 256;
    while capacity <= 64 << 20 {
        output.resize(capacity, 0);
        if let Some(length) = result.put(output, 0) {
            output.truncate(length);
            return Ok(());
        }
        capacity *= 8;
    }
    Err("the result is too long".into())
}

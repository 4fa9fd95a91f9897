//! Roots by their Rust type: slices, atomics, and data that a lock protects.
//!
//! A type must be [`HeapSafe`]: any bytes are a value of it, so that no other process can make a reference to
//! it invalid, and it has no address that means something in one process only. References into a heap exist
//! in the guards of locks alone (`guards`); everything else copies.

#[expect(unsafe_code, reason = "references to what a lock of theirs protects")]
mod guards;
mod handles;
mod slice;

use zerocopy::{FromBytes, Immutable, IntoBytes};

pub use guards::{Held, Mutex, MutexGuard, ReadGuard, Repairable, RwLock, WriteGuard};
pub use handles::{Barrier, Condition, Once, SharedU64};
pub use slice::Slice;

use crate::roots::TypeOf;

/// What can lie in a heap. Implement it for a struct that derives zerocopy's `FromBytes`, `IntoBytes` and
/// `Immutable`.
pub trait HeapSafe: FromBytes + IntoBytes + Immutable + Copy + Send + Sync + 'static {
    /// By which processes agree on a type, together with its size and alignment.
    const NAME: &'static str;
}

macro_rules! heap_safe {
    ($($kind:ident)*) => {
        $(impl HeapSafe for $kind {
            const NAME: &'static str = stringify!($kind);
        })*
    };
}

heap_safe!(u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 usize isize);

impl<T: HeapSafe, const N: usize> HeapSafe for [T; N] {
    const NAME: &'static str = T::NAME;
}

/// The type of a root that holds `T` in some form.
fn type_of<T: HeapSafe>(form: &str) -> TypeOf {
    TypeOf::new(&format!("{form}{}", T::NAME), size_of::<T>(), align_of::<T>())
}

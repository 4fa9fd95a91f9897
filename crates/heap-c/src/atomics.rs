//! Atomic operations, sequentially consistent, as functions: where memory is on another node, they are what
//! can be sent there.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

macro_rules! atomics {
    ($($atomic:ident $integer:ident: $load:ident $store:ident $add:ident $exchange:ident $cas:ident;)*) => {
        $(
            /// See the header.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $load(place: *mut $integer) -> $integer {
                // SAFETY: the caller gives an aligned place of an open heap, which all use as an atomic.
                unsafe { $atomic::from_ptr(place) }.load(Ordering::SeqCst)
            }

            /// See the header.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $store(place: *mut $integer, value: $integer) {
                // SAFETY: as for loads.
                unsafe { $atomic::from_ptr(place) }.store(value, Ordering::SeqCst);
            }

            /// See the header.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $add(place: *mut $integer, value: $integer) -> $integer {
                // SAFETY: as for loads.
                unsafe { $atomic::from_ptr(place) }.fetch_add(value, Ordering::SeqCst)
            }

            /// See the header.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $exchange(place: *mut $integer, value: $integer) -> $integer {
                // SAFETY: as for loads.
                unsafe { $atomic::from_ptr(place) }.swap(value, Ordering::SeqCst)
            }

            /// See the header.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $cas(
                place: *mut $integer,
                expected: $integer,
                value: $integer,
            ) -> $integer {
                // SAFETY: as for loads.
                let place = unsafe { $atomic::from_ptr(place) };
                match place.compare_exchange(expected, value, Ordering::SeqCst, Ordering::SeqCst) {
                    Ok(before) | Err(before) => before,
                }
            }
        )*
    };
}

atomics! {
    AtomicU8 u8: bn_load_u8 bn_store_u8 bn_add_u8 bn_exchange_u8 bn_cas_u8;
    AtomicU16 u16: bn_load_u16 bn_store_u16 bn_add_u16 bn_exchange_u16 bn_cas_u16;
    AtomicU32 u32: bn_load_u32 bn_store_u32 bn_add_u32 bn_exchange_u32 bn_cas_u32;
    AtomicU64 u64: bn_load_u64 bn_store_u64 bn_add_u64 bn_exchange_u64 bn_cas_u64;
}

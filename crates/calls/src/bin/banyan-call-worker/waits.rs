//! C's functions that wait: for a thread, a lock or a time.
//!
//! A library has one thread of its caller's inside at a time. One that waits lets another in, which may be
//! the one that it waits for. Not for waits in the kernel's files; those end by themselves.

use std::ffi::{CStr, c_int, c_long, c_uint, c_void};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The C library's function behind ours, found when first needed.
fn own(known: &AtomicU64, name: &CStr) -> u64 {
    match known.load(Relaxed) {
        0 => {
            // SAFETY: looks up a name.
            let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as u64;
            known.store(address, Relaxed);
            address
        }
        address => address,
    }
}

/// Whether a wait on what lies there may be outside: memory of the caller comes to those who are inside.
fn is_ours(objects: &[u64]) -> bool {
    !objects.iter().any(|&object| banyan_calls::is_callers_memory(object))
}

/// Defines C functions that wait on the objects at their first arguments.
macro_rules! waiting {
    ($($name:ident as $c_name:literal on [$($object:ident),*] ($($argument:ident: $kind:ty),*);)*) => {$(
        /// The C function, outside of the library.
        ///
        /// # Safety
        /// As the C function's.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($argument: $kind),*) -> c_int {
            static OWN: AtomicU64 = AtomicU64::new(0);
            // SAFETY: the function of that name; the caller's contract.
            let wait = || unsafe {
                let wait: unsafe extern "C" fn($($kind),*) -> c_int =
                    std::mem::transmute(own(&OWN, $c_name) as *const ());
                wait($($argument),*)
            };
            if is_ours(&[$($object as u64),*]) { banyan_calls::outside(wait) } else { wait() }
        }
    )*};
}

waiting! {
    pthread_cond_wait as c"pthread_cond_wait" on [condition, lock] (condition: *mut c_void, lock: *mut c_void);
    pthread_cond_timedwait as c"pthread_cond_timedwait" on [condition, lock, until]
        (condition: *mut c_void, lock: *mut c_void, until: *const c_void);
    pthread_cond_clockwait as c"pthread_cond_clockwait" on [condition, lock, until]
        (condition: *mut c_void, lock: *mut c_void, clock: c_int, until: *const c_void);
    pthread_barrier_wait as c"pthread_barrier_wait" on [barrier] (barrier: *mut c_void);
    pthread_join as c"pthread_join" on [result] (thread: c_long, result: *mut c_void);
    sem_wait as c"sem_wait" on [semaphore] (semaphore: *mut c_void);
    sem_timedwait as c"sem_timedwait" on [semaphore, until] (semaphore: *mut c_void, until: *const c_void);
    nanosleep as c"nanosleep" on [time, left] (time: *const c_void, left: *mut c_void);
    clock_nanosleep as c"clock_nanosleep" on [time, left]
        (clock: c_int, flags: c_int, time: *const c_void, left: *mut c_void);
    usleep as c"usleep" on [] (microseconds: c_uint);
    sched_yield as c"sched_yield" on [] ();
}

/// C's `sleep`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sleep(seconds: c_uint) -> c_uint {
    static OWN: AtomicU64 = AtomicU64::new(0);
    // SAFETY: the function of that name.
    banyan_calls::outside(|| unsafe {
        let sleep: unsafe extern "C" fn(c_uint) -> c_uint =
            std::mem::transmute(own(&OWN, c"sleep") as *const ());
        sleep(seconds)
    })
}

/// Defines C functions that take a lock, and wait only if its holder has it.
macro_rules! locking {
    ($($name:ident as $c_name:literal trying $try:literal;)*) => {$(
        /// The C function; outside of the library if it must wait.
        ///
        /// # Safety
        /// As the C function's.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name(lock: *mut c_void) -> c_int {
            static OWN: AtomicU64 = AtomicU64::new(0);
            static TRY: AtomicU64 = AtomicU64::new(0);
            type Lock = unsafe extern "C" fn(*mut c_void) -> c_int;
            // SAFETY: functions of these names; the caller's contract.
            unsafe {
                let wait: Lock = std::mem::transmute(own(&OWN, $c_name) as *const ());
                if !banyan_calls::is_in_call() || !is_ours(&[lock as u64]) {
                    return wait(lock);
                }
                let attempt: Lock = std::mem::transmute(own(&TRY, $try) as *const ());
                match attempt(lock) {
                    libc::EBUSY => banyan_calls::outside(|| wait(lock)),
                    result => result,
                }
            }
        }
    )*};
}

locking! {
    pthread_mutex_lock as c"pthread_mutex_lock" trying c"pthread_mutex_trylock";
    pthread_rwlock_rdlock as c"pthread_rwlock_rdlock" trying c"pthread_rwlock_tryrdlock";
    pthread_rwlock_wrlock as c"pthread_rwlock_wrlock" trying c"pthread_rwlock_trywrlock";
}

//! C's `pthread_create`, to learn that the library has threads of its own, and to give them stacks that its
//! caller sees: what they call back may look at their locals.
//!
//! They share the pages that a call has fetched, so these must not be taken away under their hands.

use banyan_calls::heap::{allocate, is_shared, release};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const PAGE: u64 = 4096;
/// Of a thread whose attributes say nothing; only what is touched becomes memory.
const STACK_BYTES: u64 = 8 << 20;

static OWN: AtomicU64 = AtomicU64::new(0);

type Main = extern "C" fn(*mut u8) -> u64;
type Create = unsafe extern "C" fn(*mut c_void, *const c_void, *const c_void, *mut c_void) -> c_int;

/// What a thread is started with.
struct Start {
    main: Main,
    argument: *mut u8,
    stack_bytes: u64,
}

/// A thread's stack in the heap, given back when the thread ends, on the one that the C library gave it.
struct Stack(Cell<u64>);

impl Drop for Stack {
    fn drop(&mut self) {
        if self.0.get() != 0 {
            guard(self.0.get(), libc::PROT_READ | libc::PROT_WRITE);
            release(self.0.get());
        }
    }
}

thread_local! {
    static STACK: Stack = const { Stack(Cell::new(0)) };
}

fn guard(stack: u64, rights: c_int) {
    // SAFETY: the lowest page of an allocation that is this thread's.
    unsafe { libc::mprotect(stack as *mut c_void, PAGE as usize, rights) };
}

extern "C" fn begin(start: *mut c_void) -> *mut c_void {
    // SAFETY: `pthread_create` passes the box.
    let Start { main, argument, stack_bytes } = *unsafe { Box::from_raw(start.cast::<Start>()) };
    let (stack, _) = allocate(stack_bytes, PAGE);
    if stack == 0 {
        return main(argument) as *mut c_void;
    }
    guard(stack, libc::PROT_NONE);
    STACK.with(|kept| kept.0.set(stack));
    // SAFETY: memory that was just allocated, and given back only when the thread ends.
    unsafe { banyan_calls::on_other_stack(stack + stack_bytes, main, argument) as *mut c_void }
}

/// C's `pthread_create`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    main: Option<Main>,
    argument: *mut u8,
) -> c_int {
    let mut address = OWN.load(Relaxed);
    if address == 0 {
        // SAFETY: looks up the C library's function behind ours.
        address = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) } as u64;
        OWN.store(address, Relaxed);
    }
    // SAFETY: the function of that name.
    let create = unsafe { std::mem::transmute::<*const (), Create>(address as *const ()) };
    let Some(main) = main.filter(|_| banyan_calls::is_in_call()) else {
        let main = main.map_or(std::ptr::null(), |main| main as *const c_void);
        // SAFETY: the caller's contract.
        return unsafe { create(thread, attributes, main, argument.cast()) };
    };
    banyan_calls::note_thread();
    // SAFETY: the caller's contract.
    match unsafe { stack_bytes(attributes) }.filter(|_| is_shared()) {
        Some(stack_bytes) => {
            let start = Box::into_raw(Box::new(Start { main, argument, stack_bytes }));
            // SAFETY: the caller's contract; the box is taken by the thread, or back here.
            unsafe {
                let error = create(thread, attributes, begin as *const c_void, start.cast());
                if error != 0 {
                    drop(Box::from_raw(start));
                }
                error
            }
        }
        // SAFETY: the caller's contract.
        None => unsafe { create(thread, attributes, main as *const c_void, argument.cast()) },
    }
}

/// How long the stack is that these attributes ask for; `None` if they bring one.
///
/// # Safety
/// They must be null or a thread's attributes.
unsafe fn stack_bytes(attributes: *const c_void) -> Option<u64> {
    if attributes.is_null() {
        return Some(STACK_BYTES);
    }
    let (mut stack, mut bytes) = (std::ptr::null_mut(), 0);
    // SAFETY: the caller's contract.
    unsafe { libc::pthread_attr_getstack(attributes.cast(), &raw mut stack, &raw mut bytes) };
    // Without a stack, the C library gives the address that one of no length would have.
    let is_given = !stack.is_null() && (stack as u64).wrapping_add(bytes as u64) != 0;
    let bytes = if bytes == 0 { STACK_BYTES } else { (bytes as u64).next_multiple_of(PAGE) };
    (!is_given).then_some(bytes.max(16 * PAGE))
}

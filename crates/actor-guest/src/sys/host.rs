//! The host's functions, as safe ones: they check every pointer, so nothing passed here can harm the host,
//! and what is passed from here is always a live slice.

#[cfg(target_arch = "wasm32")]
mod imports {
    #[link(wasm_import_module = "banyan")]
    unsafe extern "C" {
        pub(crate) fn message_read(pointer: *mut u8, offset: u32, length: u32);
        pub(crate) safe fn message_address(number: u32) -> u32;
        pub(crate) fn send(to: u32, bytes: *const u8, length: u32, handles: *const u32, count: u32);
        pub(crate) fn create(
            behaviour: u32,
            bytes: *const u8,
            length: u32,
            handles: *const u32,
            count: u32,
        ) -> u32;
        #[link_name = "become"]
        pub(crate) safe fn become_behaviour(behaviour: u32);
        pub(crate) safe fn release(handle: u32);
        pub(crate) safe fn same(one: u32, other: u32) -> u32;
        pub(crate) fn fail(pointer: *const u8, length: u32);
        pub(crate) fn log(level: u32, pointer: *const u8, length: u32);
        pub(crate) safe fn time() -> u64;
    }
}

/// Outside of a host there is nothing to call; the signatures are the same.
#[cfg(not(target_arch = "wasm32"))]
mod imports {
    fn absent(function: &str) -> ! {
        panic!("{function}: there is no host outside of a WebAssembly module");
    }
    pub(crate) unsafe fn message_read(_: *mut u8, _: u32, _: u32) {
        absent("message_read")
    }
    pub(crate) fn message_address(_: u32) -> u32 {
        absent("message_address")
    }
    pub(crate) unsafe fn send(_: u32, _: *const u8, _: u32, _: *const u32, _: u32) {
        absent("send")
    }
    pub(crate) unsafe fn create(_: u32, _: *const u8, _: u32, _: *const u32, _: u32) -> u32 {
        absent("create")
    }
    pub(crate) fn become_behaviour(_: u32) {
        absent("become")
    }
    /// Addresses are dropped in tests too, also while a panic unwinds.
    pub(crate) fn release(_: u32) {}
    pub(crate) fn same(one: u32, other: u32) -> u32 {
        u32::from(one == other)
    }
    pub(crate) unsafe fn fail(_: *const u8, _: u32) {
        absent("fail")
    }
    pub(crate) unsafe fn log(_: u32, _: *const u8, _: u32) {
        absent("log")
    }
    pub(crate) fn time() -> u64 {
        absent("time")
    }
}

pub(crate) use imports::{become_behaviour, message_address, release, same, time};

/// Copies the message from `offset` on.
pub(crate) fn message_read(to: &mut [u8], offset: u32) {
    // SAFETY: the host writes `to.len()` bytes from the start of a live slice.
    unsafe { imports::message_read(to.as_mut_ptr(), offset, to.len() as u32) }
}

pub(crate) fn send(to: u32, bytes: &[u8], handles: &[u32]) {
    let (length, count) = (bytes.len() as u32, handles.len() as u32);
    // SAFETY: both slices are live, and the host only reads them.
    unsafe { imports::send(to, bytes.as_ptr(), length, handles.as_ptr(), count) }
}

pub(crate) fn create(behaviour: u32, bytes: &[u8], handles: &[u32]) -> u32 {
    let (length, count) = (bytes.len() as u32, handles.len() as u32);
    // SAFETY: both slices are live, and the host only reads them.
    unsafe { imports::create(behaviour, bytes.as_ptr(), length, handles.as_ptr(), count) }
}

pub(crate) fn fail(words: &str) {
    // SAFETY: the text is live, and the host only reads it.
    unsafe { imports::fail(words.as_ptr(), words.len() as u32) }
}

pub(crate) fn log(level: u32, line: &str) {
    // SAFETY: the text is live, and the host only reads it.
    unsafe { imports::log(level, line.as_ptr(), line.len() as u32) }
}

//! A value of a module's only thread, in a static; on other targets each thread has a copy of it.

#[cfg(target_arch = "wasm32")]
use core::cell::RefCell;

/// The value's place.
#[cfg(target_arch = "wasm32")]
pub(crate) struct OneThread<T: 'static>(RefCell<T>);

// SAFETY: a module has one thread: those with shared memory are refused.
#[cfg(target_arch = "wasm32")]
unsafe impl<T> Sync for OneThread<T> {}

#[cfg(target_arch = "wasm32")]
impl<T> OneThread<T> {
    pub(crate) const fn new(value: RefCell<T>) -> Self {
        Self(value)
    }

    /// Has `work` use the value.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&RefCell<T>) -> R) -> R {
        work(&self.0)
    }
}

/// Declares a static that `with` gives as a `RefCell`, with its first value.
macro_rules! one_thread {
    ($(#[$attribute:meta])* $name:ident: $kind:ty = $value:expr) => {
        #[cfg(target_arch = "wasm32")]
        $(#[$attribute])*
        static $name: $crate::sys::OneThread<$kind> =
            $crate::sys::OneThread::new(core::cell::RefCell::new($value));
        #[cfg(not(target_arch = "wasm32"))]
        std::thread_local! {
            $(#[$attribute])*
            static $name: core::cell::RefCell<$kind> = const { core::cell::RefCell::new($value) };
        }
    };
}
pub(crate) use one_thread;

//! Code of others that runs outside of an event: what they made is dropped, a message of theirs is written as
//! bytes, an actor is made anew. A panic there ends at the place that called, and not the thread of a host.
//!
//! What a dropped value had to say has no way to whom it concerns; it is noted for the thread, and a host
//! writes it into the log when it looks at the clock.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Notes that a thread keeps until they are taken.
const NOTES_MAX: usize = 64;

thread_local! {
    static HAS_NOTES: Cell<bool> = const { Cell::new(false) };
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs code of others. The error is what its panic said.
#[inline]
pub(crate) fn contain<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(words_of)
}

/// What a panic said. Its payload is dropped, which may panic once more.
#[cold]
pub(crate) fn words_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        // It could go on like this.
        std::mem::forget(second);
    }
    text.unwrap_or_else(|| "no words".to_owned())
}

/// Drops what others made.
#[inline]
pub(crate) fn discard<T>(value: T) {
    if std::mem::needs_drop::<T>() {
        drop_contained(move || drop(value), std::any::type_name::<T>);
    }
}

/// Drops a value of a type with this name by what `drop` does. Not inline: where messages are handled there
/// is mostly nothing to drop.
#[inline(never)]
pub(crate) fn drop_contained(drop: impl FnOnce(), type_name: fn() -> &'static str) {
    if let Err(words) = contain(drop) {
        note(type_name(), &words);
    }
}

/// Keeps what a panic said for the log.
#[cold]
pub(crate) fn note(dropped: &str, words: &str) {
    // Nothing is kept of a thread that ends.
    let _ = NOTES.try_with(|notes| {
        let mut notes = notes.borrow_mut();
        if notes.len() < NOTES_MAX {
            notes.push(format!("dropping a value of type {dropped} panicked: {words}"));
        }
    });
    let _ = HAS_NOTES.try_with(|has| has.set(true));
}

/// What was noted on this thread.
#[inline]
pub(crate) fn take_notes() -> Vec<String> {
    if HAS_NOTES.take() { NOTES.take() } else { Vec::new() }
}

/// A value that others made, if there is one: dropping it ends here, whatever it does.
pub(crate) struct Foreign<T>(Option<T>);

impl<T> Foreign<T> {
    #[inline]
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take()
    }

    /// Puts a value in the place of what was there.
    #[inline]
    pub(crate) fn put(&mut self, value: T) {
        if let Some(old) = self.0.replace(value) {
            discard(old);
        }
    }

    pub(crate) fn clear(&mut self) {
        if let Some(old) = self.0.take() {
            discard(old);
        }
    }

    pub(crate) fn as_ref(&self) -> Option<&T> {
        self.0.as_ref()
    }

    pub(crate) fn as_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()
    }
}

impl<T> Default for Foreign<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Drop for Foreign<T> {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Foreign, contain, discard, take_notes};

    /// Panics when it is dropped, with a payload that does so too.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Bomb);
        }
    }

    #[test]
    fn a_panic_ends_where_it_was_called_whatever_its_payload_does() {
        assert_eq!(contain(|| panic!("on purpose")), Err::<(), _>("on purpose".to_owned()));
        assert_eq!(contain(|| std::panic::panic_any(Bomb)), Err::<(), _>("no words".to_owned()));
        discard(Bomb);
        // Also while another panic is under way, and several in a row.
        let result = contain(|| {
            let _several = [Foreign::new(Bomb), Foreign::new(Bomb)];
            panic!("on purpose")
        });
        assert_eq!(result, Err::<(), _>("on purpose".to_owned()));
        let notes = take_notes();
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[0].contains("Bomb panicked: no words"), "{notes:?}");
        assert!(take_notes().is_empty());
    }
}

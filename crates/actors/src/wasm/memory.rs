//! Linear memories at addresses of ours: what lets an actor's memory be mapped from its image, captured and
//! dropped.
//!
//! The engine asks for memories while it makes an instance; the maker of the instance has put a [`Window`]
//! with the actor's image in place on the same thread before ([`Mapped::offer`]). The first memory is the
//! guest's; the second, which a metered module has, is the window's board. Windows are pooled, since to
//! reserve one costs more than to map an image into it.
//!
//! Unsafe code: the engine's trait, and the promise that a window is quiet. Both rest on one rule: a window's
//! memory is used only by the instance that it was offered to, and an instance runs only while its owner
//! lends it mutably.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use crate::sys::cut_off::Gate;
use crate::sys::guest_memory::{BOARD_BYTES, Image, ImageFile, Window};
use parking_lot::Mutex;
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use super::metering;

/// Addresses reserved for a memory: with these, 32-bit addresses need no check, and a wrong one faults.
pub(super) const RESERVED_BYTES: usize = 4 << 30;
/// Addresses behind them that fault.
pub(super) const GUARD_BYTES: usize = 32 << 20;

thread_local! {
    static OFFERED: RefCell<Option<Offered>> = const { RefCell::new(None) };
}

/// What the engine gets next.
struct Offered {
    window: Arc<Window>,
    /// The guest's memory was taken.
    only_board: bool,
}

/// Takes back what was offered and not taken.
pub(super) struct Offer(());

impl Drop for Offer {
    fn drop(&mut self) {
        OFFERED.set(None);
    }
}

/// A window with an image in it; back in the pool when dropped.
#[derive(Debug)]
pub(super) struct Mapped {
    window: Option<Arc<Window>>,
    pool: Arc<WindowPool>,
    /// Its gate may be closed.
    spoilt: bool,
}

/// Bytes of a window that is emptied by the cleaner: to give back what was written in a large one takes
/// longer than an event.
const LARGE: usize = 1 << 20;
/// Windows that wait for the cleaner. One more is emptied by the thread that had it.
const WAITING: usize = 16;

/// Windows that are not in use.
type Idle = Arc<Mutex<Vec<Arc<Window>>>>;

/// Windows that are not in use, and the thread that empties the large ones. It ends with the pool.
#[derive(Debug)]
pub(super) struct WindowPool {
    file: Arc<ImageFile>,
    idle: Idle,
    cleaner: Option<SyncSender<Waste>>,
}

/// What takes time to give back.
enum Waste {
    Window(Arc<Window>),
    Bytes(#[expect(dead_code, reason = "only dropped")] Vec<Vec<u8>>),
}

/// Empties windows, and drops the rest, until the pool is gone.
fn clean(waste: &Receiver<Waste>, idle: &Idle) {
    for one in waste {
        let Waste::Window(window) = one else { continue };
        // SAFETY: the only user has sent it here.
        let cleared = unsafe {
            window.forget_written();
            window.clear()
        };
        if cleared.is_ok() {
            idle.lock().push(window);
        }
    }
}

impl WindowPool {
    pub(super) fn new(file: Arc<ImageFile>) -> Arc<Self> {
        let idle = Idle::default();
        let (sender, waste) = sync_channel(WAITING);
        let emptied = Arc::clone(&idle);
        let thread = std::thread::Builder::new().name("banyan-cleaner".to_owned());
        // Without the thread those that had a window empty it.
        let cleaner = thread.spawn(move || clean(&waste, &emptied)).is_ok().then_some(sender);
        Arc::new(Self { file, idle, cleaner })
    }

    /// Takes a window that nothing else refers to.
    fn put_back(&self, window: Arc<Window>) {
        let window = match &self.cleaner {
            Some(cleaner) if window.length() > LARGE => match cleaner.try_send(Waste::Window(window)) {
                Err(
                    TrySendError::Full(Waste::Window(window))
                    | TrySendError::Disconnected(Waste::Window(window)),
                ) => window,
                _ => return,
            },
            _ => window,
        };
        // SAFETY: nothing else refers to the window.
        if unsafe { window.clear() }.is_ok() {
            self.idle.lock().push(window);
        }
    }

    /// Drops long messages of an event that is undone, not on its own thread if that can be.
    pub(super) fn drop_bytes(&self, bytes: Vec<Vec<u8>>) {
        if let Some(cleaner) = self.cleaner.as_ref().filter(|_| !bytes.is_empty()) {
            // What the cleaner has no room for is dropped here.
            let _dropped = cleaner.try_send(Waste::Bytes(bytes));
        }
    }

    pub(super) fn file(&self) -> &Arc<ImageFile> {
        &self.file
    }

    /// Maps the first `bytes` of an image.
    pub(super) fn map(self: &Arc<Self>, image: &Image, bytes: usize) -> io::Result<Mapped> {
        let idle = self.idle.lock().pop();
        let window = match idle {
            Some(window) => window,
            None => {
                let window = Window::reserve(&self.file, RESERVED_BYTES + GUARD_BYTES)?;
                metering::prepare(|word, value| window.set_word(word, value));
                Arc::new(window)
            }
        };
        // SAFETY: a window from the pool, or a new one, has no user.
        unsafe { window.map(image, bytes) }?;
        Ok(Mapped { window: Some(window), pool: Arc::clone(self), spoilt: false })
    }
}

impl Mapped {
    fn window(&self) -> &Arc<Window> {
        self.window.as_ref().expect("a mapped window is there until it is dropped")
    }

    /// The instance that is made on this thread gets this memory, until the offer is dropped.
    pub(super) fn offer(&self) -> Offer {
        OFFERED.set(Some(Offered { window: Arc::clone(self.window()), only_board: false }));
        Offer(())
    }

    /// What the code loads from while it runs.
    pub(super) fn gate(&self) -> Gate<'_> {
        self.window().gate()
    }

    /// Before the code runs: whatever happens, the window is not used after this one, unless the run ends as
    /// it should.
    pub(super) fn begin_run(&mut self) {
        self.spoilt = true;
        self.window().set_word(metering::STOPPED_WORD, 0);
    }

    /// The code does not run, and its gate is open. Gives whether it stopped by itself.
    pub(super) fn end_run(&mut self) -> bool {
        self.spoilt = false;
        self.window().word(metering::STOPPED_WORD) != 0
    }

    /// Bytes accessible.
    pub(super) fn length(&self) -> usize {
        self.window().length()
    }

    /// Pages that a capture will copy, as far as that is known.
    pub(super) fn written(&self) -> io::Result<usize> {
        self.window().written()
    }

    /// Copies what was written to the image, and calls `found` with the number of each page.
    ///
    /// The instance that has the window must not be running: callers have its store as `&mut`.
    pub(super) fn capture(&self, image: &mut Image, found: &mut dyn FnMut(usize)) -> io::Result<()> {
        // SAFETY: only the instance uses the memory, and it is not running.
        unsafe { self.window().capture(image, found) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let Some(window) = self.window.take() else { return };
        if self.spoilt || Arc::strong_count(&window) > 1 {
            // If an instance still has it, it ends with the instance, and is not used again.
            return;
        }
        self.pool.put_back(window);
    }
}

/// Gives the engine the memory that was offered.
pub(super) struct OfferedMemory;

// SAFETY: a window is zero-filled or filled with the actor's own image, never moves, and has `RESERVED_BYTES`
// and `GUARD_BYTES` of addresses, of which nothing but the accessible part is mapped for access.
//
// A board has neither addresses in reserve nor a guard, and needs none: the only code that knows of it is
// what `metering` puts into functions, and that names addresses in the board's first page, as constants. The
// guest's own code names the first memory alone, since the validator takes no module that has, or can name,
// another one. The board is behind the window's guard, so that no address is one of both. A page of it that
// is closed is a fault of the code that loads from it, which the engine takes for a wrong address in this
// memory.
unsafe impl MemoryCreator for OfferedMemory {
    fn new_memory(
        &self,
        _kind: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let Offered { window, only_board } = OFFERED.take().ok_or("no memory was offered")?;
        if only_board {
            return match (minimum, maximum) {
                (BOARD_BYTES, Some(BOARD_BYTES)) => Ok(Box::new(BoardMemory(window))),
                _ => Err(format!("a memory of {minimum} bytes where the board is expected")),
            };
        }
        OFFERED.set(Some(Offered { window: Arc::clone(&window), only_board: true }));
        if reserved.is_some_and(|reserved| reserved > RESERVED_BYTES) || guard > GUARD_BYTES {
            return Err(format!("the engine wants {reserved:?} bytes of addresses and a guard of {guard}"));
        }
        if window.length() < minimum {
            return Err(format!("an image of {} bytes where {minimum} are needed", window.length()));
        }
        Ok(Box::new(WindowMemory(window)))
    }
}

struct WindowMemory(Arc<Window>);

// SAFETY: the base never changes, and `byte_size` bytes from it are accessible.
unsafe impl LinearMemory for WindowMemory {
    fn byte_size(&self) -> usize {
        self.0.length()
    }

    fn byte_capacity(&self) -> usize {
        RESERVED_BYTES
    }

    fn grow_to(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.0.extend(bytes).map_err(wasmtime::Error::new)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.base()
    }
}

struct BoardMemory(Arc<Window>);

// SAFETY: the base never changes, and `byte_size` bytes from it are accessible.
unsafe impl LinearMemory for BoardMemory {
    fn byte_size(&self) -> usize {
        BOARD_BYTES
    }

    fn byte_capacity(&self) -> usize {
        BOARD_BYTES
    }

    fn grow_to(&mut self, bytes: usize) -> wasmtime::Result<()> {
        Err(wasmtime::Error::msg(format!("a board does not grow to {bytes} bytes")))
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.board_base()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::{LARGE, WAITING, WindowPool};
    use crate::sys::guest_memory::{ImageFile, PAGE};

    /// A large window comes back empty from the cleaner, a small one at once, and more than may wait for the
    /// cleaner are emptied without it.
    #[test]
    fn large_windows_are_emptied_by_the_cleaner() {
        let file = ImageFile::new(64, 4 << 20).unwrap();
        let pool = WindowPool::new(Arc::clone(&file));
        let images: Vec<_> = (0..2 * WAITING).map(|_| file.image().unwrap()).collect();
        drop(pool.map(&images[0], LARGE).unwrap());
        assert_eq!(pool.idle.lock().len(), 1, "a small one");
        let until = Instant::now() + Duration::from_secs(60);
        let mapped: Vec<_> = images.iter().map(|image| pool.map(image, LARGE + PAGE).unwrap()).collect();
        assert_eq!(pool.idle.lock().len(), 0);
        drop(mapped);
        while pool.idle.lock().len() < images.len() {
            assert!(Instant::now() < until, "{} of {} came back", pool.idle.lock().len(), images.len());
            std::thread::yield_now();
        }
        assert!(pool.idle.lock().iter().all(|window| window.length() == 0));
        drop(pool);
        let until = Instant::now() + Duration::from_secs(60);
        drop(images);
        while Arc::strong_count(&file) > 1 {
            assert!(Instant::now() < until, "the cleaner ends with its pool");
            std::thread::yield_now();
        }
    }

    /// The thread that had a large window does not wait for it to be emptied.
    #[test]
    fn who_had_a_large_window_goes_on_at_once() {
        let file = ImageFile::new(4, 4 << 20).unwrap();
        let pool = WindowPool::new(Arc::clone(&file));
        let image = file.image().unwrap();
        let mapped = pool.map(&image, LARGE + PAGE).unwrap();
        // Nobody can put it back before this is given up.
        let idle = pool.idle.lock();
        let (gone_on, goes_on) = channel();
        let thread = std::thread::spawn(move || {
            drop(mapped);
            let _ = gone_on.send(());
        });
        assert_eq!(goes_on.recv_timeout(Duration::from_secs(60)), Ok(()));
        drop(idle);
        thread.join().unwrap();
    }
}

//! Memory of guests that can be dropped and had again: images in one memory file, and windows onto them.
//!
//! An [`Image`] is the content as of the last [`Window::capture`]: what survives. A [`Window`] is a range of
//! addresses at which an image is mapped privately: code that runs there writes copies of pages, and the
//! image stays as it was. To keep what was written, capture it; to undo it, map the image again; to put an
//! idle guest away, drop the window. To map costs a few microseconds whatever the size, since pages come in
//! by demand.
//!
//! Behind the reserved range a window has a board of [`BOARD_BYTES`]: words that are no part of any image,
//! between the host and code that the host has put there to run in the window. Its first page is a [`Gate`].
//!
//! Written pages are found by comparison in memories of up to [`COMPARED_BYTES`], and by the kernel above
//! ([`DirtyPages`]); by comparison everywhere if the kernel withholds its means. No thread; the only lock
//! guards the list of free places in the file, and nothing is called under it.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr::{copy_nonoverlapping, null_mut, with_exposed_provenance, with_exposed_provenance_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use crate::sys::cut_off::Gate;
use banyan_sys::dirty_pages::DirtyPages;

/// Bytes in a page.
pub(crate) const PAGE: usize = 4096;
/// Up to here, comparing every page costs less than the faults of write protection.
pub(crate) const COMPARED_BYTES: usize = 96 << 10;
/// From here on, the kernel copies a run of pages into the file faster than a program by its mapping, in
/// which pages that were never written fault one by one.
const LONG_RUN: usize = 256 << 10;
/// Bytes of the range that the board lies at the start of: the smallest memory that WebAssembly knows.
pub(crate) const BOARD_BYTES: usize = 64 << 10;
/// Words in its first page.
pub(crate) const WORDS: usize = PAGE / size_of::<i64>();

/// A memory file with places for images, all mapped at once to read and write them.
#[derive(Debug)]
pub(crate) struct ImageFile {
    file: OwnedFd,
    base: usize,
    images: usize,
    capacity: usize,
    places: Mutex<Places>,
    tracker: Option<DirtyPages>,
}

#[derive(Debug, Default)]
struct Places {
    free: Vec<usize>,
    used: usize,
}

impl ImageFile {
    /// A file of at most `images` images of at most `capacity` bytes each (whole pages). Memory is used only
    /// where something is written.
    ///
    /// # Errors
    /// What the kernel says, as when there are not enough addresses; `InvalidInput` for sizes that make no
    /// sense.
    pub(crate) fn new(images: usize, capacity: usize) -> io::Result<Arc<Self>> {
        let length =
            images.checked_mul(capacity).filter(|length| *length > 0 && capacity.is_multiple_of(PAGE));
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let file = memfd_create("banyan-guests", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, length as u64)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice changes no memory that is in use.
        let base = unsafe { mmap(null_mut(), length, access, flags, &file, 0) }?;
        let tracker = DirtyPages::open().ok();
        let base = base.expose_provenance();
        Ok(Arc::new(Self { file, base, images, capacity, places: Mutex::default(), tracker }))
    }

    /// A new image, all zero.
    ///
    /// # Errors
    /// `StorageFull` when all places are taken.
    pub(crate) fn image(self: &Arc<Self>) -> io::Result<Image> {
        let mut places = self.places();
        let place = match places.free.pop() {
            Some(place) => place,
            None if places.used < self.images => {
                places.used += 1;
                places.used - 1
            }
            None => return Err(io::ErrorKind::StorageFull.into()),
        };
        Ok(Image { file: Arc::clone(self), place })
    }

    /// A list of numbers has no state that a panic could leave half changed.
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock()
    }
}

/// Writes to a memory file.
fn write_all(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, at) {
            Ok(count) => {
                bytes = &bytes[count..];
                at += count as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Drop for ImageFile {
    fn drop(&mut self) {
        let address = with_exposed_provenance_mut(self.base);
        // SAFETY: the mapping is ours, and images and windows, which reach into it, hold the file alive.
        let unmapped = unsafe { munmap(address, self.images * self.capacity) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}

/// The content of a guest's memory as of its last capture. Dropping it gives its memory back.
#[derive(Debug)]
pub(crate) struct Image {
    file: Arc<ImageFile>,
    place: usize,
}

impl Image {
    /// The bytes from `offset` on.
    ///
    /// # Panics
    /// If the range is not inside the file's capacity for an image.
    #[must_use]
    pub(crate) fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        let start = self.address(offset, length);
        // SAFETY: the range is inside this image's place, which nothing else refers to, and which changes
        // only through a `&mut Image`.
        unsafe { std::slice::from_raw_parts(with_exposed_provenance(start), length) }
    }

    /// Writes bytes at `offset`. Windows see them where they have not written themselves.
    ///
    /// # Panics
    /// If the range is not inside the file's capacity for an image.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let start = self.address(offset, bytes.len());
        // SAFETY: the range is inside this image's place, which is borrowed mutably; `bytes` is a live slice.
        unsafe { copy_nonoverlapping(bytes.as_ptr(), with_exposed_provenance_mut(start), bytes.len()) };
    }

    fn address(&self, offset: usize, length: usize) -> usize {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.file.capacity);
        assert!(inside, "bytes {offset} to {offset} + {length} lie in the image");
        self.file.base + self.place * self.file.capacity + offset
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let start = (self.place * self.file.capacity) as u64;
        // A place that could not be emptied is never given out again: an image begins as zeroes.
        if fallocate(&self.file.file, flags, start, self.file.capacity as u64).is_ok() {
            self.file.places().free.push(self.place);
        }
    }
}

/// A range of addresses, with nothing accessible in it but the image that is mapped at its start, and a board
/// behind it.
#[derive(Debug)]
pub(crate) struct Window {
    base: usize,
    reserved: usize,
    file: Arc<ImageFile>,
    /// Where in the file the mapped image is; [`NOTHING`] if none is.
    place: AtomicUsize,
    length: AtomicUsize,
    /// Whether the kernel tells by itself which pages were written. It is had to by the first capture, not by
    /// the mapping: a guest whose event is undone, or that keeps nothing, is never captured.
    is_protected: AtomicBool,
}

const NOTHING: usize = usize::MAX;

impl Window {
    /// Reserves `bytes` of addresses for images of the file.
    ///
    /// # Errors
    /// What the kernel says; `InvalidInput` if an image would not fit.
    pub(crate) fn reserve(file: &Arc<ImageFile>, bytes: usize) -> io::Result<Self> {
        let whole = bytes.checked_add(BOARD_BYTES).filter(|_| bytes.is_multiple_of(PAGE));
        let Some(whole) = whole.filter(|_| bytes >= file.capacity) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice changes no memory that is in use.
        let base = unsafe { mmap_anonymous(null_mut(), whole, ProtFlags::empty(), flags) }?;
        let window = Self {
            base: base.expose_provenance(),
            reserved: bytes,
            file: Arc::clone(file),
            place: AtomicUsize::new(NOTHING),
            length: AtomicUsize::new(0),
            is_protected: AtomicBool::new(false),
        };
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the last part of the range that was reserved just now.
        unsafe { mmap_anonymous(window.board_base().cast(), BOARD_BYTES, access, flags | MapFlags::FIXED) }?;
        Ok(window)
    }

    /// The first of the board's [`BOARD_BYTES`] accessible bytes, all zero at first.
    #[must_use]
    pub(crate) fn board_base(&self) -> *mut u8 {
        with_exposed_provenance_mut(self.base + self.reserved)
    }

    /// The first page of the board, which code in the window may have to load from.
    #[must_use]
    pub(crate) fn gate(&self) -> Gate<'_> {
        // SAFETY: the page is mapped as long as the window lives. Beside the code in the window only `word`
        // and `set_word` touch it, which hold no reference into it.
        unsafe { Gate::at(self.base + self.reserved) }
    }

    fn word_at(&self, index: usize) -> *mut i64 {
        assert!(index < WORDS, "word {index} is in the first page of the board");
        with_exposed_provenance_mut(self.base + self.reserved + index * size_of::<i64>())
    }

    /// A word of the board's first page. Not for use while something runs in the window: its gate may be
    /// closed.
    ///
    /// # Panics
    /// If there is no such word.
    #[must_use]
    pub(crate) fn word(&self, index: usize) -> i64 {
        // SAFETY: inside of a page that is mapped as long as the window lives, aligned, and used by atomics
        // alone here; the code in the window does not run.
        unsafe { AtomicI64::from_ptr(self.word_at(index)) }.load(Ordering::Relaxed)
    }

    /// Writes a word of the board's first page, at the same times.
    ///
    /// # Panics
    /// If there is no such word.
    pub(crate) fn set_word(&self, index: usize, value: i64) {
        // SAFETY: as in `word`.
        unsafe { AtomicI64::from_ptr(self.word_at(index)) }.store(value, Ordering::Relaxed);
    }

    /// The first address.
    #[must_use]
    pub(crate) fn base(&self) -> *mut u8 {
        with_exposed_provenance_mut(self.base)
    }

    /// Bytes that are accessible.
    #[must_use]
    pub(crate) fn length(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// Maps the first `length` bytes of an image here. What was written here before is gone.
    ///
    /// # Safety
    /// No code uses the window's memory meanwhile, or relies on what was in it.
    ///
    /// # Errors
    /// What the kernel says; `InvalidInput` for an image of another file, or a length that is not whole pages
    /// inside the image. The window is empty then.
    pub(crate) unsafe fn map(&self, image: &Image, length: usize) -> io::Result<()> {
        // SAFETY: the caller's promise covers this.
        unsafe { self.clear() }?;
        if !Arc::ptr_eq(&self.file, &image.file)
            || length > self.file.capacity
            || !length.is_multiple_of(PAGE)
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.place.store(image.place, Ordering::Relaxed);
        self.extend(length)
    }

    /// Makes more of the image accessible, up to `length` bytes of it.
    ///
    /// # Errors
    /// What the kernel says; `InvalidInput` if no image is mapped, or for a length that is shorter, not whole
    /// pages, or more than the image. What was accessible still is.
    pub(crate) fn extend(&self, length: usize) -> io::Result<()> {
        let (old, place) = (self.length(), self.place.load(Ordering::Relaxed));
        let fits = length >= old && length <= self.file.capacity && length.is_multiple_of(PAGE);
        if place == NOTHING || !fits {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if length == old {
            return Ok(());
        }
        let (start, added) = (self.base + old, length - old);
        let offset = (place * self.file.capacity + old) as u64;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: the range lies in our reservation, past what is accessible, so it replaces nothing in use.
        unsafe { mmap(with_exposed_provenance_mut(start), added, access, flags, &self.file.file, offset) }?;
        if let Some(tracker) = &self.file.tracker {
            // Small memories too: they may grow beyond what is compared.
            tracker.add(start, added)?;
            self.is_protected.store(false, Ordering::Relaxed);
        }
        self.length.store(length, Ordering::Relaxed);
        Ok(())
    }

    /// Pages that the next capture will copy, without copying any; 0 where they are compared, since to know
    /// them is all the work there.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn written(&self) -> io::Result<usize> {
        let length = self.length();
        let Some(tracker) = self.file.tracker.as_ref().filter(|_| length > COMPARED_BYTES) else {
            return Ok(0);
        };
        let mut bytes = 0;
        let mut count = |_, run| bytes += run;
        match self.is_protected.load(Ordering::Relaxed) {
            true => tracker.written(self.base, length, &mut count),
            false => tracker.copied(self.base, length, &mut count),
        }?;
        Ok(bytes / PAGE)
    }

    /// Copies every page that was written since the last capture, or the mapping, to the image, and calls
    /// `found` with the number of each.
    ///
    /// # Safety
    /// No code uses the window's memory meanwhile.
    ///
    /// # Errors
    /// What the kernel says; `InvalidInput` for an image that is not mapped here. The image may hold part of
    /// what was written then.
    pub(crate) unsafe fn capture(&self, image: &mut Image, found: &mut dyn FnMut(usize)) -> io::Result<()> {
        if !Arc::ptr_eq(&self.file, &image.file) || image.place != self.place.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let length = self.length();
        let to = image.address(0, length);
        match &self.file.tracker {
            Some(tracker) if length > COMPARED_BYTES => {
                let place = (image.place * self.file.capacity) as u64;
                let mut written = Ok(());
                let mut copy = |start: usize, bytes: usize| {
                    let offset = start - self.base;
                    if bytes >= LONG_RUN {
                        // SAFETY: the run is inside the window's accessible part, which the caller keeps
                        // quiet.
                        let run =
                            unsafe { std::slice::from_raw_parts(with_exposed_provenance(start), bytes) };
                        if written.is_ok() {
                            written = write_all(&self.file.file, run, place + offset as u64);
                        }
                        (offset / PAGE..(offset + bytes) / PAGE).for_each(&mut *found);
                        return;
                    }
                    // SAFETY: the run is inside the window's accessible part, which the caller keeps quiet,
                    // and has the same extent in the image, which is borrowed mutably. They are different
                    // mappings.
                    unsafe {
                        copy_nonoverlapping::<u8>(
                            with_exposed_provenance(start),
                            with_exposed_provenance_mut(to + offset),
                            bytes,
                        );
                    }
                    (offset / PAGE..(offset + bytes) / PAGE).for_each(&mut *found);
                };
                if self.is_protected.load(Ordering::Relaxed) {
                    tracker.take(self.base, length, &mut copy)?;
                    return written;
                }
                tracker.take_copied(self.base, length, &mut copy)?;
                written?;
                tracker.protect(self.base, length)?;
                self.is_protected.store(true, Ordering::Relaxed);
                Ok(())
            }
            _ => {
                for offset in (0..length).step_by(PAGE) {
                    // SAFETY: whole pages of the window's accessible part and of the image; as above.
                    let (now, then) = unsafe {
                        (
                            std::slice::from_raw_parts(
                                with_exposed_provenance::<u8>(self.base + offset),
                                PAGE,
                            ),
                            std::slice::from_raw_parts_mut(
                                with_exposed_provenance_mut::<u8>(to + offset),
                                PAGE,
                            ),
                        )
                    };
                    if now != then {
                        then.copy_from_slice(now);
                        found(offset / PAGE);
                    }
                }
                Ok(())
            }
        }
    }

    /// Gives the memory back that was written here, a piece at a time: meanwhile other threads get at theirs,
    /// which one long change of the mapping would keep them from. What is read here then is the image.
    ///
    /// # Safety
    /// No code uses the window's memory from now on.
    pub(crate) unsafe fn forget_written(&self) {
        const PIECE: usize = 1 << 20;
        let length = self.length();
        for offset in (0..length).step_by(PIECE) {
            let bytes = PIECE.min(length - offset);
            // SAFETY: accessible pages of our reservation, and the caller gives up what is in them. What the
            // kernel does not give back now, it does when the range is mapped anew.
            let _ = unsafe {
                madvise(with_exposed_provenance_mut(self.base + offset), bytes, Advice::LinuxDontNeed)
            };
        }
    }

    /// Makes nothing accessible and gives the memory back.
    ///
    /// # Safety
    /// No code uses the window's memory from now on.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) unsafe fn clear(&self) -> io::Result<()> {
        let length = self.length();
        self.place.store(NOTHING, Ordering::Relaxed);
        if length == 0 {
            return Ok(());
        }
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: the range lies in our reservation, and the caller gives up what is in it.
        unsafe { mmap_anonymous(self.base().cast(), length, ProtFlags::empty(), flags) }?;
        self.length.store(0, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the range is ours since `reserve`, and the code that ran in it had to end first.
        let unmapped = unsafe { munmap(self.base().cast(), self.reserved + BOARD_BYTES) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{BOARD_BYTES, COMPARED_BYTES, Image, ImageFile, LONG_RUN, PAGE, WORDS, Window};

    fn write(window: &Window, offset: usize, value: u8) {
        assert!(offset < window.length());
        // SAFETY: the offset is in the accessible part, and this test is the only user.
        unsafe { window.base().add(offset).write_volatile(value) };
    }

    fn read(window: &Window, offset: usize) -> u8 {
        assert!(offset < window.length());
        // SAFETY: as in `write`.
        unsafe { window.base().add(offset).read_volatile() }
    }

    fn capture(window: &Window, image: &mut Image) -> Vec<usize> {
        let mut pages = Vec::new();
        // SAFETY: this test is the only user of the window.
        unsafe { window.capture(image, &mut |page| pages.push(page)) }.unwrap();
        pages
    }

    fn map(window: &Window, image: &Image, length: usize) {
        // SAFETY: this test is the only user of the window.
        unsafe { window.map(image, length) }.unwrap();
    }

    fn with_length(length: usize) {
        let file = ImageFile::new(4, 4 << 20).unwrap();
        let mut image = file.image().unwrap();
        image.write(3 * PAGE, b"begin");
        let window = Window::reserve(&file, 8 << 20).unwrap();
        map(&window, &image, length);
        assert_eq!(read(&window, 3 * PAGE), b'b');
        // A read is not a write.
        assert_eq!(capture(&window, &mut image), [0_usize; 0]);
        write(&window, 5 * PAGE + 7, 1);
        write(&window, 9 * PAGE, 2);
        assert_eq!(image.bytes(5 * PAGE + 7, 1), [0]);
        let is_tracked = file.tracker.is_some() && length > COMPARED_BYTES;
        let expected = |written| if is_tracked { written } else { 0 };
        for _ in 0..2 {
            assert_eq!(window.written().unwrap(), expected(2));
        }
        assert_eq!(capture(&window, &mut image), [5, 9]);
        assert_eq!(window.written().unwrap(), expected(0));
        // Nor is one of a page that was not there when others were captured.
        assert_eq!(read(&window, 20 * PAGE), 0);
        assert_eq!(capture(&window, &mut image), [0_usize; 0]);
        assert_eq!(image.bytes(5 * PAGE + 7, 1), [1]);
        // What was not captured is undone by mapping again, and what was is not.
        write(&window, 5 * PAGE + 7, 3);
        write(&window, 0, 3);
        assert_eq!(window.written().unwrap(), expected(2));
        map(&window, &image, length);
        assert_eq!((read(&window, 5 * PAGE + 7), read(&window, 0), read(&window, 9 * PAGE)), (1, 0, 2));
        assert_eq!(capture(&window, &mut image), [0_usize; 0]);
        // It grows, and what grew counts.
        window.extend(length + 2 * PAGE).unwrap();
        write(&window, length, 4);
        assert_eq!(read(&window, length + PAGE), 0);
        assert_eq!(capture(&window, &mut image), [length / PAGE]);
        assert_eq!(read(&window, 9 * PAGE), 2);
    }

    /// Short runs and long ones are copied in different ways, and both to their places.
    #[test]
    fn long_runs_are_captured() {
        let file = ImageFile::new(3, 4 << 20).unwrap();
        let _other = file.image().unwrap();
        let mut image = file.image().unwrap();
        let window = Window::reserve(&file, 4 << 20).unwrap();
        map(&window, &image, 4 << 20);
        for round in 1..=2_u8 {
            let pages: Vec<usize> = (3..5).chain(100..100 + LONG_RUN / PAGE + 1).chain([1023]).collect();
            pages.iter().for_each(|page| write(&window, page * PAGE + 7, round + *page as u8 % 100));
            assert_eq!(capture(&window, &mut image), pages);
            for page in 0..1024_usize {
                let expected = if pages.contains(&page) { round + page as u8 % 100 } else { 0 };
                assert_eq!(image.bytes(page * PAGE + 7, 1), [expected], "page {page}");
            }
        }
    }

    #[test]
    fn small_memories_are_captured_and_undone() {
        with_length(COMPARED_BYTES - PAGE);
    }

    #[test]
    fn large_memories_are_captured_and_undone() {
        with_length(1 << 20);
    }

    /// A page that is read again after the undo of a write must not count as written, nor be missed.
    #[test]
    fn a_memory_that_outgrows_comparison_misses_no_write() {
        let file = ImageFile::new(1, 4 << 20).unwrap();
        let mut image = file.image().unwrap();
        let window = Window::reserve(&file, 4 << 20).unwrap();
        map(&window, &image, COMPARED_BYTES);
        write(&window, PAGE, 1);
        window.extend(1 << 20).unwrap();
        write(&window, 2 * PAGE, 2);
        write(&window, 512 << 10, 3);
        assert_eq!(capture(&window, &mut image), [1, 2, 128]);
    }

    #[test]
    fn the_board_is_no_part_of_the_image() {
        let file = ImageFile::new(1, 1 << 20).unwrap();
        let mut image = file.image().unwrap();
        let window = Window::reserve(&file, 1 << 20).unwrap();
        map(&window, &image, 1 << 20);
        assert_eq!((window.word(0), window.word(WORDS - 1)), (0, 0));
        window.set_word(3, 7);
        // SAFETY: inside of the board's range, and nothing else uses it.
        unsafe { window.board_base().add(BOARD_BYTES - 1).write_volatile(1) };
        assert_eq!(capture(&window, &mut image), [0_usize; 0]);
        map(&window, &image, PAGE);
        assert_eq!(window.word(3), 7);
    }

    #[test]
    fn places_are_bounded_and_used_again_empty() {
        let file = ImageFile::new(2, 1 << 20).unwrap();
        let mut first = file.image().unwrap();
        let _second = file.image().unwrap();
        assert_eq!(file.image().unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        first.write(0, b"secret");
        drop(first);
        assert_eq!(file.image().unwrap().bytes(0, 6), [0; 6]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let file = ImageFile::new(2, 1 << 20).unwrap();
        let other = ImageFile::new(2, 1 << 20).unwrap();
        let window = Window::reserve(&file, 1 << 20).unwrap();
        let image = file.image().unwrap();
        // SAFETY: nothing uses the window.
        let map = |image: &Image, length| unsafe { window.map(image, length) }.is_err();
        assert!(window.extend(PAGE).is_err(), "no image is mapped");
        assert!(map(&image, (1 << 20) + PAGE));
        assert!(map(&image, 100));
        assert!(map(&other.image().unwrap(), PAGE));
        assert!(Window::reserve(&file, PAGE).is_err());
        assert!(ImageFile::new(0, PAGE).is_err());
        assert!(ImageFile::new(usize::MAX / 2, PAGE).is_err());
        drop(window);
        assert_eq!(Arc::strong_count(&file), 2, "the file and the image");
    }
}

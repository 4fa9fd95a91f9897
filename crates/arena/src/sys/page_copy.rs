//! Copies of scattered pages to memory that is not read soon: past the caches, which such a copy would only
//! empty.
//!
//! A plain copy of a cold page waits for its first lines, since the processor's prefetcher begins anew in
//! each page, and reads the target before it overwrites it. This asks for the next page while it copies one,
//! and streams.

use core::arch::x86_64::{
    __m128i, _MM_HINT_NTA, _mm_loadu_si128, _mm_prefetch, _mm_sfence, _mm_stream_si128,
};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use zerocopy::FromBytes;

/// The bytes of a page.
const PAGE: usize = 4096;

const LINE: usize = 64;

/// The number of the first of some pages, and room for their copies.
type Piece<'a> = (usize, &'a mut [MaybeUninit<[u8; PAGE]>]);

/// Makes the buffer hold copies of `count` pages. They are copied in pieces of `piece` pages by `run`, which
/// is given the number of pieces and what copies one, from any thread.
///
/// # Panics
/// If a piece was left out.
pub(crate) fn copy_in_pieces<'a, B: FromBytes>(
    buffer: &mut Vec<B>,
    count: usize,
    piece: usize,
    page: &(dyn Fn(usize) -> &'a [u8] + Sync),
    run: impl FnOnce(usize, &(dyn Fn(usize) + Sync)),
) {
    const { assert!(size_of::<B>() == PAGE, "a block is the bytes of a page") };
    buffer.clear();
    buffer.reserve(count);
    let room = &mut buffer.spare_capacity_mut()[..count];
    // SAFETY: a block has the size of a page's bytes, and no weaker alignment.
    let room: &mut [MaybeUninit<[u8; PAGE]>] =
        unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast(), count) };
    let pieces: Vec<Mutex<Option<Piece<'_>>>> =
        room.chunks_mut(piece).enumerate().map(|(at, room)| Mutex::new(Some((at * piece, room)))).collect();
    let copied = AtomicUsize::new(0);
    run(pieces.len(), &|number| {
        let taken = pieces[number].lock().take();
        let Some((first, room)) = taken else { return };
        let pages = (first..first + room.len())
            .map(|at| <&[u8; PAGE]>::try_from(page(at)).expect("a heap page has the size of a block"));
        copied.fetch_add(copy_pages(room, pages), Ordering::Relaxed);
    });
    assert_eq!(copied.into_inner(), count, "each page was copied");
    // SAFETY: each piece was taken once and written whole, and together they are the first `count` blocks,
    // which may be any bytes.
    unsafe { buffer.set_len(count) };
}

/// Copies each source to the next place in `target`, and gives how many were copied: as many as there are of
/// both.
///
/// # Panics
/// If the target is not aligned to 16 bytes.
fn copy_pages<'a>(
    target: &mut [MaybeUninit<[u8; PAGE]>],
    sources: impl IntoIterator<Item = &'a [u8; PAGE]>,
) -> usize {
    assert!(
        target.as_ptr().addr().is_multiple_of(size_of::<__m128i>()),
        "streaming stores need an aligned target"
    );
    let mut sources = sources.into_iter().peekable();
    let mut copied = 0;
    for place in target {
        let Some(source) = sources.next() else { break };
        let next = sources.peek().map_or(source.as_ptr(), |next| next.as_ptr());
        copy_page(place, source, next);
        copied += 1;
    }
    // SAFETY: a fence has no condition. Streamed stores are ordered by nothing else: a thread that learns of
    // the copy, by any means, must find it.
    unsafe { _mm_sfence() };
    copied
}

#[inline]
#[expect(clippy::cast_ptr_alignment, reason = "the caller has checked the target's")]
fn copy_page(target: &mut MaybeUninit<[u8; PAGE]>, source: &[u8; PAGE], next: *const u8) {
    let (target, source) = (target.as_mut_ptr().cast::<__m128i>(), source.as_ptr());
    for line in (0..PAGE).step_by(LINE) {
        // SAFETY: a prefetch reads nothing and never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_NTA>(next.wrapping_add(line).cast()) };
        for part in (line..line + LINE).step_by(size_of::<__m128i>()) {
            // SAFETY: `part` and the 15 bytes behind it are in the page, of which source and target have one
            // each; the target is aligned, as the caller has checked, and exclusively borrowed.
            unsafe {
                let word = _mm_loadu_si128(source.add(part).cast());
                _mm_stream_si128(target.add(part / size_of::<__m128i>()), word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Aligned([MaybeUninit<[u8; PAGE]>; 3]);

    #[test]
    fn pages_are_copied_whole_and_in_order() {
        let pages: Vec<[u8; PAGE]> = (0..4_usize)
            .map(|page| core::array::from_fn(|at| (at * 7 + at / 256 + page * 31) as u8))
            .collect();
        let mut target = Aligned([MaybeUninit::uninit(); 3]);
        assert_eq!(copy_pages(&mut target.0[..2], [&pages[3], &pages[0]]), 2);
        assert_eq!(copy_pages(&mut target.0[2..], &pages[1..]), 1, "only as many as there is room for");
        assert_eq!(copy_pages(&mut target.0, []), 0);
        for (place, page) in target.0.iter().zip([3, 0, 1]) {
            // SAFETY: each of the three was copied to above.
            assert_eq!(unsafe { place.assume_init_ref() }, &pages[page]);
        }
    }
}

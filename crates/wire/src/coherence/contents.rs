//! The pages that come with a [`Message::Grant`](super::Message::Grant): a bitmap that says which pages are
//! not all zero, then those pages.

use super::error::DecodeError;
use crate::ids::{EXTENT_PAGES, PAGE_BYTES, PageNumber, Run};

/// The most bytes that can follow a header: a whole extent with no zero page.
pub const PAYLOAD_BYTES_MAX: usize = contents_bytes(EXTENT_PAGES, EXTENT_PAGES) as usize;

/// Bytes of the bitmap before the pages of a grant of `count` pages: a bit for each page, the lowest page in
/// the lowest bit of the first byte, in whole groups of eight bytes. A clear bit is a zero page, which is not
/// sent.
#[must_use]
pub const fn bitmap_bytes(count: u32) -> usize {
    count.div_ceil(64) as usize * 8
}

/// Bytes of the payload of a grant of `count` pages of which `present` are not all zero.
#[must_use]
pub const fn contents_bytes(count: u32, present: u32) -> u32 {
    bitmap_bytes(count) as u32 + present * PAGE_BYTES as u32
}

/// The pages that came with a grant.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    run: Run,
    bitmap: &'a [u8],
    pages: &'a [u8],
}

impl<'a> Contents<'a> {
    /// Looks at the payload of a grant of this run.
    ///
    /// # Errors
    /// When the payload is not a bitmap for the run and just the pages that the bitmap promises.
    pub fn new(run: Run, payload: &'a [u8]) -> Result<Self, DecodeError> {
        let bytes = bitmap_bytes(run.count);
        let short = DecodeError::Payload { found: payload.len() as u64, expected: bytes as u64 };
        let (bitmap, pages) = payload.split_at_checked(bytes).ok_or(short)?;
        let present: u32 = bitmap.iter().map(|byte| byte.count_ones()).sum();
        let expected = u64::from(contents_bytes(run.count, present));
        if expected != payload.len() as u64 {
            return Err(DecodeError::Payload { found: payload.len() as u64, expected });
        }
        let beyond = (run.count as usize..bytes * 8).any(|bit| bitmap[bit / 8] & (1 << (bit % 8)) != 0);
        if beyond { Err(DecodeError::Unused) } else { Ok(Self { run, bitmap, pages }) }
    }

    /// Every page of the run with its bytes, or `None` for a page that is all zero.
    pub fn pages(&self) -> impl Iterator<Item = (PageNumber, Option<&'a [u8]>)> + use<'a> {
        let Self { run, bitmap, mut pages } = *self;
        run.pages().enumerate().map(move |(bit, page)| {
            if bitmap[bit / 8] & (1 << (bit % 8)) == 0 {
                return (page, None);
            }
            let (bytes, rest) = pages.split_at(PAGE_BYTES as usize);
            pages = rest;
            (page, Some(bytes))
        })
    }
}

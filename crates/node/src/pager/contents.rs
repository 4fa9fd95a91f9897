//! Page contents between the memory file and a frame's payload: a bitmap of the pages that are not zero, then
//! those.

use crate::pager::memory_file::MemoryFile;
use banyan_wire::coherence::{Contents, bitmap_bytes};
use banyan_wire::ids::{PAGE_BYTES, Run};
use std::io;

const PAGE: usize = PAGE_BYTES as usize;

/// Writes the payload for `run` into `out` from byte `start` on, which grows if it must; what it held is
/// overwritten. Returns the end of the payload.
pub(super) fn read(memory: &MemoryFile, run: Run, out: &mut Vec<u8>, start: usize) -> io::Result<usize> {
    let pages_at = start + bitmap_bytes(run.count);
    let end = pages_at + run.count as usize * PAGE;
    if out.len() < end {
        out.resize(end, 0);
    }
    out[start..pages_at].fill(0);
    memory.read(run.first.address(), &mut out[pages_at..end])?;
    let mut kept = 0;
    for index in 0..run.count as usize {
        let from = pages_at + index * PAGE;
        if is_zero(&out[from..from + PAGE]) {
            continue;
        }
        out[start + index / 8] |= 1 << (index % 8);
        if kept != index {
            out.copy_within(from..from + PAGE, pages_at + kept * PAGE);
        }
        kept += 1;
    }
    Ok(pages_at + kept * PAGE)
}

/// Pages whose bytes lie side by side in a payload.
pub(super) struct Segment<'a> {
    pub(super) run: Run,
    /// Without bytes the pages are zero.
    pub(super) bytes: Option<&'a [u8]>,
}

/// The pages of `part` in the payload of a frame that carries `whole`, joined where neighbouring pages lie
/// side by side in the payload too.
pub(super) fn segments(whole: Run, payload: &[u8], part: Run) -> io::Result<Vec<Segment<'_>>> {
    let contents = Contents::new(whole, payload)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    let base = payload.as_ptr() as usize;
    let mut segments: Vec<Segment<'_>> = Vec::new();
    for (page, bytes) in contents.pages().filter(|(page, _)| part.contains(*page)) {
        match (segments.last_mut(), bytes) {
            (Some(Segment { run, bytes: Some(joined) }), Some(_)) if run.end() == page => {
                let start = joined.as_ptr() as usize - base;
                run.count += 1;
                *joined = &payload[start..start + run.count as usize * PAGE];
            }
            (Some(Segment { run, bytes: None }), None) if run.end() == page => run.count += 1,
            _ => segments.push(Segment { run: Run::one(page), bytes }),
        }
    }
    Ok(segments)
}

/// Writes one segment, whatever is there.
pub(super) fn write(memory: &MemoryFile, segment: &Segment<'_>) -> io::Result<()> {
    let run = segment.run;
    match segment.bytes {
        Some(bytes) => memory.write(run.first.address(), bytes),
        None => memory.populate(run.first.address(), u64::from(run.count) * PAGE_BYTES),
    }
}

fn is_zero(page: &[u8]) -> bool {
    page[..16].iter().all(|&byte| byte == 0) && page.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_wire::ids::PageNumber;

    #[test]
    fn pages_arrive_as_they_left_and_zero_pages_cost_nothing() {
        let (from, to) = (MemoryFile::create().unwrap(), MemoryFile::create().unwrap());
        let run = Run { first: PageNumber(0x1_0000_0000), count: 5 };
        let address = run.first.address();
        from.write(address, &[1; PAGE]).unwrap();
        from.write(address + 3 * 4096, &[4; 2 * PAGE]).unwrap();
        let mut payload = vec![0xff; 3];
        let end = read(&from, run, &mut payload, 0).unwrap();
        payload.truncate(end);
        assert_eq!(payload.len(), 8 + 3 * PAGE);
        let part = Run { first: run.first, count: 4 };
        for segment in segments(run, &payload, part).unwrap() {
            write(&to, &segment).unwrap();
        }
        let mut pages = vec![9; 5 * PAGE];
        to.read(address, &mut pages).unwrap();
        assert!(pages[..PAGE].iter().all(|&b| b == 1) && pages[3 * PAGE..4 * PAGE].iter().all(|&b| b == 4));
        assert!(pages[4 * PAGE..].iter().all(|&b| b == 0), "only the part is written");
        assert_eq!(to.bytes().unwrap(), 4 * 4096, "a zero page is there too");
    }
}

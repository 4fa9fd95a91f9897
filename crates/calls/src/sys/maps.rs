//! What the kernel says is mapped in this process.
//!
//! [`is_executable`] may run in a signal handler: it allocates nothing and keeps `errno`. [`list`]
//! is for the babysitter. Not for other processes.

use banyan_sys::raw::syscall;

/// Whether `address` lies in an executable mapping.
pub(crate) fn is_executable(address: u64) -> bool {
    let mut found = false;
    read_maps(|line| {
        if let Some((start, end, rights)) = parse(line)
            && start <= address
            && address < end
        {
            found = rights[2] == b'x';
        }
    });
    found
}

/// Calls `then` for each mapping that this process shares with workers, and could change. As the kernel shows
/// the memory of [`crate::sys::memory::anonymous_file`]. Allocates nothing.
pub(crate) fn each_shared(mut then: impl FnMut(u64, u64)) {
    read_maps(|line| {
        let is_ours = line.windows(MEMORY.len()).any(|part| part == MEMORY);
        if let (true, Some((start, end, [_, b'w', _, b's']))) = (is_ours, parse(line)) {
            then(start, end);
        }
    });
}

const MEMORY: &[u8] = b"/memfd:banyan-calls";

fn read_maps(mut line: impl FnMut(&[u8])) {
    let mut buffer = [0_u8; 4096];
    let mut held = 0;
    // SAFETY: the path is a constant; the buffer outlives the reads; the descriptor is closed here.
    unsafe {
        let path = c"/proc/self/maps".as_ptr() as u64;
        let file = syscall(libc::SYS_openat as u32, [libc::AT_FDCWD as u64, path, libc::O_CLOEXEC as u64]);
        if file < 0 {
            return;
        }
        loop {
            let room = (buffer.len() - held) as u64;
            let read =
                syscall(libc::SYS_read as u32, [file as u64, buffer.as_mut_ptr().add(held) as u64, room]);
            if read <= 0 {
                break;
            }
            held += read as usize;
            let mut start = 0;
            while let Some(length) = buffer[start..held].iter().position(|&byte| byte == b'\n') {
                line(&buffer[start..start + length]);
                start += length + 1;
            }
            buffer.copy_within(start..held, 0);
            held -= start;
            if held == buffer.len() {
                break;
            }
        }
        let _ = syscall(libc::SYS_close as u32, [file as u64]);
    }
}

fn hexadecimal(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0_u64, |value, &byte| Some(value << 4 | u64::from((byte as char).to_digit(16)?)))
}

fn parse(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let dash = line.iter().position(|&byte| byte == b'-')?;
    let space = line.iter().position(|&byte| byte == b' ')?;
    let rights = line.get(space + 1..space + 5)?;
    Some((hexadecimal(line.get(..dash)?)?, hexadecimal(line.get(dash + 1..space)?)?, rights))
}

/// One mapping.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) executable: bool,
    pub(crate) offset: u64,
    /// Of the file, 0 where there is none.
    pub(crate) inode: u64,
    pub(crate) path: String,
}

/// All mappings, in order.
pub(crate) fn list() -> Vec<Mapping> {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (start, end, rights) = parse(line.as_bytes())?;
            let mut fields = line.splitn(6, ' ').skip(2);
            let offset = hexadecimal(fields.next()?.as_bytes())?;
            let inode = fields.nth(1)?.parse().ok()?;
            // Spaces stand before a path, and may be in it.
            let path = fields.next().unwrap_or_default().trim_start().to_owned();
            let (readable, writable, executable) = (rights[0] == b'r', rights[1] == b'w', rights[2] == b'x');
            Some(Mapping { start, end, readable, writable, executable, offset, inode, path })
        })
        .collect()
}

/// The mapping that `address` lies in.
pub(crate) fn at(address: u64) -> Option<Mapping> {
    list().into_iter().find(|one| (one.start..one.end).contains(&address))
}

//! The program's memory as /proc/self/maps tells of it in a native run: places, rights and names
//! (proc_pid_maps(5)).
//!
//! Not here: what only the kernel knows of its own mappings; their lines are taken over.

use super::files::Files;
use super::loader::Images;
use banyan_core::regions::{Backing, Region, Regions};
use rustix::mm::ProtFlags;
use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// The column of names.
const NAMES: usize = 73;

/// What a region is called, and which part of which file it shows.
struct Shown {
    offset: u64,
    device: u64,
    inode: u64,
    name: OsString,
}

impl Shown {
    fn memory(name: &str) -> Self {
        Self { offset: 0, device: 0, inode: 0, name: name.into() }
    }
}

/// The lines of all regions. The first stack has the address `stack`; `kernels` are the home replica's lines.
pub(super) fn lines(regions: &Regions, images: &Images, files: &Files, stack: u64, kernels: &str) -> String {
    let mut lines = String::new();
    let heap = regions.heap();
    for region in regions.iter() {
        let shown = match region.backing {
            Backing::Kernel(_) => {
                take_over(&mut lines, kernels, region.start, region.end);
                continue;
            }
            Backing::File { file, offset, .. } => {
                files.describe(file).map(|(device, inode, name)| Shown { offset, device, inode, name })
            }
            Backing::Image => of_image(images, region.start),
            Backing::Anonymous if (region.start..region.end).contains(&stack) => {
                Some(Shown::memory("[stack]"))
            }
            Backing::Anonymous if region.start < heap.end && region.end > heap.start => {
                Some(Shown::memory("[heap]"))
            }
            Backing::Anonymous => None,
        };
        line(&mut lines, region, &shown.unwrap_or_else(|| Shown::memory("")));
    }
    lines
}

/// The file of the program's segment at this address.
pub(super) fn image_name(images: &Images, address: u64) -> Option<String> {
    of_image(images, address).map(|shown| shown.name.to_string_lossy().into_owned())
}

fn of_image(images: &Images, address: u64) -> Option<Shown> {
    images.all.iter().find_map(|image| {
        let within = |&&(start, end, _): &&(u64, u64, u64)| start <= address && address < end;
        let &(start, _, offset) = image.segments.iter().rev().find(within)?;
        Some(Shown {
            offset: offset + (address - start),
            device: image.device,
            inode: image.inode,
            name: image.path.clone().into(),
        })
    })
}

fn line(lines: &mut String, region: &Region, shown: &Shown) {
    let rights = ProtFlags::from_bits_truncate(region.protection);
    let letter = |right, letter| if rights.contains(right) { letter } else { '-' };
    let begin = lines.len();
    let (major, minor) = (rustix::fs::major(shown.device), rustix::fs::minor(shown.device));
    let _ = write!(
        lines,
        "{:08x}-{:08x} {}{}{}p {:08x} {major:02x}:{minor:02x} {} ",
        region.start,
        region.end,
        letter(ProtFlags::READ, 'r'),
        letter(ProtFlags::WRITE, 'w'),
        letter(ProtFlags::EXEC, 'x'),
        shown.offset,
        shown.inode,
    );
    if !shown.name.is_empty() {
        while lines.len() - begin < NAMES {
            lines.push(' ');
        }
        // The kernel escapes a newline so.
        lines.push_str(&String::from_utf8_lossy(shown.name.as_bytes()).replace('\n', "\\012"));
    }
    lines.push('\n');
}

/// Takes over the kernel's lines between two addresses.
fn take_over(lines: &mut String, kernels: &str, start: u64, end: u64) {
    let place = |line: &str| u64::from_str_radix(line.split_once('-')?.0, 16).ok();
    for line in kernels.lines() {
        if place(line).is_some_and(|at| start <= at && at < end) {
            lines.push_str(line);
            lines.push('\n');
        }
    }
}

//! Files under /proc that show the program's process, as they are in a native run. The kernel's know of the
//! home replica what is the stub's: its file, its memory file in place of names, its service thread; and they
//! do not know what processor time was used on other nodes.
//!
//! What is opened is a copy that does not change any more. Not here: directories, which the stub lists.

use super::Job;
use super::home::Home;
use crate::pager::PagerError;
use banyan_wire::ids::NodeId;
use banyan_wire::stub::{Open, Used};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};

/// The unit of processor time in `stat`, in nanoseconds: `USER_HZ` is 100 on x86-64.
const TICK: u64 = 10_000_000;

/// A file that is shown in another form than the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// The program's own file.
    Executable,
    /// `maps`
    Maps,
    /// `status` of the process, or of a thread.
    Status(Option<u32>),
    /// `stat` of the process, or of a thread.
    Stat(Option<u32>),
}

impl Shown {
    /// The file at a path below the directory of the process.
    fn at(path: &str) -> Option<Self> {
        let (thread, name) = match path.strip_prefix("task/") {
            Some(below) => {
                let (thread, name) = below.split_once('/')?;
                (Some(thread.parse().ok()?), name)
            }
            None => (None, path),
        };
        match name {
            "exe" => Some(Self::Executable),
            "maps" => Some(Self::Maps),
            "status" => Some(Self::Status(thread)),
            "stat" => Some(Self::Stat(thread)),
            _ => None,
        }
    }
}

impl Job {
    /// Opens a file below the directory of the program's process, or of one of its threads, for reading.
    /// `None` if the kernel's own is what the program shall see.
    pub(super) fn open_of_process(&self, home: &Home, open: &Open) -> Result<Option<OwnedFd>, PagerError> {
        let path = open.path.split(|&byte| byte == 0).next().unwrap_or_default();
        let Ok(path) = std::str::from_utf8(path) else { return Ok(None) };
        let path = match open.thread {
            0 => path.into(),
            thread => format!("task/{thread}/{path}"),
        };
        let path = path.as_str();
        let Some(shown) = Shown::at(path) else { return Ok(None) };
        // The service thread, which a copy of the process does not have.
        let hidden = u64::from(self.commands.get().is_some());
        let kernels = || std::fs::read_to_string(format!("/proc/{}/{path}", self.replica_id()));
        // A thread that has just ended, or a kernel without the file: the program gets the kernel's error.
        let text = match shown {
            Shown::Executable => return Ok(home.images().open_program().ok()),
            Shown::Maps => kernels().map(|kernels| home.maps(&kernels)),
            Shown::Status(_) => kernels().map(|kernels| status(&kernels, hidden)),
            Shown::Stat(None) => {
                let used = home.time_elsewhere(None, 0)?;
                kernels().map(|kernels| stat(&kernels, used.user / TICK, used.system / TICK, hidden))
            }
            Shown::Stat(Some(thread)) => {
                let node = home.placement().node(thread).filter(|&node| node != NodeId::HOME);
                let nothing = Used { user: 0, system: 0 };
                let used = node.map_or(Ok(nothing), |node| home.time_elsewhere(Some(node), thread))?;
                let before = home.used_before.lock().get(&thread).copied().unwrap_or(0);
                let schedstat = format!("/proc/{}/task/{thread}/schedstat", self.replica_id());
                let here = std::fs::read_to_string(schedstat).unwrap_or_default();
                let elsewhere = used.user + used.system + before;
                kernels().map(|kernels| stat_of_thread(&kernels, &here, elsewhere, hidden))
            }
        };
        Ok(text.and_then(|text| file_of(&text)).ok())
    }
}

/// `status` without the `hidden` threads that are not the program's.
fn status(kernels: &str, hidden: u64) -> String {
    let line = |line: &str| match line.strip_prefix("Threads:\t").and_then(|count| count.parse::<u64>().ok())
    {
        Some(count) => format!("Threads:\t{}\n", count.saturating_sub(hidden)),
        None => format!("{line}\n"),
    };
    kernels.lines().map(line).collect()
}

/// `stat` of a thread that used so many nanoseconds elsewhere, and here what `schedstat` says first: ticks of
/// each part, rounded down, would be too few.
fn stat_of_thread(kernels: &str, schedstat: &str, elsewhere: u64, hidden: u64) -> String {
    let here = schedstat.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0_u64);
    let fields: Vec<&str> =
        kernels.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
    let ticks = |number: usize| fields.get(number - 3).and_then(|field| field.parse().ok()).unwrap_or(0_u64);
    let all = here.saturating_add(elsewhere) / TICK;
    stat(kernels, all.saturating_sub(ticks(USER) + ticks(SYSTEM)), 0, hidden)
}

/// Numbers of the fields, of which the second is a name that may have spaces (proc_pid_stat(5)).
const USER: usize = 14;
const SYSTEM: usize = 15;
const THREADS: usize = 20;

/// `stat` with these ticks more, and without the `hidden` threads that are not the program's.
fn stat(kernels: &str, user: u64, system: u64, hidden: u64) -> String {
    let Some((start, rest)) = kernels.rsplit_once(") ") else { return kernels.into() };
    let mut fields: Vec<String> = rest.trim_end().split(' ').map(String::from).collect();
    let mut change = |number: usize, change: &dyn Fn(u64) -> u64| {
        if let Some(field) = fields.get_mut(number - 3)
            && let Ok(value) = field.parse()
        {
            *field = change(value).to_string();
        }
    };
    change(USER, &|ticks| ticks.saturating_add(user));
    change(SYSTEM, &|ticks| ticks.saturating_add(system));
    change(THREADS, &|count| count.saturating_sub(hidden));
    format!("{start}) {}\n", fields.join(" "))
}

/// A file with this text, open for reading.
fn file_of(text: &str) -> io::Result<OwnedFd> {
    let mut written = File::from(rustix::fs::memfd_create("proc", MemfdFlags::CLOEXEC)?);
    written.write_all(text.as_bytes())?;
    let path = format!("/proc/self/fd/{}", written.as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_process_and_its_threads_are_found() {
        for (path, expected) in [
            ("exe", Some(Shown::Executable)),
            ("maps", Some(Shown::Maps)),
            ("task/12/maps", Some(Shown::Maps)),
            ("status", Some(Shown::Status(None))),
            ("task/12/stat", Some(Shown::Stat(Some(12)))),
            ("task/x/stat", None),
            ("task/12", None),
            ("statm", None),
            ("", None),
        ] {
            assert_eq!(Shown::at(path), expected, "{path}");
        }
    }

    #[test]
    fn a_status_has_one_thread_less() {
        assert_eq!(status("Name:\tx\nThreads:\t3\nx:\n", 1), "Name:\tx\nThreads:\t2\nx:\n");
    }

    #[test]
    fn time_is_added_behind_a_name_with_spaces() {
        let kernels = "7 (a ) 1) S 1 7 7 0 -1 4194304 1 2 3 4 50 60 0 0 20 0 3 0 99\n";
        let shown = "7 (a ) 1) S 1 7 7 0 -1 4194304 1 2 3 4 51 62 0 0 20 0 2 0 99\n";
        assert_eq!(stat(kernels, 1, 2, 1), shown);
        assert_eq!(stat("?", 1, 2, 1), "?");
        let of_thread = "7 (a ) 1) S 1 7 7 0 -1 4194304 1 2 3 4 60 60 0 0 20 0 2 0 99\n";
        assert_eq!(stat_of_thread(kernels, "1119999999 5 6\n", 80_000_001, 1), of_thread);
    }

    #[test]
    fn a_file_is_read_from_its_beginning_and_not_written() {
        let file = File::from(file_of("text").expect("a file"));
        assert_eq!(io::read_to_string(&file).expect("read"), "text");
        assert!((&file).write(b"x").is_err());
    }
}

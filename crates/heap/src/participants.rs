//! The table of processes that are attached to a heap, and which of them are dead.
//!
//! A place is taken by an exclusive lock on a byte of the file, far past its end. The kernel gives the lock
//! back when the process ends, however it ends, so a place whose byte is free is nobody's. Words:
//!
//! | word | what |
//! |---|---|
//! | 0 | how often the place was taken, times 4; plus 1 while its process is attached |
//! | 1 | process id, as the process itself sees it |
//! | 2 | when it attached |
//! | 4, 5 | name of the program |
//!
//! Invariant: no allocation and no lock of this process: a copy of a process takes its own place here before
//! it is let go.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use banyan_sys::byte_locks::{self, ByteLock};

use crate::identity::{Participant, TAKINGS};
use crate::layout::{PARTICIPANT_WORDS, PARTICIPANTS, WORD_DEATHS, WORD_PARTICIPANTS};
use crate::sys::clock::now_ns;

/// First byte of the file whose lock stands for a place.
const PLACES: u64 = 1 << 62;
const ATTACHED: u64 = 1;

/// The table in a heap's metadata, and the file whose bytes are locked.
#[derive(Clone, Copy)]
pub(crate) struct Participants<'a> {
    pub(crate) metadata: &'a [AtomicU64],
    pub(crate) file: BorrowedFd<'a>,
    /// This process, if it has a place.
    pub(crate) own: Option<Participant>,
}

/// A place, and whether the process that had it before has died there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) process: Participant,
    pub(crate) after_death: bool,
}

/// A process that is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParticipantInfo {
    /// Its place in the heap's table.
    pub place: usize,
    /// Its id, as it sees it itself.
    pub process_id: u32,
    /// Name of its program, cut to 16 bytes.
    pub program: String,
    /// For how long it has been attached.
    pub attached_ns: u64,
}

impl Participants<'_> {
    fn word(&self, place: usize, word: usize) -> &AtomicU64 {
        &self.metadata[WORD_PARTICIPANTS + place * PARTICIPANT_WORDS + word]
    }

    /// Takes the first free place; `None` if there is none.
    ///
    /// # Errors
    /// What the kernel says of locks.
    pub(crate) fn take(&self) -> io::Result<Option<Taken>> {
        for place in 0..PARTICIPANTS {
            if !byte_locks::set(&self.file, PLACES + place as u64, ByteLock::Exclusive)? {
                continue;
            }
            // The place is ours: no other process writes its words now.
            let before = self.word(place, 0).load(Ordering::Acquire);
            let after_death = before & ATTACHED != 0;
            if after_death {
                self.metadata[WORD_DEATHS].fetch_add(1, Ordering::Relaxed);
            }
            let taking = ((before >> 2) as u32 + 1) % TAKINGS;
            let process = Participant::new(place, taking.max(1));
            self.word(place, 1).store(std::process::id().into(), Ordering::Relaxed);
            self.word(place, 2).store(now_ns(), Ordering::Relaxed);
            let name = program_name();
            self.word(place, 4).store(name[0], Ordering::Relaxed);
            self.word(place, 5).store(name[1], Ordering::Relaxed);
            self.word(place, 0).store((u64::from(process.taking()) << 2) | ATTACHED, Ordering::SeqCst);
            return Ok(Some(Taken { process, after_death }));
        }
        Ok(None)
    }

    /// Says that this process goes in order. Its byte is given back with the descriptor.
    pub(crate) fn leave(&self) {
        if let Some(process) = self.own {
            self.word(process.place(), 0).store(u64::from(process.taking()) << 2, Ordering::SeqCst);
        }
    }

    /// Whether a process is attached still. One that cannot be asked about counts as alive.
    pub(crate) fn is_alive(&self, process: Participant) -> bool {
        if self.own == Some(process) {
            return true;
        }
        let place = process.place();
        let now = (u64::from(process.taking()) << 2) | ATTACHED;
        if self.word(place, 0).load(Ordering::SeqCst) != now {
            return false;
        }
        // Locks of this process's own do not count, and this place was another process's before.
        if self.own.is_some_and(|own| own.place() == place) {
            return false;
        }
        byte_locks::is_held(&self.file, PLACES + place as u64, 1).unwrap_or(true)
    }

    /// The process that is attached at a place, or was when the place was last taken and died there.
    pub(crate) fn at_place(&self, place: usize) -> Option<Participant> {
        let state = self.word(place, 0).load(Ordering::SeqCst);
        (state & ATTACHED != 0).then(|| Participant::new(place, (state >> 2) as u32))
    }

    /// All that are attached.
    pub(crate) fn list(&self) -> Vec<ParticipantInfo> {
        let mut found = Vec::new();
        for place in 0..PARTICIPANTS {
            let Some(process) = self.at_place(place) else { continue };
            if !self.is_alive(process) {
                continue;
            }
            let name = [4, 5].map(|word| self.word(place, word).load(Ordering::Relaxed).to_le_bytes());
            let name = name.concat();
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            let attached = self.word(place, 2).load(Ordering::Relaxed);
            found.push(ParticipantInfo {
                place,
                process_id: self.word(place, 1).load(Ordering::Relaxed) as u32,
                program: String::from_utf8_lossy(&name[..end]).into_owned(),
                attached_ns: now_ns().saturating_sub(attached),
            });
        }
        found
    }

    /// The id of a process, for a message.
    pub(crate) fn process_id(&self, process: Participant) -> u32 {
        self.word(process.place(), 1).load(Ordering::Relaxed) as u32
    }
}

/// Whether any process is attached to the heap in `file`, other than through `file` itself.
///
/// # Errors
/// What the kernel says.
pub(crate) fn any(file: BorrowedFd<'_>) -> io::Result<bool> {
    byte_locks::is_held(&file, PLACES, PARTICIPANTS as u64)
}

/// Whether no process is attached to the heap in `file`; then none can attach until `file` is closed.
///
/// # Errors
/// What the kernel says.
pub(crate) fn keep_out(file: BorrowedFd<'_>) -> io::Result<bool> {
    byte_locks::take_all(&file, PLACES, PARTICIPANTS as u64)
}

/// The name by which the kernel knows this thread's program.
fn program_name() -> [u64; 2] {
    let mut name = [0; 16];
    if let Ok(file) = rustix::fs::open(
        c"/proc/self/comm",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    ) {
        let length = rustix::io::read(&file, &mut name).unwrap_or(0);
        if length > 0 && name[length - 1] == b'\n' {
            name[length - 1] = 0;
        }
    }
    let (first, second) = name.split_at(8);
    [first, second].map(|half| half.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte)))
}

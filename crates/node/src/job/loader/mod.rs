//! Brings a program into a replica's memory as the kernel's exec would: segments, interpreter, heap start,
//! first stack. The stub then only maps the regions and jumps.

mod elf;
mod images;
mod resolve;
mod sanitizer;
mod stack;

pub(crate) use images::Images;
pub(crate) use resolve::{Command, resolve, resolve_file};

use crate::pager::memory_file::MemoryFile;
use banyan_core::regions::{Backing, Region, Regions};
use banyan_wire::address_space::{POOL_BYTES, page_up, pool_start};
use banyan_wire::ids::PAGE_BYTES;
use elf::Elf;
use rustix::io::Errno;
use rustix::mm::ProtFlags;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Where position-independent programs are put.
const PROGRAM_BASE: u64 = pool_start(0) + (4 << 30);
/// Mappings begin here; the space below is the heap's to grow into.
const MAPPINGS_START: u64 = pool_start(0) + (64 << 30);
/// The first stack ends here, at the end of the home node's pool.
const STACK_END: u64 = pool_start(0) + POOL_BYTES - (1 << 30);

/// Reads and checks a program's file, which is at `path`, as before a start; nothing is mapped.
///
/// # Errors
/// [`LoadError`] if it is no program that can be run.
pub fn check_program(path: &Path, bytes: Vec<u8>) -> Result<(), LoadError> {
    Elf::parse(path, bytes).map(drop)
}

/// Why a program cannot be started. Each says which file and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such file, here or in `PATH`.
    #[error("{0}: not found")]
    NotFound(PathBuf),
    /// The file is there but may not be executed.
    #[error("{0}: permission denied: it is not an executable file")]
    NotExecutable(PathBuf),
    /// Not x86-64.
    #[error("{path}: wrong architecture: Banyan runs x86-64 programs and this one is for {machine}")]
    WrongArchitecture {
        /// The file.
        path: PathBuf,
        /// What it is for.
        machine: String,
    },
    /// Not an ELF program, or one with impossible contents.
    #[error("{path}: not a program that can be run: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A program at addresses where a run has no place for it.
    #[error("{path}: a run has no place for it: {reason}")]
    Unplaceable {
        /// The file.
        path: PathBuf,
        /// Where it wants to be.
        reason: &'static str,
    },
    /// The dynamic linker, or the interpreter of a script, is missing.
    #[error(
        "{path}: its interpreter {interpreter} is missing; install it or run a static build of the program"
    )]
    MissingInterpreter {
        /// The program.
        path: PathBuf,
        /// What it asks for.
        interpreter: PathBuf,
    },
    /// Arguments and environment do not fit in the first stack.
    #[error("{path}: the argument list is too long: {bytes} bytes, {room} fit")]
    ArgumentsTooLong {
        /// The program.
        path: PathBuf,
        /// What there is.
        bytes: u64,
        /// What fits: a quarter of the stack, as the kernel has it.
        room: u64,
    },
    /// Reading the file or writing the memory failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

impl LoadError {
    /// The exit status that shells and docker use for this: 127 not found, 126 cannot be executed, 125 ours.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::NotFound(_) | Self::MissingInterpreter { .. } => 127,
            Self::NotExecutable(_)
            | Self::WrongArchitecture { .. }
            | Self::Corrupt { .. }
            | Self::Unplaceable { .. }
            | Self::ArgumentsTooLong { .. } => 126,
            Self::Io { .. } => 125,
        }
    }

    /// What execve(2) says of it.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::NotFound(_) | Self::MissingInterpreter { .. } => Errno::NOENT,
            Self::NotExecutable(_) => Errno::ACCESS,
            Self::WrongArchitecture { .. } | Self::Corrupt { .. } | Self::Unplaceable { .. } => Errno::NOEXEC,
            Self::ArgumentsTooLong { .. } => Errno::TOOBIG,
            Self::Io { source, .. } => Errno::from_io_error(source).unwrap_or(Errno::IO),
        }
    }
}

/// Where a loaded program starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// First instruction.
    pub instruction: u64,
    /// Stack pointer.
    pub stack: u64,
    /// Where the path of the program's file lies, ended by a zero.
    pub executable: u64,
    /// Where the program's break begins.
    pub program_break: u64,
}

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linked {
    /// At an address of its own, in the low range.
    Fixed,
    /// For any address.
    Anywhere,
}

/// How this program is linked, or the interpreter of this script.
///
/// # Errors
/// [`LoadError`], if it is none that can be loaded.
pub(crate) fn linked(file: BorrowedFd<'_>) -> Result<Linked, LoadError> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let program = Elf::read(&resolve(&[path.into()], None, None)?.path)?;
    Ok(if program.fixed { Linked::Fixed } else { Linked::Anywhere })
}

/// Reads the program and its interpreter and reports what is wrong with them, without loading anything.
///
/// # Errors
/// [`LoadError`].
pub(crate) fn check(command: &Command) -> Result<Checked, LoadError> {
    let program = Elf::read(&command.path)?;
    if let Some(interpreter) = &program.interpreter {
        read_interpreter(command, interpreter)?;
    }
    Ok(Checked(program))
}

/// A program that can be loaded.
pub(crate) struct Checked(Elf);

fn read_interpreter(command: &Command, interpreter: &Path) -> Result<Elf, LoadError> {
    Elf::read(interpreter).map_err(|error| match error {
        LoadError::NotFound(_) => {
            LoadError::MissingInterpreter { path: command.path.clone(), interpreter: interpreter.into() }
        }
        other => other,
    })
}

/// What a program gets from its caller beside its command.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// `KEY=VALUE` words.
    pub environment: Vec<OsString>,
    /// Where relative paths start.
    pub directory: PathBuf,
    /// The limit on the size of a stack, in bytes.
    pub stack_limit: Option<u64>,
}

/// Loads `command` into `memory` and enters its regions. Returns where it starts, and what it was loaded
/// from.
///
/// # Errors
/// [`LoadError`].
pub(crate) fn load(
    command: &Command,
    surroundings: &Surroundings,
    memory: &MemoryFile,
    regions: &mut Regions,
) -> Result<(Start, Images), LoadError> {
    let path = surroundings.directory.join(&command.path);
    let program = Elf::read(&path)?;
    let base = if program.fixed { 0 } else { PROGRAM_BASE };
    place(&program, base, memory, regions)?;
    let io = |source| LoadError::Io { path: path.clone(), source };
    let mut images = Images::new(&program, base).map_err(io)?;
    regions.start_mappings(0, MAPPINGS_START);
    let program_break = page_up(base + program.end).unwrap_or(base + program.end);
    regions.set_break(program_break);
    let mut linker_base = 0;
    let mut entry = base + program.entry;
    if let Some(interpreter) = &program.interpreter {
        let linker = read_interpreter(command, &surroundings.directory.join(interpreter))?;
        linker_base = if linker.fixed {
            0
        } else {
            regions.place(0, page_up(linker.end).unwrap_or(linker.end)).ok_or_else(|| LoadError::Corrupt {
                path: interpreter.clone(),
                reason: "it does not fit in the address space".into(),
            })?
        };
        place(&linker, linker_base, memory, regions)?;
        images.add(&linker, linker_base).map_err(io)?;
        entry = linker_base + linker.entry;
    }
    let size = stack::size(surroundings.stack_limit);
    let mut rights = ProtFlags::READ | ProtFlags::WRITE;
    rights.set(ProtFlags::EXEC, program.executable_stack);
    let protection = rights.bits();
    regions.insert(Region {
        start: STACK_END - size,
        end: STACK_END,
        protection,
        backing: Backing::Anonymous,
    });
    let contents = stack::Contents {
        command,
        executable: &path,
        environment: &surroundings.environment,
        program_headers: base + program.headers_address,
        program_header_count: program.header_count,
        linker_base,
        entry: base + program.entry,
    };
    let (image, executable) = contents.build(STACK_END, size / 4)?;
    let stack = STACK_END - image.len() as u64;
    memory.write(stack, &image).map_err(|source| LoadError::Io { path: command.path.clone(), source })?;
    Ok((Start { instruction: entry, stack, executable, program_break }, images))
}

/// Writes the segments of `elf` at `base` and enters them as regions.
fn place(elf: &Elf, base: u64, memory: &MemoryFile, regions: &mut Regions) -> Result<(), LoadError> {
    for segment in &elf.segments {
        let bytes = &elf.bytes[segment.file_range.clone()];
        memory
            .write(base + segment.address, bytes)
            .map_err(|source| LoadError::Io { path: elf.path.clone(), source })?;
        let start = (base + segment.address) & !(PAGE_BYTES - 1);
        let end = page_up(base + segment.address + segment.size).unwrap_or(start);
        // Pages that two segments share get the rights of both, as the later mapping would give them.
        regions.insert(Region { start, end, protection: segment.protection, backing: Backing::Image });
    }
    Ok(())
}

//! What runs in the worker, and where it is found: the configuration that a caller hands to a
//! babysitter, the report that comes back, and the search for the worker program.
//!
//! Not for making calls. The configuration travels as JSON, once, before the first call.

use crate::caller::connection::Connection;
use crate::error::CallError;
use crate::rust::discovery::{FIND_VARIABLE, SERVE_VARIABLE};
pub use crate::sys::sandbox::Groups;
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Everything a babysitter must know.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// The library to load; none for functions of the calling program itself.
    pub library: Option<PathBuf>,
    /// The library's functions, in the order of their numbers.
    pub functions: Vec<FunctionName>,
    /// Variables of the library whose addresses the report gives, in this order.
    pub variables: Vec<FunctionName>,
    /// Functions and streams of the caller's C library, by name, for files that the caller opened.
    pub stdio: Vec<(String, u64)>,
    /// Workers that may run at once, each with one call. For functions of a Rust program; a library has one.
    pub workers: u32,
    /// Workers that stand ready beside those in use.
    pub spares: u32,
    /// Ended workers whose memory stays readable.
    pub kept: u32,
    /// Bytes of heap that a worker may use.
    pub heap_bytes: u64,
    /// Bytes of other private memory that a worker may use.
    pub data_bytes: u64,
    /// Bytes of stack of a thread of a worker.
    pub stack_bytes: u64,
    /// Which groups of system calls are allowed, as [`Groups`].
    pub groups: u32,
    /// Whether to leave the network and the machine's shared objects.
    pub namespaces: bool,
    /// Whether at most one thread is inside the library at a time. Needed unless all that the
    /// library touches lies in blobs or in its own memory.
    pub serial: bool,
    /// Workers that may end one after the other without having served before callers are refused for a while.
    pub crash_loop: u32,
    /// Milliseconds for loading the library.
    pub start_deadline_ms: u64,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            library: None,
            functions: Vec::new(),
            variables: Vec::new(),
            stdio: Vec::new(),
            workers: std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8) as u32),
            spares: 1,
            kept: 3,
            heap_bytes: 4 << 30,
            data_bytes: 8 << 30,
            stack_bytes: 8 << 20,
            groups: Groups::EVERYTHING.0,
            namespaces: false,
            serial: true,
            crash_loop: 20,
            start_deadline_ms: 10_000,
        }
    }
}

/// What the babysitter finds in the control memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Where the window lies.
    pub(crate) window: u64,
    /// The caller's process.
    pub(crate) client: u32,
    pub(crate) configuration: Configuration,
}

/// A function of a library.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FunctionName {
    /// Its symbol.
    pub name: String,
    /// Its symbol version, where it has one.
    pub version: Option<String>,
}

/// What a babysitter says once it has loaded the library, or failed to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Why it cannot serve; empty when it can.
    pub problem: String,
    /// The layers of the sandbox.
    pub layers: Vec<Layer>,
    /// Functions that the library does not have.
    pub missing: Vec<String>,
    pub(crate) segments: Vec<Segment>,
    /// Addresses of the variables asked for, 0 where missing.
    pub(crate) variables: Vec<u64>,
}

/// One layer of the sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Whether it is in force.
    pub active: bool,
    /// Why it is not, if it is not.
    pub detail: String,
}

/// A piece of the library's own memory that the caller sees at the same address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) address: u64,
    pub(crate) length: u64,
    pub(crate) kind: SegmentKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SegmentKind {
    /// Pages of a file that nobody changes.
    File { path: PathBuf, offset: u64 },
    /// The library's code: the caller gets entries that lead to the worker instead.
    Code,
    /// Data, shared with the worker, from that offset of its slot.
    Data { slot_offset: u64 },
}

/// Set in the environment of a process that must become a babysitter.
pub(crate) const WORKER_VARIABLE: &str = "BANYAN_CALL_WORKER";
/// Names the worker program, for libraries.
const PROGRAM_VARIABLE: &str = "BANYAN_CALL_PROGRAM";
const PROGRAM_NAME: &str = "banyan-call-worker";

/// Finds the worker program: named by `BANYAN_CALL_PROGRAM`, in `beside`, beside the running
/// program, in the directory above it, or in `PATH`.
#[must_use]
pub fn find_worker_program(beside: Option<&Path>) -> Option<PathBuf> {
    let mut places = Vec::new();
    if let Some(named) = std::env::var_os(PROGRAM_VARIABLE) {
        places.push(PathBuf::from(named));
    }
    places.extend(beside.map(|directory| directory.join(PROGRAM_NAME)));
    if let Ok(program) = std::env::current_exe() {
        places.extend(program.ancestors().skip(1).take(2).map(|directory| directory.join(PROGRAM_NAME)));
    }
    if let Some(path) = std::env::var_os("PATH") {
        places.extend(std::env::split_paths(&path).map(|directory| directory.join(PROGRAM_NAME)));
    }
    places.into_iter().find(|place| place.is_file())
}

fn text(bytes: &[u8]) -> Result<CString, CallError> {
    CString::new(bytes).map_err(|_| CallError::NoService("a name contains a zero byte".into()))
}

/// The environment of a worker: the program's, without what would wrap the library once more.
fn environment() -> Result<Vec<CString>, CallError> {
    let hidden = ["LD_LIBRARY_PATH", "LD_PRELOAD", WORKER_VARIABLE, FIND_VARIABLE, SERVE_VARIABLE];
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os().filter(|(name, _)| !hidden.iter().any(|hidden| name == hidden)) {
        variables.push(text(&[name.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    variables.push(text(format!("{WORKER_VARIABLE}=1").as_bytes())?);
    Ok(variables)
}

/// Opens a connection to a C library in a process of its own.
///
/// # Errors
/// [`CallError::NoService`] with the reason.
pub fn open_library(configuration: &Configuration, beside: Option<&Path>) -> Result<Connection, CallError> {
    let program = find_worker_program(beside)
        .ok_or_else(|| CallError::NoService(format!("{PROGRAM_NAME} is nowhere to be found")))?;
    // Started through the loader, the program lies with its libraries, away from the caller's.
    let loader = ["/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"];
    let loader = loader.iter().find(|path| Path::new(path).exists());
    let mut arguments = Vec::new();
    if let Some(loader) = loader {
        arguments.push(text(loader.as_bytes())?);
    }
    arguments.push(text(program.as_os_str().as_bytes())?);
    Connection::open(configuration, &arguments, &environment()?)
}

/// Opens a connection to the isolated functions of the running program itself.
///
/// # Errors
/// [`CallError::NoService`] with the reason.
pub fn open_functions(configuration: &Configuration) -> Result<Connection, CallError> {
    Connection::open(configuration, &[text(b"/proc/self/exe")?], &environment()?)
}

//! The program that a connection's worker is made from, how it is found, and with what environment it starts.
//!
//! Not for what happens between a connection and its worker; that is `connection`.

use crate::caller::connection::Connection;
use crate::error::CallError;
use crate::rust::registry::own_object;
use crate::shared::service::{Configuration, FIND_VARIABLE, FOR_A_LIBRARY, SERVE_VARIABLE, WORKER_VARIABLE};
use crate::sys::maps::{self, Mapping};
use crate::sys::process::program_headers;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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

/// The environment of a worker of `wanted`: the program's, without what would wrap the library once more.
fn environment(wanted: &str) -> Result<Vec<CString>, CallError> {
    let hidden = ["LD_LIBRARY_PATH", "LD_PRELOAD", WORKER_VARIABLE, FIND_VARIABLE, SERVE_VARIABLE];
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os().filter(|(name, _)| !hidden.iter().any(|hidden| name == hidden)) {
        variables.push(text(&[name.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    variables.push(text(format!("{WORKER_VARIABLE}={wanted}").as_bytes())?);
    Ok(variables)
}

/// The first of some files that is there.
fn first_of(places: &[&'static str]) -> Option<&'static str> {
    places.iter().copied().find(|place| Path::new(place).exists())
}

fn loader() -> Option<&'static str> {
    first_of(&["/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"])
}

/// Opens a connection to a C library in another process.
///
/// # Errors
/// [`CallError::NoService`] with the reason.
pub fn open_library(configuration: &Configuration, beside: Option<&Path>) -> Result<Connection, CallError> {
    let program = find_worker_program(beside)
        .ok_or_else(|| CallError::NoService(format!("{PROGRAM_NAME} was not found: install it beside the program or in PATH, or name it in {PROGRAM_VARIABLE}")))?;
    // Started through the loader, the program lies with its libraries, away from the caller's.
    let mut arguments = Vec::new();
    if let Some(loader) = loader() {
        arguments.push(text(loader.as_bytes())?);
    }
    arguments.push(text(program.as_os_str().as_bytes())?);
    Connection::open(configuration, &arguments, &environment(FOR_A_LIBRARY)?)
}

/// How a process is started that has the functions of `own` and runs nothing else.
fn arguments_for(own: &Mapping) -> Result<Vec<CString>, CallError> {
    let refused = |why: &str| {
        Err(CallError::NoService(format!(
            "the isolated functions of {} cannot run in a worker: {why}",
            own.path
        )))
    };
    let program = std::fs::read_link("/proc/self/exe");
    if program.is_ok_and(|program| program.as_os_str().as_bytes() == own.path.as_bytes()) {
        return Ok(vec![text(b"/proc/self/exe")?]);
    }
    // From here on by its path: what stands there now must be what this process has loaded.
    if std::fs::metadata(&own.path).map_or(0, |found| found.ino()) != own.inode {
        return refused("the file was replaced or removed since it was loaded; start the program again");
    }
    let Some(loader) = loader() else { return refused("there is no dynamic loader in /lib64 or /lib") };
    // A program that was started through the loader.
    if maps::at(program_headers()).is_some_and(|main| main.path == own.path) {
        return Ok(vec![text(loader.as_bytes())?, text(own.path.as_bytes())?]);
    }
    // A shared object. Its caller's program would run if that were started, and do what it does: read
    // standard input, for instance. Loaded before a program that does nothing, the object takes that's place.
    let Some(idle) = first_of(&["/bin/true", "/usr/bin/true"]) else {
        return refused("a shared object needs /bin/true, to be loaded into");
    };
    if own.path.contains([' ', ':', ';']) {
        return refused("the dynamic loader takes no path with a space, colon or semicolon; move it");
    }
    [loader, "--preload", &own.path, idle].iter().map(|argument| text(argument.as_bytes())).collect()
}

/// Opens a connection to the isolated functions of the program or shared object that this code lies in.
///
/// # Errors
/// [`CallError::NoService`] with the reason.
pub fn open_functions(configuration: &Configuration) -> Result<Connection, CallError> {
    let own = own_object().ok_or_else(|| CallError::NoService("/proc/self/maps cannot be read".into()))?;
    Connection::open(configuration, &arguments_for(&own)?, &environment(&own.path)?)
}

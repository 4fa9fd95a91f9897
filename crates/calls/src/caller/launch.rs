//! The program that a connection's worker is made from, how it is found, and with what environment it starts.
//!
//! Not for what happens between a connection and its worker; that is `connection`.

use crate::caller::connection::Connection;
use crate::error::CallError;
use crate::shared::service::{Configuration, FIND_VARIABLE, SERVE_VARIABLE, WORKER_VARIABLE};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
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

/// Opens a connection to a C library in another process.
///
/// # Errors
/// [`CallError::NoService`] with the reason.
pub fn open_library(configuration: &Configuration, beside: Option<&Path>) -> Result<Connection, CallError> {
    let program = find_worker_program(beside)
        .ok_or_else(|| CallError::NoService(format!("{PROGRAM_NAME} was not found: install it beside the program or in PATH, or name it in {PROGRAM_VARIABLE}")))?;
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

//! The promise on crashes, measured: a million calls of an `snprintf` that crashes one time in forty.
//!
//! Every result is compared. The callee is made by `gcc` in a directory of its own, removed again.

use super::call;
use crate::row::Row;
use banyan_calls::connection::CallOptions;
use banyan_calls::error::CallError;
use banyan_calls::launch::open_library;
use banyan_calls::service::{Configuration, FunctionName};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const CALLS: u64 = 1_000_000;

/// A directory of a bench's own, removed again.
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Makes one, for the bench of that name.
    pub(super) fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("banyan-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).map(|()| Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn compile(directory: &Path) -> std::io::Result<PathBuf> {
    let library = directory.join("libflaky.so");
    let mut command = Command::new("gcc");
    command.args(["-x", "c", "-O1", "-shared", "-fPIC", "-", "-o"]).arg(&library).stdin(Stdio::piped());
    let mut compiler = command.spawn()?;
    let written =
        compiler.stdin.take().map_or(Ok(()), |mut input| input.write_all(include_bytes!("flaky.c")));
    if !compiler.wait()?.success() {
        return Err(std::io::Error::other("gcc failed"));
    }
    written.map(|()| library)
}

/// One row: results that were wrong or missing.
pub(super) fn rows() -> Result<Vec<Row>, CallError> {
    let library = Directory::new("flaky")
        .and_then(|directory| compile(directory.path()).map(|library| (directory, library)));
    let (_directory, library) =
        library.map_err(|error| CallError::NoService(format!("making the callee that crashes: {error}")))?;
    let functions = vec![FunctionName { name: "flaky_snprintf".into(), version: None }];
    let configuration = Configuration { library: Some(library), functions, ..Configuration::default() };
    let connection = open_library(&configuration, None)?;
    let options = CallOptions { deadline: Duration::from_secs(10), retries: 5, ..CallOptions::default() };
    let format = c"The answer is %d".as_ptr() as u64;
    let (mut wrong, start) = (0_u64, Instant::now());
    let (mut text, mut expected) = ([0_u8; 64], [0_u8; 64]);
    for number in 0..CALLS {
        let mut rest = &mut expected[..];
        let put = write!(rest, "The answer is {number}\0");
        let length = 64 - rest.len();
        let result = call(&connection, 0, &[text.as_mut_ptr() as u64, 64, format, number], &options);
        // SAFETY: the callee changed it behind the compiler's back.
        let text = unsafe { (&raw const text).read_volatile() };
        let is_right = put.is_ok() && result == Ok(length as u64 - 1) && text[..length] == expected[..length];
        wrong += u64::from(!is_right);
    }
    let seconds = start.elapsed().as_secs_f64();
    let (ended, absorbed) =
        (connection.statistics().ended.load(Relaxed), connection.statistics().absorbed.load(Relaxed));
    Ok(vec![
        Row::new("call.flaky", wrong as f64, "wrong results")
            .judged("none of 1,000,000 is wrong or missing", wrong == 0 && ended >= CALLS / 40 - 1)
            .note(format!("{ended} workers crashed, {absorbed} calls made again, {seconds:.1} s")),
    ])
}

//! Lines for the person who started a run, on the standard error of the run.
//!
//! The reader may have gone and the stream be closed: that must not end a thread of the daemon, as
//! `eprintln!` would.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// A stream that lines are written to.
#[derive(Debug)]
pub(crate) struct Report(File);

impl Report {
    /// Over a stream that came from the run's caller.
    pub(crate) fn new(stream: OwnedFd) -> Self {
        Self(stream.into())
    }

    /// Over this process's own standard error.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn own() -> io::Result<Self> {
        Ok(Self::new(io::stderr().as_fd().try_clone_to_owned()?))
    }

    /// Writes one line that says who speaks.
    pub(crate) fn notice(&self, text: &str) {
        self.write(&format!("banyan: {text}\n"));
    }

    /// Writes text as it is.
    pub(crate) fn write(&self, text: &str) {
        let _ = (&self.0).write_all(text.as_bytes());
    }
}

//! What a user sees who prints an error and nothing more: its text says why, down to what the kernel said.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use banyan_arena::disk::FileDiskError;
use banyan_arena::events::EventError;
use banyan_arena::image::SaveError;
use banyan_arena::inspect::{ImportError, InspectError};
use banyan_arena::store::{CommitError, CreateError, OpenError, ReadError};
use banyan_arena::{ArenaError, ReaderError, RollbackError};

const CAUSE: &str = "what the kernel said";

#[test]
fn every_error_says_its_cause() {
    let cause = || io::Error::other(CAUSE);
    let path = || PathBuf::from("some.arena");
    let errors: Vec<Box<dyn Error>> = vec![
        Box::new(ArenaError::File { path: path(), source: FileDiskError::Io(cause()) }),
        Box::new(ArenaError::Create(CreateError::Io(cause()))),
        Box::new(ArenaError::Create(CreateError::DiskFull { needed: 1, source: cause() })),
        Box::new(ArenaError::Open(OpenError::Io(cause()))),
        Box::new(ArenaError::Memory(cause())),
        Box::new(ArenaError::Read(ReadError::Io(cause()))),
        Box::new(RollbackError::Memory(cause())),
        Box::new(RollbackError::Commit(CommitError::Io(cause()))),
        Box::new(CommitError::DiskFull { needed: 1, source: cause() }),
        Box::new(ReaderError::File { path: path(), source: FileDiskError::Io(cause()) }),
        Box::new(ReaderError::Lock(cause())),
        Box::new(EventError::<()>::Begin(cause())),
        Box::new(SaveError::Io(cause())),
        Box::new(InspectError::Output { path: path(), source: cause() }),
        Box::new(InspectError::Import(ImportError::Io(cause()))),
    ];
    for error in errors {
        assert!(error.to_string().contains(CAUSE), "{error}");
    }
    let text = ArenaError::File { path: path(), source: FileDiskError::Locked }.to_string();
    assert!(text.starts_with("some.arena: the arena is already open"), "{text}");
}

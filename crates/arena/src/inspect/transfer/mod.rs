//! Export and import. An image holds the pages and roots of one commit, or what has changed in them since an
//! earlier one, in a file that any build of any later format can read back; it keeps the heap's base, since
//! the heap holds addresses. A jam holds one noun, and goes into an arena of any base.
//!
//! The layout of an image is in `docs/formats/arena.md`. An image is untrusted: each number in it is checked,
//! and an arena takes its name only once the whole image was read and its checksum found right. No file takes
//! its name before it is whole.

mod export;
mod import;
mod jam;
mod relocate;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

pub use self::export::{Export, export};
pub use self::import::import;
pub use self::jam::{export_noun, import_noun};
pub use self::relocate::relocate;
use super::InspectError;
use crate::disk::{FileDisk, NewFile};
use crate::store::Position;

const MAGIC: &[u8; 8] = b"BANYEXP2";
/// Images of one commit, with their pages in order, as older builds wrote them.
const OLD_MAGIC: &[u8; 8] = b"BANYEXP1";
/// Before each page of an image.
const PAGE: u32 = 1;
/// Behind the last one.
const END: u32 = 2;

/// What was exported or imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Pages that are not zero.
    pub pages: u64,
    /// The commit that they belong to; of what was imported, the new arena's.
    pub position: Position,
    /// Bytes of the image or jam.
    pub bytes: u64,
}

/// Why an image or a jam could not be read. No arena was made or changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file could not be read.
    #[error("cannot read the file to import: {0}")]
    Io(#[source] io::Error),
    /// It is a directory, a pipe or a device.
    #[error("{} is no regular file; give the name of a file that `banyan arena export` made", .0.display())]
    NotAFile(std::path::PathBuf),
    /// It does not begin as one must.
    #[error("this is no exported arena; `banyan arena export` makes one, and a jam needs `--cue ROOT`")]
    NotAnImage,
    /// The bytes can be read as a noun, but that noun is jammed as others.
    #[error("the file holds no jammed noun, or something behind it; `banyan arena export --jam` makes one")]
    NotAJam,
    /// The images do not follow on each other.
    #[error(
        "{path} holds what changed since commit {since}, but {} comes before it; give a whole export first, then \
         each one made since, in order", match before { Some(commit) => format!("commit {commit}"), None => "nothing of that arena".to_owned() }
    )]
    NotNext {
        /// The image.
        path: std::path::PathBuf,
        /// The commit since which it holds what changed; 0: it is a whole one.
        since: u64,
        /// The commit that was there.
        before: Option<u64>,
    },
    /// A number in it is not what it can be.
    #[error("the exported arena is damaged near byte {0}; export it again")]
    Damaged(u64),
}

/// A file to import.
fn open_input(path: &Path) -> Result<File, ImportError> {
    // A pipe is none, and opening it would otherwise wait for its writer. Files ignore the flag.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(ImportError::Io)?;
    if !file.metadata().map_err(ImportError::Io)?.is_file() {
        return Err(ImportError::NotAFile(path.to_owned()));
    }
    Ok(file)
}

/// Passes bytes on and hashes them.
struct Hashing<T> {
    inner: T,
    hash: Xxh3,
    bytes: u64,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self { inner, hash: Xxh3::new(), bytes: 0 }
    }
}

impl<T: Write> Hashing<T> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.inner.write_all(bytes)
    }
}

impl<T: Read> Hashing<T> {
    fn take(&mut self, buffer: &mut [u8]) -> Result<(), ImportError> {
        self.inner.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ImportError::Damaged(self.bytes),
            _ => ImportError::Io(error),
        })?;
        self.hash.update(buffer);
        self.bytes += buffer.len() as u64;
        Ok(())
    }
    fn u16(&mut self) -> Result<u16, ImportError> {
        let mut field = [0; 2];
        self.take(&mut field)?;
        Ok(u16::from_le_bytes(field))
    }
    fn u32(&mut self) -> Result<u32, ImportError> {
        let mut field = [0; 4];
        self.take(&mut field)?;
        Ok(u32::from_le_bytes(field))
    }
    fn u64(&mut self) -> Result<u64, ImportError> {
        let mut field = [0; 8];
        self.take(&mut field)?;
        Ok(u64::from_le_bytes(field))
    }
}

/// A file that takes its name once it is whole.
struct NewOutput {
    new: NewFile,
    /// Holds the lock on it.
    lock: FileDisk,
    file: File,
}

impl NewOutput {
    fn create(path: &Path) -> Result<Self, InspectError> {
        let (new, lock) =
            NewFile::create(path).map_err(|error| not_written(path, io::Error::other(error)))?;
        let file = OpenOptions::new().write(true).open(new.written_path());
        Ok(Self { new, lock, file: file.map_err(|error| not_written(path, error))? })
    }

    fn publish(self, path: &Path) -> Result<(), InspectError> {
        self.file.sync_all().map_err(|error| not_written(path, error))?;
        self.new.publish().map_err(|error| not_written(path, io::Error::other(error)))?;
        drop(self.lock);
        Ok(())
    }
}

fn not_written(path: &Path, source: io::Error) -> InspectError {
    InspectError::Output { path: path.to_owned(), source }
}

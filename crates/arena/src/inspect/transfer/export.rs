//! The pages of one commit into an image, while a writer may go on.
//!
//! A writer that folds twice may write over what this reads. Then the arena is looked at again, and only what
//! has changed since is read and goes into the image behind the rest: the last of several records of a page
//! counts. So an image is of the commit that was the last in the last look, and what is copied twice is only
//! what was changed meanwhile. After some looks the writer is asked to put its folds off.
//!
//! What changed since a commit is told by the commits that wrote the pages; which of the others are gone, by
//! the list of all pages at the image's end.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::super::{InspectError, open};
use super::{END, Hashing, MAGIC, NewOutput, PAGE, Transfer, not_written};
use crate::disk::{Disk, FileDisk};
use crate::reader::SnapshotReader;
use crate::store::{OpenError, PageEntry, Position, ReadError, Store, page_checksum};

/// Looks at an arena whose writer overtakes them.
const LOOKS_MAX: u32 = 100;
/// Looks before the writer is asked for rest.
const PATIENCE: u32 = 4;

/// What is exported.
#[derive(Clone, Copy, Debug, Default)]
pub struct Export<'a> {
    /// This snapshot; `None`: the last commit.
    pub snapshot: Option<&'a str>,
    /// Only what changed since this snapshot, or since the commit of this number; `None`: everything.
    pub since: Option<&'a str>,
}

/// Which commit wrote the record of a page that is in the image, and its checksum.
type Written = HashMap<u32, (u64, u32)>;

/// Writes the last commit, or a snapshot, into a new file. `progress` gets pages done and pages in all.
///
/// # Errors
/// [`InspectError`]; there is then no file of that name.
pub fn export(
    path: &Path,
    what: Export<'_>,
    output: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Transfer, InspectError> {
    // A snapshot that is read is not dropped.
    let _held = what.snapshot.map(|name| SnapshotReader::open(path, name)).transpose()?;
    let mut store = open(path)?.0;
    let identity = store.identity();
    let since = what.since.map(|since| commit_of(&store, since)).transpose()?;
    let new = NewOutput::create(output)?;
    let failed = |error: io::Error| not_written(output, error);
    let mut image = Hashing::new(BufWriter::with_capacity(1 << 20, &new.file));
    image.put(MAGIC).and_then(|()| image.put(&identity.uuid)).map_err(failed)?;
    for field in [identity.base, identity.reservation, since.unwrap_or(0)] {
        image.put(&field.to_le_bytes()).map_err(failed)?;
    }
    let mut written = Written::new();
    for look in 0.. {
        let copied = copy(&store, what.snapshot, since.unwrap_or(0), &mut image, &mut written, progress);
        match copied {
            Ok((position, pages)) => {
                if since.is_some_and(|since| since > position.transaction) {
                    return Err(InspectError::NoSuchCommit(what.since.unwrap_or_default().to_owned()));
                }
                // What is read of the last commit may not be durable yet, and another could take its number
                // after a crash.
                store.disk().sync().map_err(ReadError::Io)?;
                finish(&mut image, &position, &pages).map_err(failed)?;
                let bytes = image.bytes;
                image.inner.flush().map_err(failed)?;
                drop(image);
                new.publish(output)?;
                return Ok(Transfer { pages: written.len() as u64, position, bytes });
            }
            Err(CopyError::Read(_)) if store.is_overtaken() && look < LOOKS_MAX => {
                store = open(path)?.0;
                if look >= PATIENCE {
                    // Nothing is lost if it cannot be asked: the looks go on.
                    let _unasked = store.disk().ask_for_rest();
                }
            }
            Err(CopyError::Read(_)) if store.is_overtaken() => return Err(OpenError::Overtaken.into()),
            Err(CopyError::Read(error)) => return Err(error.into()),
            Err(CopyError::NoSnapshot) => {
                return Err(InspectError::NoSuchSnapshot(what.snapshot.unwrap_or_default().to_owned()));
            }
            Err(CopyError::Write(error)) => return Err(failed(error)),
        }
    }
    Err(OpenError::Overtaken.into())
}

/// The commit of a snapshot of that name, or of that number.
fn commit_of(store: &Store<FileDisk>, since: &str) -> Result<u64, InspectError> {
    let snapshots = store.snapshots();
    let named = snapshots.iter().find(|info| info.name == since).map(|info| info.position.transaction);
    named
        .or_else(|| since.parse().ok())
        .filter(|commit| (1..=store.position().transaction).contains(commit))
        .ok_or_else(|| InspectError::NoSuchCommit(since.to_owned()))
}

enum CopyError {
    Read(ReadError),
    NoSnapshot,
    Write(io::Error),
}

impl From<ReadError> for CopyError {
    fn from(error: ReadError) -> Self {
        CopyError::Read(error)
    }
}

/// Copies what one look shows and is not written yet; gives the commit and all its pages.
fn copy<W: Write>(
    store: &Store<FileDisk>,
    snapshot: Option<&str>,
    since: u64,
    image: &mut Hashing<W>,
    written: &mut Written,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Position, Vec<(u32, PageEntry)>), CopyError> {
    let (position, pages) = match snapshot {
        None => (store.position().clone(), store.pages()?),
        Some(name) => {
            let (info, pages) = store.snapshot_pages(name)?.ok_or(CopyError::NoSnapshot)?;
            (info.position, pages)
        }
    };
    let is_missing = |(page, entry): &&(u32, PageEntry)| {
        entry.birth > since && written.get(page) != Some(&(entry.birth, entry.checksum))
    };
    let missing: Vec<(u32, PageEntry)> = pages.iter().filter(is_missing).copied().collect();
    let births: HashMap<u32, u64> = missing.iter().map(|(page, entry)| (*page, entry.birth)).collect();
    let total = missing.len() as u64;
    let mut done = 0;
    store.committed().read_pages::<CopyError>(missing, &mut |page, bytes| {
        let bytes = bytes?;
        let checksum = page_checksum(bytes);
        let record = [PAGE, page, checksum].map(u32::to_le_bytes);
        image.put(record.as_flattened()).and_then(|()| image.put(bytes)).map_err(CopyError::Write)?;
        written.insert(page, (births.get(&page).copied().unwrap_or(0), checksum));
        done += 1;
        if done % 1024 == 0 || done == total {
            progress(done, total);
        }
        Ok(())
    })?;
    Ok((position, pages))
}

/// Writes what stands behind the pages.
fn finish<W: Write>(
    image: &mut Hashing<W>,
    position: &Position,
    pages: &[(u32, PageEntry)],
) -> io::Result<()> {
    image.put(&END.to_le_bytes())?;
    for field in [position.transaction, position.epoch, position.event] {
        image.put(&field.to_le_bytes())?;
    }
    image.put(&(position.roots.len() as u16).to_le_bytes())?;
    for (name, value) in &position.roots {
        image.put(&(name.len() as u16).to_le_bytes())?;
        image.put(name.as_bytes())?;
        image.put(&value.to_le_bytes())?;
    }
    let runs: Vec<&[(u32, PageEntry)]> =
        pages.chunk_by(|(a, _), (b, _)| a.checked_add(1) == Some(*b)).collect();
    image.put(&(runs.len() as u64).to_le_bytes())?;
    for run in runs {
        image.put(&run[0].0.to_le_bytes())?;
        image.put(&(run.len() as u64).to_le_bytes())?;
    }
    let sum = image.hash.digest128().to_le_bytes();
    image.put(&sum)
}

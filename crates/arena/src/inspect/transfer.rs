//! Export and import. An image holds the pages and roots of one commit in a file that any build of any later
//! format can read back; it keeps the heap's base, since the heap holds addresses. A jam holds one noun, and
//! goes into an arena of any base.
//!
//! The layout of an image is in `docs/formats/arena.md`. An image is untrusted: each number in it is checked,
//! and an arena takes its name only once the whole image was read and its checksum found right.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::InspectError;
use crate::arena::{Arena, ArenaOptions};
use crate::disk::{BLOCK_SIZE, Block, Disk, FileDisk, NewFile};
use crate::noun::{Noun, Nouns};
use crate::store::{
    CommitRequest, Identity, OpenError, PageEntry, Position, Roots, Store, StoreOptions, page_checksum,
};

const MAGIC: &[u8; 8] = b"BANYEXP1";
/// Pages in one commit of an import.
const BATCH: usize = 2048;
/// Longest name of a root.
const NAME_MAX: usize = 1536;

/// What was exported or imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Pages that are not zero.
    pub pages: u64,
    /// The commit that they belong to.
    pub position: Position,
    /// Bytes of the image or jam.
    pub bytes: u64,
}

/// Why an image or a jam could not be read. No arena was made or changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file could not be read.
    #[error("cannot read the file to import")]
    Io(#[source] io::Error),
    /// It does not begin as one must.
    #[error("this is no exported arena; `banyan arena export` makes one, and a jam needs `--cue ROOT`")]
    NotAnImage,
    /// The bytes can be read as a noun, but that noun is jammed as others.
    #[error("the file holds no jammed noun, or something behind it; `banyan arena export --jam` makes one")]
    NotAJam,
    /// A number in it is not what it can be.
    #[error("the exported arena is damaged near byte {0}; export it again")]
    Damaged(u64),
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

fn create_file(path: &Path) -> Result<File, InspectError> {
    File::create_new(path).map_err(|error| InspectError::Output { path: path.to_owned(), source: error })
}

/// Writes the last commit, or a snapshot, into a new file. `progress` gets pages done and pages in all.
///
/// # Errors
/// [`InspectError`]; a file that was begun is removed.
pub fn export(
    path: &Path,
    snapshot: Option<&str>,
    output: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Transfer, InspectError> {
    let (store, _) = super::open(path)?;
    let (position, pages) = match snapshot {
        None => (store.position().clone(), store.pages()?),
        Some(name) => {
            let found = store.snapshot_pages(name)?;
            let (info, pages) = found.ok_or_else(|| InspectError::NoSuchSnapshot(name.to_owned()))?;
            (info.position, pages)
        }
    };
    let failed = |source: io::Error| InspectError::Output { path: output.to_owned(), source };
    let file = create_file(output)?;
    let written = write_image(&store, &position, &pages, &file, progress);
    match written {
        Ok(bytes) => {
            file.sync_all().map_err(failed)?;
            Ok(Transfer { pages: pages.len() as u64, position, bytes })
        }
        Err(error) => {
            // What is half written is of no use, and failing to remove it is not the first trouble.
            let _half = std::fs::remove_file(output);
            Err(match error {
                WriteError::Read(_) if store.is_overtaken() => OpenError::Overtaken.into(),
                WriteError::Read(error) => error.into(),
                WriteError::Io(error) => failed(error),
            })
        }
    }
}

enum WriteError {
    Read(crate::store::ReadError),
    Io(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn write_image<D: Disk>(
    store: &Store<D>,
    position: &Position,
    pages: &[(u32, PageEntry)],
    file: &File,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, WriteError> {
    let mut output = Hashing::new(BufWriter::with_capacity(1 << 20, file));
    let identity = store.identity();
    output.put(MAGIC)?;
    for field in [identity.base, identity.reservation, position.epoch, position.event] {
        output.put(&field.to_le_bytes())?;
    }
    output.put(&(position.roots.len() as u16).to_le_bytes())?;
    for (name, value) in &position.roots {
        output.put(&(name.len() as u16).to_le_bytes())?;
        output.put(name.as_bytes())?;
        output.put(&value.to_le_bytes())?;
    }
    output.put(&(pages.len() as u64).to_le_bytes())?;
    let mut block = Block::ZERO;
    for (done, (page, entry)) in pages.iter().enumerate() {
        store.read_entry(*page, *entry, &mut block.0).map_err(WriteError::Read)?;
        output.put(&page.to_le_bytes())?;
        output.put(&page_checksum(&block.0).to_le_bytes())?;
        output.put(&block.0)?;
        if done.is_multiple_of(1024) {
            progress(done as u64, pages.len() as u64);
        }
    }
    let sum = output.hash.digest128().to_le_bytes();
    output.put(&sum)?;
    output.inner.flush()?;
    progress(pages.len() as u64, pages.len() as u64);
    Ok(output.bytes)
}

/// Makes a new arena of an image. `progress` gets pages done and pages in all.
///
/// # Errors
/// [`InspectError`]; there is then no arena of that name.
pub fn import(
    input: &Path,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Transfer, InspectError> {
    let file = File::open(input).map_err(ImportError::Io)?;
    let mut image = Hashing::new(BufReader::with_capacity(1 << 20, file));
    let mut magic = [0; 8];
    match image.take(&mut magic) {
        Ok(()) if &magic == MAGIC => {}
        Ok(()) | Err(ImportError::Damaged(_)) => return Err(ImportError::NotAnImage.into()),
        Err(error) => return Err(error.into()),
    }
    let (arena, disk) = NewFile::create(path)?;
    // The store keeps the file locked until it has its name.
    let (transfer, store) = fill(&mut image, disk, progress)?;
    arena.publish()?;
    drop(store);
    Ok(transfer)
}

fn fill<T: Read>(
    image: &mut Hashing<T>,
    disk: FileDisk,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Transfer, Store<FileDisk>), InspectError> {
    let (base, reservation, epoch, event) = (image.u64()?, image.u64()?, image.u64()?, image.u64()?);
    let mut roots = Roots::new();
    for _ in 0..image.u16()? {
        let length = usize::from(image.u16()?);
        if length > NAME_MAX {
            return Err(ImportError::Damaged(image.bytes).into());
        }
        let mut name = vec![0; length];
        image.take(&mut name)?;
        let name = String::from_utf8(name).map_err(|_| ImportError::Damaged(image.bytes))?;
        roots.insert(name, image.u64()?);
    }
    let total = image.u64()?;
    let end = reservation / BLOCK_SIZE as u64;
    if total > end {
        return Err(ImportError::Damaged(image.bytes).into());
    }
    let mut store = Store::create(disk, Identity::new(base, reservation)?, StoreOptions::default())?;
    let mut next = 0;
    let mut done = 0;
    let mut numbers: Vec<u32> = Vec::new();
    let mut blocks: Vec<Block> = Vec::new();
    loop {
        if numbers.len() == BATCH || done == total {
            let pages = numbers.iter().zip(&blocks).map(|(page, block)| (*page, Some(&block.0[..])));
            let request = CommitRequest {
                epoch,
                event,
                roots: roots.clone(),
                pages: pages.collect(),
                ..Default::default()
            };
            store.commit(&request)?;
            progress(done, total);
            numbers.clear();
            blocks.clear();
        }
        if done == total {
            break;
        }
        let (page, sum) = (image.u32()?, image.u32()?);
        let mut block = Block::ZERO;
        image.take(&mut block.0)?;
        if u64::from(page) < next || u64::from(page) >= end || page_checksum(&block.0) != sum {
            return Err(ImportError::Damaged(image.bytes - BLOCK_SIZE as u64).into());
        }
        next = u64::from(page) + 1;
        done += 1;
        numbers.push(page);
        blocks.push(block);
    }
    let expected = image.hash.digest128().to_le_bytes();
    let mut sum = [0; 16];
    image.take(&mut sum)?;
    if sum != expected {
        return Err(ImportError::Damaged(0).into());
    }
    store.fold()?;
    let position = store.position().clone();
    Ok((Transfer { pages: total, position, bytes: image.bytes }, store))
}

/// Writes the noun of a root, jammed, into a new file.
///
/// # Errors
/// [`InspectError`].
pub fn export_noun(path: &Path, root: &str, output: &Path) -> Result<Transfer, InspectError> {
    let mut arena = Arena::open(path, ArenaOptions::default())?;
    let word = arena.root(root).ok_or_else(|| InspectError::NoSuchRoot(root.to_owned()))?;
    let position = arena.position().clone();
    let mut nouns = Nouns::new(&mut arena);
    let noun = nouns.noun_of_word(word).ok_or_else(|| InspectError::NotANoun(root.to_owned()))?;
    let jammed = nouns.jam(noun);
    let failed = |source: io::Error| InspectError::Output { path: output.to_owned(), source };
    let mut file = create_file(output)?;
    file.write_all(&jammed).and_then(|()| file.sync_all()).map_err(|error| {
        // What is half written is of no use, and failing to remove it is not the first trouble.
        let _half = std::fs::remove_file(output);
        failed(error)
    })?;
    Ok(Transfer { pages: 0, position, bytes: jammed.len() as u64 })
}

/// Cues a jam into an arena, which is made if it is not there, and commits it under a root.
///
/// # Errors
/// [`InspectError`]; an arena that was there is as it was.
pub fn import_noun(
    input: &Path,
    path: &Path,
    root: &str,
    options: ArenaOptions,
) -> Result<Transfer, InspectError> {
    let jammed = std::fs::read(input).map_err(ImportError::Io)?;
    let is_new = !path.exists();
    let mut arena = Arena::open_or_create(path, options)?;
    let mut nouns = Nouns::new(&mut arena);
    let cued = match nouns.cue(&jammed) {
        // Nearly any bytes begin with some noun: only those that it is jammed as are meant as one.
        Ok(noun) if nouns.jam(noun) == jammed => Ok(noun),
        Ok(_) => Err(ImportError::NotAJam.into()),
        Err(error) => Err(InspectError::from(error)),
    };
    let done = cued.and_then(|noun: Noun| {
        arena.set_root(root, noun.word());
        let (epoch, event) = (arena.position().epoch, arena.position().event);
        arena.commit(epoch, event)?;
        arena.fold()?;
        Ok(Transfer { pages: 0, position: arena.position().clone(), bytes: jammed.len() as u64 })
    });
    if done.is_err() && is_new {
        // An arena that was only made for this noun has no use without it.
        let _empty = std::fs::remove_file(path);
    }
    done
}

//! An arena from an image, or from a whole one and those of what changed since, in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::super::InspectError;
use super::{END, Hashing, ImportError, MAGIC, OLD_MAGIC, PAGE, Transfer, open_input};
use crate::disk::{BLOCK_SIZE, Block, FileDisk, NewFile};
use crate::store::{
    CommitPage, CommitRequest, Identity, Position, Roots, Store, StoreOptions, page_checksum,
};

/// Pages in one commit of an import.
const BATCH: usize = 2048;
/// Longest name of a root.
const NAME_MAX: usize = 1536;

type Image = Hashing<BufReader<File>>;

/// Makes a new arena of images: a whole one, and any number of those since, each since the one before it.
/// `progress` gets bytes done and bytes in all.
///
/// # Errors
/// [`InspectError`]; there is then no arena of that name.
pub fn import(
    inputs: &[PathBuf],
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Transfer, InspectError> {
    let mut images = Vec::with_capacity(inputs.len());
    let mut total = 0;
    for input in inputs {
        let file = open_input(input)?;
        total += file.metadata().map_err(ImportError::Io)?.len();
        let mut image = Hashing::new(BufReader::with_capacity(1 << 20, file));
        let begun = Begun::read(&mut image)?;
        images.push((input, begun, image));
    }
    let Some((input, first, _)) = images.first() else { return Err(ImportError::NotAnImage.into()) };
    if first.since != 0 {
        let since = first.since;
        return Err(ImportError::NotNext { path: input.to_path_buf(), since, before: None }.into());
    }
    let identity = Identity::new(first.base, first.reservation)?;
    let (arena, disk) = NewFile::create(path)?;
    // The store keeps the file locked until it has its name.
    let store = Store::create(disk, identity, StoreOptions::default())?;
    let mut importing =
        Importing { store, batch: BTreeMap::new(), before: None, written: 0, bytes: 0, total, progress };
    for (input, begun, mut image) in images {
        importing.take(input, &begun, &mut image)?;
        importing.bytes += image.bytes;
    }
    let Importing { mut store, written, bytes, .. } = importing;
    store.fold()?;
    arena.publish()?;
    Ok(Transfer { pages: written, position: store.position().clone(), bytes })
}

/// How an image begins.
struct Begun {
    is_old: bool,
    uuid: [u8; 16],
    base: u64,
    reservation: u64,
    since: u64,
}

impl Begun {
    fn read(image: &mut Image) -> Result<Self, ImportError> {
        let mut magic = [0; 8];
        match image.take(&mut magic) {
            Ok(()) if &magic == MAGIC || &magic == OLD_MAGIC => {}
            Ok(()) | Err(ImportError::Damaged(_)) => return Err(ImportError::NotAnImage),
            Err(error) => return Err(error),
        }
        let is_old = &magic == OLD_MAGIC;
        let mut uuid = [0; 16];
        if !is_old {
            image.take(&mut uuid)?;
        }
        let (base, reservation) = (image.u64()?, image.u64()?);
        let since = if is_old { 0 } else { image.u64()? };
        Ok(Self { is_old, uuid, base, reservation, since })
    }
}

/// An arena that is being made.
struct Importing<'a> {
    store: Store<FileDisk>,
    /// Pages that are not committed yet.
    batch: BTreeMap<u32, Block>,
    /// The arena and the commit of the image before.
    before: Option<([u8; 16], u64)>,
    written: u64,
    bytes: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Importing<'_> {
    fn take(&mut self, input: &Path, begun: &Begun, image: &mut Image) -> Result<(), InspectError> {
        let Identity { base, reservation, .. } = self.store.identity();
        let follows = match self.before {
            None => true,
            Some((uuid, commit)) => begun.since == commit && begun.uuid == uuid && begun.since != 0,
        };
        if !follows || (begun.base, begun.reservation) != (base, reservation) {
            let before = self.before.map(|(_, commit)| commit);
            let (path, since) = (input.to_owned(), begun.since);
            return Err(ImportError::NotNext { path, since, before }.into());
        }
        let (position, runs) = if begun.is_old { self.take_old(image)? } else { self.take_records(image)? };
        let expected = image.hash.digest128().to_le_bytes();
        let mut sum = [0; 16];
        image.take(&mut sum)?;
        if sum != expected {
            return Err(ImportError::Damaged(0).into());
        }
        self.commit_batch(&Position::default())?;
        self.keep_only(&runs, image.bytes)?;
        self.commit_batch(&position)?;
        self.before = Some((begun.uuid, position.transaction));
        Ok(())
    }

    /// The records of an image, and what stands behind them.
    fn take_records(&mut self, image: &mut Image) -> Result<(Position, Vec<(u32, u64)>), InspectError> {
        loop {
            match image.u32()? {
                PAGE => drop(self.take_page(image)?),
                END => break,
                _ => return Err(ImportError::Damaged(image.bytes).into()),
            }
        }
        let (transaction, epoch, event) = (image.u64()?, image.u64()?, image.u64()?);
        let roots = take_roots(image)?;
        let end = self.page_end();
        let mut runs = Vec::new();
        let mut next = 0;
        for _ in 0..image.u64()? {
            let (first, count) = (image.u32()?, image.u64()?);
            let until = u64::from(first).checked_add(count);
            let Some(until) = until.filter(|until| u64::from(first) >= next && *until <= end && count > 0)
            else {
                return Err(ImportError::Damaged(image.bytes).into());
            };
            runs.push((first, count));
            next = until;
        }
        Ok((Position { transaction, epoch, event, roots }, runs))
    }

    /// An image with its roots first and its pages in order.
    fn take_old(&mut self, image: &mut Image) -> Result<(Position, Vec<(u32, u64)>), InspectError> {
        let (epoch, event) = (image.u64()?, image.u64()?);
        let roots = take_roots(image)?;
        let total = image.u64()?;
        let mut runs = Vec::new();
        for _ in 0..total {
            let page = self.take_page(image)?;
            if runs.last().is_some_and(|(last, _)| *last >= page) {
                return Err(ImportError::Damaged(image.bytes - BLOCK_SIZE as u64).into());
            }
            runs.push((page, 1));
        }
        Ok((Position { transaction: 0, epoch, event, roots }, runs))
    }

    fn page_end(&self) -> u64 {
        self.store.identity().reservation / BLOCK_SIZE as u64
    }

    /// Takes a page in; gives its number.
    fn take_page(&mut self, image: &mut Image) -> Result<u32, InspectError> {
        let (page, sum) = (image.u32()?, image.u32()?);
        let mut block = Block::ZERO;
        image.take(&mut block.0)?;
        if u64::from(page) >= self.page_end() || page_checksum(&block.0) != sum {
            return Err(ImportError::Damaged(image.bytes - BLOCK_SIZE as u64).into());
        }
        self.batch.insert(page, block);
        self.written += 1;
        if self.batch.len() == BATCH {
            self.commit_batch(&Position::default())?;
            (self.progress)(self.bytes + image.bytes, self.total);
        }
        Ok(page)
    }

    fn commit_batch(&mut self, position: &Position) -> Result<(), InspectError> {
        let batch = std::mem::take(&mut self.batch);
        self.commit(position, batch.iter().map(|(page, block)| (*page, Some(&block.0[..]))).collect())
    }

    fn commit(&mut self, position: &Position, pages: Vec<CommitPage<'_>>) -> Result<(), InspectError> {
        let Position { epoch, event, roots, .. } = position.clone();
        self.store.commit(&CommitRequest { epoch, event, roots, pages, ..Default::default() })?;
        Ok(())
    }

    /// Has all pages be zero that are in none of the runs, and makes sure that all others are there.
    fn keep_only(&mut self, runs: &[(u32, u64)], at: u64) -> Result<(), InspectError> {
        let pages = self.store.pages()?;
        let is_kept = |page: u32| {
            let run = runs.partition_point(|(first, _)| *first <= page).checked_sub(1);
            run.is_some_and(|run| u64::from(page) < u64::from(runs[run].0) + runs[run].1)
        };
        let gone: Vec<u32> = pages.iter().map(|(page, _)| *page).filter(|page| !is_kept(*page)).collect();
        let kept = (pages.len() - gone.len()) as u64;
        if kept != runs.iter().map(|(_, count)| count).sum::<u64>() {
            return Err(ImportError::Damaged(at).into());
        }
        for part in gone.chunks(BATCH) {
            self.commit(&Position::default(), part.iter().map(|page| (*page, None)).collect())?;
        }
        Ok(())
    }
}

fn take_roots<T: Read>(image: &mut Hashing<T>) -> Result<Roots, ImportError> {
    let mut roots = Roots::new();
    for _ in 0..image.u16()? {
        let length = usize::from(image.u16()?);
        if length > NAME_MAX {
            return Err(ImportError::Damaged(image.bytes));
        }
        let mut name = vec![0; length];
        image.take(&mut name)?;
        let name = String::from_utf8(name).map_err(|_| ImportError::Damaged(image.bytes))?;
        roots.insert(name, image.u64()?);
    }
    Ok(roots)
}

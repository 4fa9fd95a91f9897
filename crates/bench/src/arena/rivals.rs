//! What the commit benches compare with: the bare disk, the double buffer, and, with the feature `rivals`,
//! LMDB, redb and SQLite. Each keeps `pages` values of 4 KiB and makes k of them durable at a time.

use std::path::Path;

use super::BenchError;
use banyan_arena::disk::{BLOCK_SIZE, Block, Disk, FileDisk, Room};
use banyan_arena::image::{Image, JamDoubleBuffer};

/// One that keeps pages.
pub(super) trait Rival {
    fn name(&self) -> &'static str;
    /// Whether its commits write about as much as the pages that they change.
    fn is_light(&self) -> bool {
        true
    }
    /// Makes these pages durable.
    fn commit(&mut self, pages: &[(u32, Block)]) -> Result<(), BenchError>;
}

/// All that this build has, in `directory`, each holding `pages` pages already.
pub(super) fn rivals(directory: &Path, pages: usize) -> Result<Vec<Box<dyn Rival>>, BenchError> {
    #[cfg_attr(not(feature = "rivals"), expect(unused_mut, reason = "only the databases join later"))]
    let mut all: Vec<Box<dyn Rival>> =
        vec![Box::new(Bare::new(directory, pages)?), Box::new(DoubleBuffer::new(directory, pages)?)];
    #[cfg(feature = "rivals")]
    {
        all.push(Box::new(databases::Lmdb::new(directory, pages)?));
        all.push(Box::new(databases::Redb::new(directory, pages)?));
        all.push(Box::new(databases::Sqlite::new(directory, pages)?));
    }
    #[cfg(feature = "rivals")]
    for rival in all.iter_mut().skip(2) {
        let every: Vec<(u32, Block)> = (0..pages as u32).map(|page| (page, Block([1; BLOCK_SIZE]))).collect();
        every.chunks(1024).try_for_each(|part| rival.commit(part))?;
    }
    Ok(all)
}

/// One write of the same bytes past the page cache and a data sync, going round in a file that was
/// written before: what any log has to pay.
struct Bare {
    disk: FileDisk,
    blocks: u64,
    next: u64,
}

impl Bare {
    fn new(directory: &Path, pages: usize) -> Result<Self, BenchError> {
        let disk = FileDisk::create(&directory.join("bench.bare"))?;
        let blocks = 2 * pages as u64;
        disk.grow(blocks * BLOCK_SIZE as u64, Room::Written)?;
        disk.sync()?;
        Ok(Self { disk, blocks, next: 0 })
    }
}

impl Rival for Bare {
    fn name(&self) -> &'static str {
        "bare"
    }
    fn commit(&mut self, pages: &[(u32, Block)]) -> Result<(), BenchError> {
        let count = pages.len() as u64 + 1;
        if self.next + count > self.blocks {
            self.next = 0;
        }
        let header = Block([7; BLOCK_SIZE]);
        let mut pieces: Vec<&[u8]> = vec![&header.0];
        pieces.extend(pages.iter().map(|(_, block)| &block.0[..]));
        self.disk.write_at(self.next * BLOCK_SIZE as u64, &pieces)?;
        self.disk.sync()?;
        self.next += count;
        Ok(())
    }
}

/// The whole state jammed into the older of two files.
struct DoubleBuffer {
    place: JamDoubleBuffer,
    state: Vec<u8>,
    event: u64,
}

impl DoubleBuffer {
    fn new(directory: &Path, pages: usize) -> Result<Self, BenchError> {
        let place = JamDoubleBuffer::open(&directory.join("bench.jam"))?;
        Ok(Self { place, state: vec![1; pages * BLOCK_SIZE], event: 0 })
    }
}

impl Rival for DoubleBuffer {
    fn name(&self) -> &'static str {
        "jam"
    }
    fn is_light(&self) -> bool {
        false
    }
    fn commit(&mut self, pages: &[(u32, Block)]) -> Result<(), BenchError> {
        for (page, block) in pages {
            let at = *page as usize * BLOCK_SIZE;
            self.state[at..at + BLOCK_SIZE].copy_from_slice(&block.0);
        }
        self.event += 1;
        self.place.save(0, self.event, &self.state).map_err(BenchError::rival)
    }
}

#[cfg(feature = "rivals")]
mod databases {
    use super::{BLOCK_SIZE, BenchError, Block, Path, Rival};

    const TABLE: redb::TableDefinition<'_, u32, &[u8]> = redb::TableDefinition::new("pages");

    pub(super) struct Lmdb {
        environment: heed::Env,
        pages: heed::Database<heed::types::U32<heed::byteorder::BigEndian>, heed::types::Bytes>,
    }

    impl Lmdb {
        pub(super) fn new(directory: &Path, pages: usize) -> Result<Self, BenchError> {
            let path = directory.join("bench.lmdb");
            std::fs::create_dir(&path)?;
            let mut options = heed::EnvOpenOptions::new();
            options.map_size(8 * pages * BLOCK_SIZE + (64 << 20));
            // SAFETY: the directory is new, and nobody else opens it while the bench runs.
            let environment = unsafe { options.open(path) }.map_err(BenchError::rival)?;
            let mut transaction = environment.write_txn().map_err(BenchError::rival)?;
            let pages = environment.create_database(&mut transaction, None).map_err(BenchError::rival)?;
            transaction.commit().map_err(BenchError::rival)?;
            Ok(Self { environment, pages })
        }
    }

    impl Rival for Lmdb {
        fn name(&self) -> &'static str {
            "lmdb"
        }
        fn commit(&mut self, pages: &[(u32, Block)]) -> Result<(), BenchError> {
            let mut transaction = self.environment.write_txn().map_err(BenchError::rival)?;
            for (page, block) in pages {
                self.pages.put(&mut transaction, page, &block.0).map_err(BenchError::rival)?;
            }
            transaction.commit().map_err(BenchError::rival)
        }
    }

    pub(super) struct Redb(redb::Database);

    impl Redb {
        pub(super) fn new(directory: &Path, _pages: usize) -> Result<Self, BenchError> {
            Ok(Self(redb::Database::create(directory.join("bench.redb")).map_err(BenchError::rival)?))
        }
    }

    impl Rival for Redb {
        fn name(&self) -> &'static str {
            "redb"
        }
        fn commit(&mut self, pages: &[(u32, Block)]) -> Result<(), BenchError> {
            let transaction = self.0.begin_write().map_err(BenchError::rival)?;
            {
                let mut table = transaction.open_table(TABLE).map_err(BenchError::rival)?;
                for (page, block) in pages {
                    table.insert(*page, &block.0[..]).map_err(BenchError::rival)?;
                }
            }
            transaction.commit().map_err(BenchError::rival)
        }
    }

    pub(super) struct Sqlite(rusqlite::Connection);

    impl Sqlite {
        pub(super) fn new(directory: &Path, _pages: usize) -> Result<Self, BenchError> {
            let connection =
                rusqlite::Connection::open(directory.join("bench.sqlite")).map_err(BenchError::rival)?;
            connection
                .execute_batch(
                    "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                     CREATE TABLE pages (page INTEGER PRIMARY KEY, bytes BLOB);",
                )
                .map_err(BenchError::rival)?;
            Ok(Self(connection))
        }
    }

    impl Rival for Sqlite {
        fn name(&self) -> &'static str {
            "sqlite"
        }
        fn commit(&mut self, pages: &[(u32, Block)]) -> Result<(), BenchError> {
            let transaction = self.0.transaction().map_err(BenchError::rival)?;
            {
                let mut insert = transaction
                    .prepare_cached("INSERT OR REPLACE INTO pages VALUES (?1, ?2)")
                    .map_err(BenchError::rival)?;
                for (page, block) in pages {
                    insert.execute(rusqlite::params![page, &block.0[..]]).map_err(BenchError::rival)?;
                }
            }
            transaction.commit().map_err(BenchError::rival)
        }
    }
}

//! Opening for reading beside a writer in another process, which commits and folds meanwhile.
//!
//! What a meta refers to, and the log behind it, is whole until the fold after the next one is durable:
//! blocks that die in a fold are reused only then (see `fold`). So a look at the file is sound if the newest
//! meta afterwards is the one that the look began with or the one after it; else it is overtaken, and the
//! reader looks again. After a few times it asks the writer to put its folds off, and then nothing can
//! overtake it.
//!
//! The end of the log moves while it is read, so it is wherever the first unfinished record is, and where a
//! later one is found behind it, the reader looks there once more: a record that is there now is no damage.
//! What does not verify is damage if it is found again and again in the same place while the metas stay, or
//! still after the last look; nothing in motion is.

use std::time::Duration;

use super::error::OpenError;
use super::recovery::{LogEnd, RecoveryReport, newest_generation};
use super::{Store, StoreOptions};
use crate::disk::Disk;

/// Looks that are overtaken before the writer is asked for rest.
const PATIENCE: u32 = 4;
/// Looks in all.
const LOOKS_MAX: u32 = 200;
/// The same damage in this many looks without a fold between them is there.
const SAME_MAX: u32 = 3;

impl<D: Disk> Store<D> {
    /// As [`Store::open_read_only`], beside a writer. `disk` opens the file, once for each look.
    ///
    /// # Errors
    /// What `disk` says; as [`Store::open_read_only`]; [`OpenError::Overtaken`] if the writer folds all the
    /// time although it was asked not to.
    pub fn open_concurrently<E: From<OpenError>>(
        disk: &mut dyn FnMut() -> Result<D, E>,
        options: StoreOptions,
        end: LogEnd,
    ) -> Result<(Self, RecoveryReport), E> {
        // What was wrong in the last look, at which generation, and in how many looks.
        let mut before = (String::new(), None, 0);
        let mut last = None;
        let asking = disk()?;
        for look in 0..LOOKS_MAX {
            if look == PATIENCE {
                // Nothing is lost if it cannot be asked: the looks go on.
                let _unasked = asking.ask_for_rest();
            }
            let opened = Self::open_moving(disk()?, options, end);
            let newest = newest_generation(&asking);
            match opened {
                Ok(opened) if newest.is_some_and(|newest| newest <= opened.0.meta.generation + 1) => {
                    return Ok(opened);
                }
                Ok(_) => last = None,
                Err(error) if is_motion(&error) => {
                    let text = error.to_string();
                    let same = if (&before.0, before.1) == (&text, newest) { before.2 + 1 } else { 1 };
                    if same == SAME_MAX {
                        return Err(error.into());
                    }
                    // In another place each time, it is what the writer was just writing.
                    last = (text == before.0).then_some(error);
                    before = (text, newest, same);
                }
                Err(error) => return Err(error.into()),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(last.unwrap_or(OpenError::Overtaken).into())
    }

    /// Whether a writer has folded so often since this was opened that what does not verify may just be gone.
    pub fn is_overtaken(&self) -> bool {
        newest_generation(&self.committed.disk).is_none_or(|newest| newest > self.meta.generation + 1)
    }
}

/// Whether a file in motion can look like this.
fn is_motion(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::Damaged(_) | OpenError::Io(_) | OpenError::NotAnArena | OpenError::Truncated { .. }
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, OnceLock};

    use parking_lot::Mutex;

    use super::*;
    use crate::disk::{Block, MemoryDisk, Room};
    use crate::store::{CommitRequest, Identity, SnapshotOperation};

    /// A disk that readers and a writer open apart, as processes open a file.
    #[derive(Default)]
    struct Opened {
        bytes: Arc<MemoryDisk>,
        askers: Arc<AtomicUsize>,
        asks: AtomicBool,
        /// Fetches all with the first read of the log; then this happens.
        after_fetching: Option<Arc<dyn Fn() + Send + Sync>>,
        fetched: OnceLock<Vec<u8>>,
    }

    impl Opened {
        fn again(&self) -> Self {
            let mut again = Self::default();
            (again.bytes, again.askers) = (Arc::clone(&self.bytes), Arc::clone(&self.askers));
            again
        }
    }

    impl Drop for Opened {
        fn drop(&mut self) {
            self.askers.fetch_sub(usize::from(*self.asks.get_mut()), Ordering::Relaxed);
        }
    }

    impl Disk for Opened {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            self.bytes.read_at(offset, buffer)
        }
        fn read_on_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            let Some(after) = &self.after_fetching else { return self.read_at(offset, buffer) };
            let fetched = self.fetched.get_or_init(|| {
                let mut all = vec![0; self.bytes.length().unwrap() as usize];
                self.bytes.read_at(0, &mut all).unwrap();
                after();
                all
            });
            buffer.copy_from_slice(&fetched[offset as usize..][..buffer.len()]);
            Ok(())
        }
        fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> std::io::Result<()> {
            self.bytes.write_at(offset, pieces)
        }
        fn sync(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn length(&self) -> std::io::Result<u64> {
            self.bytes.length()
        }
        fn grow(&self, length: u64, room: Room) -> std::io::Result<()> {
            self.bytes.grow(length, room)
        }
        fn cut(&self, length: u64) -> std::io::Result<()> {
            self.bytes.cut(length)
        }
        fn ask_for_rest(&self) -> std::io::Result<()> {
            if !self.asks.swap(true, Ordering::Relaxed) {
                self.askers.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
        fn is_asked_for_rest(&self) -> std::io::Result<bool> {
            Ok(self.askers.load(Ordering::Relaxed) > 0)
        }
    }

    const OPTIONS: StoreOptions = StoreOptions {
        segment_blocks: 8,
        fold_blocks: 16,
        growth_blocks: 16,
        mutation: crate::store::Mutation::None,
    };

    fn commit(store: &mut Store<Opened>, event: u64, operation: SnapshotOperation) {
        let mut block = Block::ZERO;
        block.0[..8].copy_from_slice(&event.to_le_bytes());
        let pages = (0..3).map(|at| ((event * 7 % 50 + at) as u32, Some(&block.0[..]))).collect();
        store.commit(&CommitRequest { event, operation, pages, ..CommitRequest::default() }).unwrap();
    }

    fn store(disk: &Opened) -> Store<Opened> {
        let identity = Identity { uuid: [3; 16], base: 1 << 44, reservation: 1 << 30 };
        Store::create(disk.again(), identity, OPTIONS).unwrap()
    }

    /// Every look that is taken for sound is one: its snapshot is whole, and time does not go back. The
    /// writer folds after each commit, so a look would hardly ever end before it is overtaken if the writer
    /// could not be asked to wait.
    #[test]
    fn a_writer_that_never_rests_keeps_no_reader_out() {
        let disk = Opened::default();
        let mut writer = store(&disk);
        commit(&mut writer, 1, SnapshotOperation::Retain("kept".to_owned()));
        writer.fold().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for event in 2.. {
                    commit(&mut writer, event, SnapshotOperation::None);
                    writer.fold().unwrap();
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let mut newest = 0;
            for _ in 0..200 {
                let opened = Store::open_concurrently(
                    &mut || Ok::<_, OpenError>(disk.again()),
                    OPTIONS,
                    LogEnd::Checked,
                );
                let Ok((reader, _)) = opened.inspect_err(|_| done.store(true, Ordering::Relaxed)) else {
                    panic!("kept out");
                };
                assert!(reader.position().event >= newest);
                newest = reader.position().event;
                let handle = reader.folded_snapshot("kept").unwrap();
                let mut block = Block::ZERO;
                for (page, entry) in reader.pages_of(&handle).unwrap() {
                    reader.read_entry(page, entry, &mut block.0).unwrap();
                    assert_eq!(block.0[0], 1);
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(writer.audit().unwrap().faults, Vec::<String>::new());
    }

    #[test]
    fn a_log_that_grows_behind_what_was_fetched_ahead_is_not_damaged() {
        let disk = Opened::default();
        let options =
            StoreOptions { segment_blocks: 64, fold_blocks: 1 << 20, growth_blocks: 256, ..OPTIONS };
        let identity = Identity { uuid: [3; 16], base: 1 << 44, reservation: 1 << 30 };
        let mut writer = Store::create(disk.again(), identity, options).unwrap();
        commit(&mut writer, 1, SnapshotOperation::None);
        let writer = Mutex::new(writer);
        let commits =
            move || (2..6).for_each(|event| commit(&mut writer.lock(), event, SnapshotOperation::None));
        let mut reader = disk.again();
        reader.after_fetching = Some(Arc::new(commits));
        let (reader, report) = Store::open_moving(reader, options, LogEnd::Checked).unwrap();
        assert!(reader.position().event >= 1 && report.dropped.is_none());
    }

    #[test]
    fn damage_in_a_file_that_holds_still_is_told_after_three_looks() {
        let disk = Opened::default();
        let mut writer = store(&disk);
        commit(&mut writer, 1, SnapshotOperation::Retain("kept".to_owned()));
        writer.fold().unwrap();
        let table = writer.meta.snapshots.block * crate::store::BLOCK;
        disk.write_at(table, &[&[0; crate::disk::BLOCK_SIZE]]).unwrap();
        let mut opened = 0;
        let result = Store::open_concurrently(
            &mut || {
                opened += 1;
                Ok::<_, OpenError>(disk.again())
            },
            OPTIONS,
            LogEnd::Checked,
        );
        let Err(OpenError::Damaged(damage)) = result else { panic!("it is damaged") };
        assert_eq!((damage.offset, opened), (table, 1 + SAME_MAX));
    }

    #[test]
    fn a_reader_knows_that_it_is_overtaken() {
        let disk = Opened::default();
        let mut writer = store(&disk);
        let (reader, _) =
            Store::open_concurrently(&mut || Ok::<_, OpenError>(disk.again()), OPTIONS, LogEnd::Checked)
                .unwrap();
        let mut overtaken = Vec::new();
        for event in 1..4 {
            commit(&mut writer, event, SnapshotOperation::None);
            writer.fold().unwrap();
            overtaken.push(reader.is_overtaken());
        }
        assert_eq!(overtaken, [false, true, true]);
    }

    #[test]
    fn what_is_no_arena_is_told() {
        let text = Opened::default();
        text.write_at(0, &[&[7; 2 * crate::disk::BLOCK_SIZE]]).unwrap();
        let opened =
            Store::open_concurrently(&mut || Ok::<_, OpenError>(text.again()), OPTIONS, LogEnd::Checked);
        assert!(matches!(opened, Err(OpenError::NotAnArena)));
    }
}

//! The log of a company, as the library writes and reads it.
//!
//! A vote and entries are durable before the library hears that they are written. What was removed since a
//! snapshot has it is remembered with the removal.

use super::commit::{Write, ended};
use super::kinds::{Entry, LogId, Root, StorageError, Vote};
use super::store::{Fact, Store, failed};
use banyan_core::companies::CompanyId;
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;

/// The log.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) store: Store,
    pub(super) company: CompanyId,
}

impl Log {
    async fn write(&self, writes: Vec<Write>) -> io::Result<()> {
        self.store.committer().write(writes).await.unwrap_or_else(|_| Err(ended()))
    }
}

impl RaftLogReader<Root> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        self.store.entries(self.company, range).map_err(failed)
    }
}

impl RaftLogStorage<Root> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Root>, StorageError> {
        let purged: Option<LogId> = self.store.fact(self.company, Fact::Purged).map_err(failed)?;
        let last = self.store.last(self.company).map_err(failed)?;
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.or(purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.write(vec![Write::fact(self.company, Fact::Vote, vote)]).await.map_err(failed)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.store.fact(self.company, Fact::Vote).map_err(failed)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        // The member that leads knows it.
        self.store.committer().write_later(Write::fact(self.company, Fact::Committed, &committed));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let committed: Option<Option<LogId>> =
            self.store.fact(self.company, Fact::Committed).map_err(failed)?;
        Ok(committed.flatten())
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<Root>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let write = Write::append(self.company, entries);
        match self.write(vec![write]).await {
            Ok(()) => {
                flushed.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                let text = failed(io::Error::new(error.kind(), error.to_string()));
                flushed.log_io_completed(Err(error));
                Err(text)
            }
        }
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        self.write(vec![Write::Truncate(self.company, from.index)]).await.map_err(failed)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        let purged = Write::fact(self.company, Fact::Purged, &upto);
        self.write(vec![Write::Purge(self.company, upto.index), purged]).await.map_err(failed)
    }
}

//! The file with the logs of all companies of a machine: redb, a table of entries and a table of the rest.
//!
//! Keys begin with the company, so that one file and one sync serve all of them. What is written is durable
//! when it is said to be written (`commit`). What contradicts itself is refused when the file is opened: a
//! member that forgets what it has promised could have two members lead. Not here: what entries say (`log`,
//! `machine`).

use super::commit::{Committer, Write};
use super::kinds::{Entry, LogId, SnapshotMeta, Vote, Who};
use banyan_core::companies::CompanyId;
use banyan_wire::cluster::MemberId;
use banyan_wire::frame::{self, FrameError};
use openraft::RaftLogId;
use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::RangeBounds;
use std::sync::Arc;

/// The name of the file in a state.
pub(crate) const FILE: &str = "company.redb";

/// Entries by company and index.
pub(super) const ENTRIES: TableDefinition<'static, (u8, u64), &[u8]> = TableDefinition::new("entries");
/// What else there is of a company, by what it is.
pub(super) const FACTS: TableDefinition<'static, (u8, u8), &[u8]> = TableDefinition::new("facts");

/// What pages of the file are kept in memory.
const CACHE_BYTES: usize = 4 << 20;

/// What [`FACTS`] has of a company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Fact {
    /// For whom this member has voted last.
    Vote = 0,
    /// Up to where entries are known to be agreed on. May lag.
    Committed = 1,
    /// Up to where entries were removed since a snapshot has them.
    Purged = 2,
    /// What the snapshot is of.
    SnapshotMeta = 3,
    /// What was agreed on up to there.
    Snapshot = 4,
    /// Whose file this is. At the root only.
    Owner = 5,
}

/// Whose file it is: a file of another member, or an older or newer one of this, is not this member's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(crate) struct Owner {
    pub(crate) member: MemberId,
    /// Drawn when the file was made.
    pub(crate) file: [u8; 16],
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The library cannot open or read it.
    #[error("{0}")]
    File(Box<redb::Error>),
    /// A value in it is none of ours.
    #[error("{what} of {company:?} cannot be read: {reason}")]
    Unreadable { what: &'static str, company: CompanyId, reason: String },
    /// Two of its values cannot both be true.
    #[error("it contradicts itself: {0}")]
    Contradiction(String),
    /// It was written by another member.
    #[error("it is the log of {0}, another member")]
    OtherMember(MemberId),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::File(Box::new(error.into()))
    }
}

/// The file. Clones are handles of the same.
#[derive(Clone, Debug)]
pub(super) struct Store {
    database: Arc<Database>,
    committer: Arc<Committer>,
}

impl Store {
    /// Opens the file, or begins a new one for a member.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn open(backend: impl StorageBackend, member: MemberId) -> Result<(Self, Owner), StoreError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
        let database = Arc::new(database);
        let begin = database.begin_write()?;
        begin.open_table(ENTRIES)?;
        begin.open_table(FACTS)?;
        begin.commit()?;
        let committer = Arc::new(Committer::start(Arc::clone(&database)));
        let store = Self { database, committer };
        let owner = match store.fact(CompanyId::ROOT, Fact::Owner)? {
            Some(owner) => owner,
            None => store.begin(member)?,
        };
        if owner.member != member {
            return Err(StoreError::OtherMember(owner.member));
        }
        store.check(CompanyId::ROOT)?;
        Ok((store, owner))
    }

    fn begin(&self, member: MemberId) -> Result<Owner, StoreError> {
        let file = crate::random::random().map_err(redb::StorageError::Io)?;
        let owner = Owner { member, file };
        let write = Write::fact(CompanyId::ROOT, Fact::Owner, &owner);
        self.committer
            .write(vec![write])
            .blocking_recv()
            .unwrap_or_else(|_| Err(super::commit::ended()))
            .map_err(redb::StorageError::Io)?;
        Ok(owner)
    }

    pub(super) fn committer(&self) -> &Committer {
        &self.committer
    }

    /// A fact of a company.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn fact<T: Serialize + DeserializeOwned>(
        &self,
        company: CompanyId,
        fact: Fact,
    ) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.fact_bytes(company, fact)? else { return Ok(None) };
        decode(&bytes, company, "a fact").map(Some)
    }

    /// The bytes of a fact of a company.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn fact_bytes(&self, company: CompanyId, fact: Fact) -> Result<Option<Vec<u8>>, StoreError> {
        let facts = self.database.begin_read()?.open_table(FACTS)?;
        let found = facts.get((company.0, fact as u8))?;
        Ok(found.map(|bytes| bytes.value().to_vec()))
    }

    /// Entries of a company.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn entries(
        &self,
        company: CompanyId,
        range: impl RangeBounds<u64>,
    ) -> Result<Vec<Entry>, StoreError> {
        let key = |index: &u64| (company.0, *index);
        let (start, end) = (range.start_bound().map(key), range.end_bound().map(key));
        // Without a bound it would be the companies beside it.
        let start = if start == std::ops::Bound::Unbounded {
            std::ops::Bound::Included((company.0, 0))
        } else {
            start
        };
        let end = if end == std::ops::Bound::Unbounded {
            std::ops::Bound::Included((company.0, u64::MAX))
        } else {
            end
        };
        let entries = self.database.begin_read()?.open_table(ENTRIES)?;
        let mut found = Vec::new();
        for entry in entries.range::<(u8, u64)>((start, end))? {
            let (key, bytes) = entry?;
            let entry: Entry = decode(bytes.value(), company, "an entry")?;
            let index = key.value().1;
            if entry.log_id.index != index {
                let text = format!("entry {index} says that it is entry {}", entry.log_id.index);
                return Err(StoreError::Contradiction(text));
            }
            found.push(entry);
        }
        Ok(found)
    }

    /// The last entry of a company.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn last(&self, company: CompanyId) -> Result<Option<LogId>, StoreError> {
        let entries = self.database.begin_read()?.open_table(ENTRIES)?;
        let mut all = entries.range((company.0, 0)..=(company.0, u64::MAX))?;
        let Some(last) = all.next_back() else { return Ok(None) };
        let entry: Entry = decode(last?.1.value(), company, "an entry")?;
        Ok(Some(entry.log_id))
    }

    /// Checks that what is there can have come about.
    pub(super) fn check(&self, company: CompanyId) -> Result<(), StoreError> {
        let wrong = |text: String| Err(StoreError::Contradiction(text));
        let vote: Option<Vote> = self.fact(company, Fact::Vote)?;
        let committed: Option<Option<LogId>> = self.fact(company, Fact::Committed)?;
        let purged: Option<LogId> = self.fact(company, Fact::Purged)?;
        let snapshot: Option<SnapshotMeta> = self.fact(company, Fact::SnapshotMeta)?;
        let snapshot = snapshot.and_then(|meta| meta.last_log_id);
        let entries = self.entries(company, ..)?;
        let mut before = purged;
        for entry in &entries {
            let id = entry.get_log_id();
            let next = before.map_or(0, |before| before.index + 1);
            if id.index != next {
                return wrong(format!("entry {} is there and entry {next} is missing", id.index));
            }
            if before.is_some_and(|before| before.leader_id > id.leader_id) {
                return wrong(format!("entry {} is of an earlier term than the one before", id.index));
            }
            before = Some(*id);
        }
        if let Some(last) = before
            && vote.unwrap_or_default().leader_id < last.leader_id
        {
            return wrong(format!("entry {} is of a later term than the vote", last.index));
        }
        if let Some(purged) = purged
            && snapshot.is_none_or(|snapshot| snapshot.index < purged.index)
        {
            return wrong(format!("entries up to {} were removed, and no snapshot has them", purged.index));
        }
        if let Some(snapshot) = snapshot
            && let Some(entry) = entries.iter().find(|entry| entry.log_id.index == snapshot.index)
            && entry.log_id != snapshot
        {
            return wrong(format!("entry {} is of another term than the snapshot", snapshot.index));
        }
        if let Some(committed) = committed.flatten()
            && before.max(snapshot).is_none_or(|last| last.index < committed.index)
        {
            return wrong(format!("entry {} was agreed on and is missing", committed.index));
        }
        Ok(())
    }
}

/// A value in its only spelling: what this version writes.
pub(super) fn decode<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    company: CompanyId,
    what: &'static str,
) -> Result<T, StoreError> {
    let reason = |error: FrameError| StoreError::Unreadable { what, company, reason: error.to_string() };
    frame::decode(bytes).map_err(reason)
}

/// As the library wants its errors: whatever it was doing, the file is the reason.
pub(super) fn failed(error: impl std::error::Error + 'static) -> super::kinds::StorageError {
    openraft::StorageIOError::<Who>::write(openraft::AnyError::new(&error)).into()
}

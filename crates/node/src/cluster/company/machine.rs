//! What a company has agreed on, as this member knows it: entries are applied in memory, and a snapshot of it
//! is in the file with the log.
//!
//! After a restart it is the snapshot, and the entries after it that are known to be agreed on. So what was
//! applied is never ahead of what is durable.

use super::commit::{Write, ended};
use super::kinds::{Entry, LogId, Outcome, Root, SnapshotMeta, StorageError, StoredMembership};
use super::store::{Fact, Store, StoreError, decode, failed};
use banyan_core::companies::CompanyId;
use banyan_core::membership::{Agreed, MEMBERS_MAX};
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot};
use parking_lot::{Condvar, Mutex};
use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More changes than any cluster makes: a count beyond would come to its end.
const CHANGES_MAX: u64 = 1 << 62;

/// What was agreed on up to an entry.
#[derive(Clone, Debug, Default)]
struct Applied {
    last: Option<LogId>,
    membership: StoredMembership,
    agreed: Arc<Agreed>,
}

/// What this member knows, for who asks and who waits for more.
///
/// Lock order: `applied` is taken alone.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    applied: Mutex<Applied>,
    changed: Condvar,
}

impl Standing {
    /// What was agreed on.
    pub(crate) fn agreed(&self) -> Arc<Agreed> {
        Arc::clone(&self.applied.lock().agreed)
    }

    /// The number of the entry up to which this member knows.
    pub(crate) fn index(&self) -> Option<u64> {
        self.applied.lock().last.map(|last| last.index)
    }

    /// Waits until what was agreed on is as it should be. False if it was not in time.
    pub(crate) fn wait(&self, deadline: Instant, is_so: impl Fn(Option<u64>, &Agreed) -> bool) -> bool {
        let mut applied = self.applied.lock();
        while !is_so(applied.last.map(|last| last.index), &applied.agreed) {
            if self.changed.wait_until(&mut applied, deadline).timed_out() {
                return is_so(applied.last.map(|last| last.index), &applied.agreed);
            }
        }
        true
    }

    /// Waits until this member knows more than up to an entry.
    pub(crate) fn wait_beyond(&self, index: Option<u64>, longest: Duration) {
        self.wait(Instant::now() + longest, |known, _| known != index);
    }

    fn set(&self, applied: Applied) {
        *self.applied.lock() = applied;
        self.changed.notify_all();
    }
}

/// Applies entries.
#[derive(Debug)]
pub(super) struct Machine {
    store: Store,
    company: CompanyId,
    standing: Arc<Standing>,
}

/// What of a snapshot is in the file.
fn stored(store: &Store, company: CompanyId) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StoreError> {
    let meta: Option<SnapshotMeta> = store.fact(company, Fact::SnapshotMeta)?;
    let bytes = store.fact_bytes(company, Fact::Snapshot)?;
    match (meta, bytes) {
        (Some(meta), Some(bytes)) => Ok(Some((meta, bytes))),
        (None, None) => Ok(None),
        _ => Err(StoreError::Contradiction("half of a snapshot is there".into())),
    }
}

/// A snapshot, which another member may have sent: nothing in it is believed.
pub(super) fn read(bytes: &[u8], company: CompanyId) -> Result<Agreed, StoreError> {
    let agreed = decode(bytes, company, "the snapshot")?;
    if is_sound(&agreed) {
        Ok(agreed)
    } else {
        Err(StoreError::Contradiction("no changes lead to what the snapshot has".into()))
    }
}

/// Whether changes can have led to it: the counts go up by one with each.
fn is_sound(agreed: &Agreed) -> bool {
    let Agreed { members, names, .. } = agreed;
    members.version() <= CHANGES_MAX
        && names.revision() <= CHANGES_MAX
        && members.all().len() <= MEMBERS_MAX
        && names.all().all(|(_, named)| named.revision <= names.revision())
}

impl Machine {
    /// What the file has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn open(
        store: Store,
        company: CompanyId,
        standing: Arc<Standing>,
    ) -> Result<Self, StoreError> {
        if let Some((meta, bytes)) = stored(&store, company)? {
            let agreed = Arc::new(read(&bytes, company)?);
            standing.set(Applied { last: meta.last_log_id, membership: meta.last_membership, agreed });
        } else {
            standing.set(Applied::default());
        }
        Ok(Self { store, company, standing })
    }

    async fn keep(&self, meta: &SnapshotMeta, bytes: Vec<u8>) -> Result<(), StorageError> {
        let write = Write::Snapshot(self.company, meta.clone(), bytes);
        let written = self.store.committer().write(vec![write]).await;
        written.unwrap_or_else(|_| Err(ended())).map_err(failed)
    }
}

impl RaftStateMachine<Root> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = self.standing.applied.lock();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut applied = self.standing.applied.lock().clone();
        let mut outcomes = Vec::new();
        for entry in entries {
            applied.last = Some(entry.log_id);
            outcomes.push(match entry.payload {
                EntryPayload::Blank => Ok(()),
                EntryPayload::Normal(change) => Arc::make_mut(&mut applied.agreed).apply(&change),
                EntryPayload::Membership(membership) => {
                    applied.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Ok(())
                }
            });
        }
        self.standing.set(applied);
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        let standing = Arc::new(Standing::default());
        standing.set(self.standing.applied.lock().clone());
        Self { store: self.store.clone(), company: self.company, standing }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        let agreed = Arc::new(read(&bytes, self.company).map_err(failed)?);
        self.keep(meta, bytes).await?;
        self.standing.set(Applied {
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
            agreed,
        });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Root>>, StorageError> {
        let stored = stored(&self.store, self.company).map_err(failed)?;
        Ok(stored.map(|(meta, bytes)| Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
    }
}

impl RaftSnapshotBuilder<Root> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Root>, StorageError> {
        let Applied { last, membership, agreed } = self.standing.applied.lock().clone();
        let bytes = postcard::to_allocvec(&*agreed).map_err(|error| failed(io::Error::other(error)))?;
        let snapshot_id = last.map_or_else(String::new, |last| last.to_string());
        let meta = SnapshotMeta { last_log_id: last, last_membership: membership, snapshot_id };
        self.keep(&meta, bytes.clone()).await?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::company::fuzz;
    use banyan_core::membership::Change;
    use banyan_wire::cluster::{Member, MemberId, MemberList};

    fn refused(bytes: &[u8]) -> String {
        read(bytes, CompanyId::ROOT).unwrap_err().to_string()
    }

    #[test]
    fn a_snapshot_has_one_spelling() {
        let bytes = fuzz::snapshot_inputs().remove(0);
        let agreed = read(&bytes, CompanyId::ROOT).unwrap();
        assert_eq!(agreed.members.all().len(), 2);
        let needless = refused(&[&bytes[..], &[0]].concat());
        assert!(needless.ends_with("a message in another spelling than its only one"), "{needless}");
    }

    /// The next change would have no number.
    #[test]
    fn a_snapshot_whose_counts_no_changes_lead_to_is_refused() {
        let wrong = "it contradicts itself: no changes lead to what the snapshot has";
        let bytes = fuzz::snapshot_inputs().remove(0);
        let agreed = read(&bytes, CompanyId::ROOT).unwrap();
        let member = agreed.members.all()[0].clone();
        let list = |version, members| MemberList { version, members };
        let cases = [list(u64::MAX, vec![member.clone()]), list(CHANGES_MAX + 1, Vec::new())];
        for members in cases {
            let agreed = Agreed { members: members.into(), ..Agreed::default() };
            assert_eq!(refused(&postcard::to_allocvec(&agreed).unwrap()), wrong);
        }
        let many =
            (0..=MEMBERS_MAX as u8).map(|number| Member { id: MemberId([number; 10]), ..member.clone() });
        let many = Agreed { members: list(1, many.collect()).into(), ..Agreed::default() };
        assert_eq!(refused(&postcard::to_allocvec(&many).unwrap()), wrong);
        let mut most = Agreed { members: list(CHANGES_MAX, vec![member.clone()]).into(), ..agreed };
        most = read(&postcard::to_allocvec(&most).unwrap(), CompanyId::ROOT).unwrap();
        most.apply(&Change::Rename { member: member.id, name: "other".into() }).unwrap();
        assert_eq!(most.members.version(), CHANGES_MAX + 1);
    }
}

//! A company as it runs on this machine: the library with its log, its state and its connections, and a small
//! runtime for it, which threads ask and wait for.
//!
//! If its file cannot be written any more, for a full disk say, the member takes part no more until it can;
//! what it knew stays, and programs do not need it. Not here: what is asked of the company
//! (`super::super::leading`).

use super::super::admin::Seat;
use super::kinds::{Raft, Who};
use super::log::Log;
use super::machine::{Machine, Standing};
use super::message::{Answer, Question, What};
use super::network::{Heard, Network, Reach};
use super::store::{FILE, Owner, Store, StoreError};
use banyan_core::companies::CompanyId;
use banyan_core::membership::{Agreed, Change};
use banyan_wire::cluster::{MemberId, Refusal};
use openraft::error::{ClientWriteError, InitializeError, RaftError};
use openraft::{ChangeMembers, Config, SnapshotPolicy};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How often who leads says that it does, in milliseconds.
const HEARTBEAT_MS: u64 = 150;
/// When members that hear nothing have another lead, in milliseconds. The library waits for the longest of
/// these times and one of them: 2.1 s at most until a member asks for votes.
const ELECTION_MS: (u64, u64) = (600, 1000);
/// Entries between snapshots.
const SNAPSHOT_ENTRIES: u64 = 5000;
/// Entries that stay after a snapshot, for members that are behind: sending them is less than sending it.
const KEPT_ENTRIES: u64 = 10_000;
/// Bytes of a part of a snapshot; a frame has room for more.
const PART_BYTES: u64 = 256 << 10;
/// Entries in one message.
const MESSAGE_ENTRIES: u64 = 64;
/// A majority that answers has answered within this time.
const MAJORITY_DEADLINE: Duration = Duration::from_secs(3);
/// Questions of other members are answered by what is in memory, or after a sync.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A company on this machine.
pub(crate) struct Company {
    own: MemberId,
    path: PathBuf,
    reach: Arc<dyn Reach>,
    runtime: Runtime,
    /// The library; why it does not run, if it does not.
    raft: RwLock<Result<Raft, String>>,
    standing: Arc<Standing>,
    heard: Arc<Heard>,
    owner: Owner,
    /// One attempt to begin anew at a time.
    reviving: Mutex<()>,
}

impl fmt::Debug for Company {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Company").field("own", &self.own).finish_non_exhaustive()
    }
}

/// A company as one of its members sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CompanyFacts {
    /// Who leads, as far as this member knows.
    pub(crate) leader: Option<MemberId>,
    pub(crate) term: u64,
    pub(crate) voters: BTreeSet<MemberId>,
    /// All that have a copy.
    pub(crate) members: BTreeSet<MemberId>,
    /// Two sets of voters must agree at the moment.
    pub(crate) is_changing: bool,
    pub(crate) log_last: Option<u64>,
    pub(crate) log_applied: Option<u64>,
    pub(crate) snapshot_at: Option<u64>,
    /// Why this member takes no part, if it does not.
    pub(crate) trouble: Option<String>,
}

impl CompanyFacts {
    /// How a member takes part in what the cluster decides.
    pub(crate) fn seat(&self, member: MemberId) -> Seat {
        if self.leader == Some(member) {
            Seat::Leader
        } else if self.voters.contains(&member) {
            Seat::Voter
        } else {
            Seat::Follower
        }
    }
}

/// A member, as the one that leads sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// It has all entries, or all but the newest few.
    pub(crate) is_even: bool,
    /// When it has answered last.
    pub(crate) heard: Option<Instant>,
}

fn settings() -> Config {
    Config {
        cluster_name: "banyan".into(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.0,
        election_timeout_max: ELECTION_MS.1,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES),
        max_in_snapshot_log_to_keep: KEPT_ENTRIES,
        snapshot_max_chunk_size: PART_BYTES,
        max_payload_entries: MESSAGE_ENTRIES,
        install_snapshot_timeout: 2000,
        ..Config::default()
    }
}

/// The file of the log, with what redb does to a file.
fn backend(path: &Path) -> Result<redb::backends::FileBackend, StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    Ok(redb::backends::FileBackend::new(file.map_err(redb::StorageError::Io)?)?)
}

impl Company {
    /// Takes part in the root company, with the log in the directory of a state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn open(directory: &Path, own: MemberId, reach: Arc<dyn Reach>) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("company")
            .enable_time()
            .build()
            .map_err(redb::StorageError::Io)?;
        let path = directory.join(FILE);
        let (standing, heard) = (Arc::<Standing>::default(), Arc::<Heard>::default());
        let (raft, owner) = start(&runtime, &path, own, &reach, &standing, &heard)?;
        let raft = RwLock::new(Ok(raft));
        Ok(Self { own, path, reach, runtime, raft, standing, heard, owner, reviving: Mutex::default() })
    }

    /// Whose file the log is.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// Whether nothing was ever agreed on here, nor voted for.
    pub(crate) fn is_new(&self) -> bool {
        let facts = self.facts();
        facts.term == 0 && facts.log_last.is_none() && facts.log_applied.is_none()
    }

    /// What was agreed on, as far as this member knows.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The same.
    pub(crate) fn agreed(&self) -> Arc<Agreed> {
        self.standing.agreed()
    }

    fn raft(&self) -> Result<Raft, Refusal> {
        let raft = self.raft.read();
        raft.clone().map_err(|why| Refusal::Failed(format!("this member takes no part: {why}")))
    }

    /// Does something with the library, within a time.
    fn block<T>(&self, longest: Duration, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async { tokio::time::timeout(longest, work).await.ok() })
    }

    /// Begins the company with this member alone.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) fn found(&self) -> Result<(), Refusal> {
        let raft = self.raft()?;
        let begun = self.block(MAJORITY_DEADLINE, raft.initialize(BTreeSet::from([Who(self.own)])));
        match begun {
            Some(Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_)))) => Ok(()),
            Some(Err(error)) => Err(Refusal::Failed(error.to_string())),
            None => Err(Refusal::Failed("the log could not be begun in time".into())),
        }
    }

    /// How the company is.
    pub(crate) fn facts(&self) -> CompanyFacts {
        let raft = match &*self.raft.read() {
            Ok(raft) => raft.clone(),
            Err(why) => return CompanyFacts { trouble: Some(why.clone()), ..CompanyFacts::default() },
        };
        let metrics = raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        CompanyFacts {
            leader: metrics.current_leader.map(|leader| leader.0),
            term: metrics.current_term,
            voters: membership.voter_ids().map(|voter| voter.0).collect(),
            members: membership.nodes().map(|(member, ())| member.0).collect(),
            is_changing: membership.get_joint_config().len() > 1,
            log_last: metrics.last_log_index,
            log_applied: metrics.last_applied.map(|applied| applied.index),
            snapshot_at: metrics.snapshot.map(|snapshot| snapshot.index),
            trouble: metrics.running_state.err().map(|error| error.to_string()),
        }
    }

    /// Who leads, as far as this member knows.
    pub(crate) fn leader(&self) -> Option<MemberId> {
        self.raft.read().as_ref().ok()?.metrics().borrow().current_leader.map(|leader| leader.0)
    }

    /// How a member is; to be asked where this one leads.
    pub(crate) fn progress(&self, member: MemberId) -> Progress {
        const FEW: u64 = 20;
        if member == self.own {
            return Progress { is_even: true, heard: Some(Instant::now()) };
        }
        let heard = self.heard.last(member);
        let Ok(raft) = self.raft() else { return Progress { is_even: false, heard } };
        let metrics = raft.metrics().borrow().clone();
        let matched = metrics.replication.and_then(|all| all.get(&Who(member)).copied().flatten());
        let last = metrics.last_log_index.unwrap_or(0);
        let is_even = matched.is_some_and(|matched| matched.index + FEW >= last);
        Progress { is_even, heard }
    }

    /// Proposes a change where this member leads. Gives the number of its entry when a majority has it.
    ///
    /// # Errors
    /// [`Refusal`]: the change is refused, another member leads, or no majority answers.
    pub(crate) fn propose(&self, change: Change) -> Result<u64, Refusal> {
        let raft = self.raft()?;
        match self.block(MAJORITY_DEADLINE, raft.client_write(change)) {
            Some(Ok(answer)) => answer.data.map(|()| answer.log_id.index),
            Some(Err(error)) => Err(refusal(error)),
            None => Err(self.no_majority()),
        }
    }

    /// From which entry on one knows all that was agreed on until now. Only who leads can say so, and only if
    /// a majority says that it does.
    ///
    /// # Errors
    /// As [`Company::propose`].
    pub(crate) fn read_index(&self) -> Result<u64, Refusal> {
        let raft = self.raft()?;
        match self.block(MAJORITY_DEADLINE, raft.ensure_linearizable()) {
            Some(Ok(read)) => Ok(read.map_or(0, |read| read.index)),
            Some(Err(RaftError::APIError(openraft::error::CheckIsLeaderError::ForwardToLeader(forward)))) => {
                Err(Refusal::NotLeading { leader: forward.leader_id.map(|leader| leader.0) })
            }
            Some(Err(RaftError::Fatal(error))) => Err(Refusal::Failed(error.to_string())),
            Some(Err(RaftError::APIError(_))) | None => Err(self.no_majority()),
        }
    }

    /// What is said when a majority does not answer.
    fn no_majority(&self) -> Refusal {
        let (facts, agreed) = (self.facts(), self.agreed());
        let silent = |member: &&MemberId| {
            let heard = self.progress(**member).heard;
            heard.is_none_or(|heard| heard.elapsed() > MAJORITY_DEADLINE)
        };
        let name = |member: &MemberId| {
            agreed.members.get(*member).map_or_else(|| member.to_string(), |member| member.name.clone())
        };
        let away: Vec<String> = facts.voters.iter().filter(silent).map(name).collect();
        let (away, all) = (away.join(", "), facts.voters.len());
        Refusal::Failed(format!(
            "no majority of the {all} members that vote answers ({away} missing), so nothing can be changed; \
             what was asked for may still happen"
        ))
    }

    /// Has a member get a copy of what is agreed on.
    ///
    /// # Errors
    /// As [`Company::propose`].
    pub(crate) fn add(&self, member: MemberId) -> Result<(), Refusal> {
        let raft = self.raft()?;
        let added = self.block(MAJORITY_DEADLINE, raft.add_learner(Who(member), (), false));
        added.ok_or_else(|| self.no_majority())?.map(drop).map_err(refusal)
    }

    /// Has these members vote, and no others. Those that do not any more keep their copy.
    ///
    /// # Errors
    /// As [`Company::propose`].
    pub(crate) fn seat(&self, voters: &[MemberId]) -> Result<(), Refusal> {
        let voters: BTreeSet<Who> = voters.iter().copied().map(Who).collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters), true)
    }

    /// Has members have no copy any more.
    ///
    /// # Errors
    /// As [`Company::propose`].
    pub(crate) fn forget(&self, members: &[MemberId]) -> Result<(), Refusal> {
        let members: BTreeSet<Who> = members.iter().copied().map(Who).collect();
        self.change(ChangeMembers::RemoveNodes(members), false)
    }

    fn change(&self, change: ChangeMembers<Who, ()>, retain: bool) -> Result<(), Refusal> {
        let raft = self.raft()?;
        let changed = self.block(MAJORITY_DEADLINE, raft.change_membership(change, retain));
        changed.ok_or_else(|| self.no_majority())?.map(drop).map_err(refusal)
    }

    /// Answers what another member says.
    pub(crate) fn answer(&self, member: MemberId, question: Question) -> Answer {
        if question.company != CompanyId::ROOT {
            return Answer::Failed(format!("{:?} is not here", question.company));
        }
        if question.what.speaker() != Some(Who(member)) {
            return Answer::Failed(format!("{member} speaks in the name of another member"));
        }
        let raft = match self.raft() {
            Ok(raft) => raft,
            Err(refusal) => return Answer::Failed(refusal.to_string()),
        };
        let answered = self.block(ANSWER_DEADLINE, async {
            match question.what {
                What::Append(append) => raft.append_entries(append).await.map(Answer::Append).map_err(text),
                What::Vote(vote) => raft.vote(vote).await.map(Answer::Vote).map_err(text),
                What::Snapshot(part) => match raft.install_snapshot(part).await {
                    Ok(answer) => Ok(Answer::Snapshot(Ok(answer))),
                    Err(RaftError::APIError(error)) => Ok(Answer::Snapshot(Err(error))),
                    Err(error @ RaftError::Fatal(_)) => Err(text(error)),
                },
            }
        });
        match answered {
            Some(answer) => answer.unwrap_or_else(Answer::Failed),
            None => Answer::Failed("it takes too long".into()),
        }
    }

    /// If the library has stopped since the file could not be written, begins anew with what is in it.
    pub(crate) fn revive(&self) {
        let _one_at_a_time = self.reviving.lock();
        let stopped = match &*self.raft.read() {
            Ok(raft) => raft.metrics().borrow().running_state.clone().err().map(|error| error.to_string()),
            Err(why) => Some(why.clone()),
        };
        let Some(why) = stopped else { return };
        // The file is closed when the last handle of it is gone.
        let stopped = std::mem::replace(&mut *self.raft.write(), Err(why));
        if let Ok(raft) = stopped {
            let _ = self.block(ANSWER_DEADLINE, raft.shutdown());
        }
        match start(&self.runtime, &self.path, self.own, &self.reach, &self.standing, &self.heard) {
            Ok((raft, _)) => *self.raft.write() = Ok(raft),
            Err(error) => *self.raft.write() = Err(error.to_string()),
        }
    }

    /// Takes no part any more.
    pub(crate) fn stop(&self) {
        let stopped = std::mem::replace(&mut *self.raft.write(), Err("it has left the cluster".into()));
        if let Ok(raft) = stopped {
            let _ = self.block(ANSWER_DEADLINE, raft.shutdown());
        }
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

fn refusal(error: RaftError<Who, ClientWriteError<Who, ()>>) -> Refusal {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            Refusal::NotLeading { leader: forward.leader_id.map(|leader| leader.0) }
        }
        other => Refusal::Failed(other.to_string()),
    }
}

fn start(
    runtime: &Runtime,
    path: &Path,
    own: MemberId,
    reach: &Arc<dyn Reach>,
    standing: &Arc<Standing>,
    heard: &Arc<Heard>,
) -> Result<(Raft, Owner), StoreError> {
    let company = CompanyId::ROOT;
    let (store, owner) = Store::open(backend(path)?, own)?;
    let machine = Machine::open(store.clone(), company, Arc::clone(standing))?;
    let network = Network { company, reach: Arc::clone(reach), heard: Arc::clone(heard) };
    let log = Log { store, company };
    let raft = runtime.block_on(Raft::new(Who(own), Arc::new(settings()), network, log, machine));
    let raft = raft.map_err(|error| StoreError::Contradiction(error.to_string()))?;
    Ok((raft, owner))
}

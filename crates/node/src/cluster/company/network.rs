//! How the library reaches the other members: one connection for each that it speaks to, which stays open,
//! and on it one question at a time.
//!
//! Connections of nodes are used by threads, so a question takes one of the runtime's for as long as it
//! waits. A member that answers too late costs its connection: the next question does not wait behind the
//! last.

use super::kinds::{Root, Who};
use super::message::{Answer, Question, What};
use crate::transport::{Connection, read_message};
use banyan_core::companies::CompanyId;
use banyan_wire::cluster::MemberId;
use banyan_wire::frame;
use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How other members are reached.
pub(crate) trait Reach: Send + Sync + 'static {
    /// A connection to a member on which questions can be asked.
    ///
    /// # Errors
    /// The system's; it is not there, or is not that member.
    fn dial(&self, member: MemberId, timeout: Duration) -> io::Result<Connection>;
}

/// A connection is made within this time; a request has a shorter timeout.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a member that could not be reached is left alone.
const LEFT_ALONE: Duration = Duration::from_millis(250);

/// When members have answered last.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<BTreeMap<MemberId, Instant>>);

impl Heard {
    pub(super) fn last(&self, member: MemberId) -> Option<Instant> {
        self.0.lock().get(&member).copied()
    }
}

/// Makes connections.
pub(super) struct Network {
    pub(super) company: CompanyId,
    pub(super) reach: Arc<dyn Reach>,
    pub(super) heard: Arc<Heard>,
}

/// The connection to one member.
pub(super) struct Link {
    company: CompanyId,
    peer: Who,
    reach: Arc<dyn Reach>,
    heard: Arc<Heard>,
    /// Taken by who asks.
    connection: Arc<Mutex<Option<Connection>>>,
}

impl RaftNetworkFactory<Root> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: Who, (): &()) -> Link {
        Link {
            company: self.company,
            peer: target,
            reach: Arc::clone(&self.reach),
            heard: Arc::clone(&self.heard),
            connection: Arc::default(),
        }
    }
}

/// Asks on a connection, which is given back if it can be used again.
fn ask(connection: &Connection, frame: &[u8], timeout: Duration) -> io::Result<Answer> {
    connection.set_read_timeout(Some(timeout))?;
    let mut stream = connection;
    stream.write_all(frame)?;
    connection.flush()?;
    read_message(&mut stream)
}

/// Why there is no answer, by what the library does then.
enum Trouble {
    /// Ask again.
    Lost(io::Error),
    /// Ask again after a while.
    Away(io::Error),
}

impl Link {
    async fn ask(&self, what: What, option: &RPCOption) -> Result<Answer, Trouble> {
        let (reach, slot) = (Arc::clone(&self.reach), Arc::clone(&self.connection));
        let (member, timeout) = (self.peer.0, option.hard_ttl());
        let frame = frame::encode(&Question { company: self.company, what });
        let asked = tokio::task::spawn_blocking(move || {
            let busy =
                || Trouble::Lost(io::Error::new(io::ErrorKind::WouldBlock, "the last question is open"));
            let mut slot = slot.try_lock().ok_or_else(busy)?;
            let connection = match slot.take() {
                Some(connection) => connection,
                None => reach.dial(member, DIAL_TIMEOUT).map_err(Trouble::Away)?,
            };
            match ask(&connection, &frame, timeout) {
                Ok(answer) => {
                    *slot = Some(connection);
                    Ok(answer)
                }
                Err(error) => {
                    connection.close();
                    Err(Trouble::Lost(error))
                }
            }
        });
        let answer = asked.await.unwrap_or_else(|error| Err(Trouble::Lost(io::Error::other(error))))?;
        self.heard.0.lock().insert(member, Instant::now());
        match answer {
            Answer::Failed(reason) => Err(Trouble::Away(io::Error::other(reason))),
            answer => Ok(answer),
        }
    }

    fn other_answer() -> Trouble {
        Trouble::Away(io::Error::new(io::ErrorKind::InvalidData, "an answer to something else"))
    }
}

impl<E: std::error::Error> From<Trouble> for RPCError<Who, (), E> {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Lost(error) => Self::Network(NetworkError::new(&error)),
            Trouble::Away(error) => Self::Unreachable(Unreachable::new(&error)),
        }
    }
}

impl RaftNetwork<Root> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Root>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Who>, RPCError<Who, (), RaftError<Who>>> {
        match self.ask(What::Append(rpc), &option).await? {
            Answer::Append(answer) => Ok(answer),
            _ => Err(Self::other_answer().into()),
        }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Root>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<Who>, RPCError<Who, (), RaftError<Who, InstallSnapshotError>>> {
        match self.ask(What::Snapshot(rpc), &option).await? {
            Answer::Snapshot(Ok(answer)) => Ok(answer),
            Answer::Snapshot(Err(error)) => {
                Err(RPCError::RemoteError(RemoteError::new(self.peer, RaftError::APIError(error))))
            }
            _ => Err(Self::other_answer().into()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Who>,
        option: RPCOption,
    ) -> Result<VoteResponse<Who>, RPCError<Who, (), RaftError<Who>>> {
        match self.ask(What::Vote(rpc), &option).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(Self::other_answer().into()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(LEFT_ALONE))
    }
}

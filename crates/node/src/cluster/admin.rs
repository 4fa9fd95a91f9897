//! What a person asks the node of this machine about its cluster and its jobs, and what the node answers.
//!
//! It travels as JSON over the node's socket (`local`), which only this user and root can reach. Not here:
//! what a node does about it (`membership`).

pub use banyan_core::membership::{Standing, Uses};
pub use banyan_wire::cluster::{ClusterId, Member, MemberId, TokenId};
use serde::{Deserialize, Serialize};

/// A question, or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminRequest {
    /// About the cluster.
    Cluster(ClusterRequest),
    /// Let no program of another machine come here, and have those that are here go; or no longer.
    Drain(Drain),
    /// Which jobs have their home here?
    Jobs,
    /// Have a thread of such a job go to a node.
    Move {
        /// The process id of its program.
        process: u32,
        /// The thread's id at home.
        thread: u32,
        /// The number of the node in the job.
        node: u8,
    },
}

/// Whether programs of other machines may be on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drain {
    /// They are to go. To be asked again until they have.
    Begin,
    /// They may come again.
    End,
}

/// A question about the cluster, or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterRequest {
    /// What is the cluster, and who is there?
    Status,
    /// Make a token.
    NewToken {
        /// For how long it is good.
        seconds: u64,
        /// For how many machines.
        uses: Uses,
    },
    /// Which tokens are there?
    Tokens,
    /// Take a token back.
    RevokeToken(TokenId),
    /// Take a member out: its name, or the beginning of its id.
    Remove(String),
    /// Give a member another name.
    Rename {
        /// Its name, or the beginning of its id.
        member: String,
        /// The new one.
        name: String,
    },
    /// Register a name for this machine, or renew it.
    Register {
        /// The name.
        name: String,
        /// What it stands for.
        value: String,
        /// How long it stays if it is not registered again.
        lease_seconds: u32,
    },
    /// Begin the lease of a name anew. That is no change, and costs no entry in the log.
    Renew {
        /// The name.
        name: String,
        /// As which it was registered.
        revision: u64,
    },
    /// Take a name away.
    Unregister(String),
    /// Which names are there?
    Names {
        /// Answer when they are others than at this revision, or after a while.
        after: Option<u64>,
    },
    /// Take this machine out of the cluster, and stop.
    Leave,
    /// Stop. The machine stays a member.
    Stop,
}

impl AdminRequest {
    /// Whether the node ends when it has done that.
    #[must_use]
    pub(crate) fn ends_node(&self) -> bool {
        matches!(self, Self::Cluster(ClusterRequest::Stop | ClusterRequest::Leave))
    }
}

/// The answer to an [`AdminRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminAnswer {
    /// To `Status`.
    Status(Status),
    /// To `NewToken`.
    Token(NewToken),
    /// To `Tokens`.
    Tokens(Vec<TokenFacts>),
    /// To `Register`.
    Registered {
        /// As which.
        revision: u64,
    },
    /// To `Names`.
    Names(NamesFacts),
    /// To `Jobs`.
    Jobs(Vec<JobStatus>),
    /// To `Drain`: the programs that are here still.
    Here(Vec<Here>),
    /// It is done.
    Done,
    /// The thread has been told, and has not gone yet: it waits in a call.
    Waiting,
    /// It is not, and why.
    Refused(String),
}

/// A cluster as one of its nodes sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node that answers.
    pub own: MemberId,
    /// Its process.
    pub process: u32,
    /// Jobs in which it takes part.
    pub jobs: usize,
    /// What to type into a browser to see its page, if it serves one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub page: Option<String>,
    /// Who leads, as far as the node knows.
    pub leader: Option<MemberId>,
    /// Why the node takes no part in what the cluster decides, if it does not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
    /// All members.
    pub members: Vec<MemberStatus>,
}

/// How a member takes part in what the cluster decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seat {
    /// It carries out what is asked for.
    Leader,
    /// It must be asked: a majority of those that vote decides.
    Voter,
    /// It has a copy of what was decided.
    Follower,
}

impl Seat {
    /// What it is called.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Voter => "voter",
            Self::Follower => "follower",
        }
    }
}

/// The names of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesFacts {
    /// Goes up with every change of them.
    pub revision: u64,
    /// Whether a member that leads has said that these are all, or it is what the node knew before.
    pub is_current: bool,
    /// In alphabetical order.
    pub names: Vec<NameFacts>,
}

/// A name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameFacts {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub value: String,
    /// The member that has registered it.
    pub holder: String,
    /// How long it stays after it was registered.
    pub lease_seconds: u32,
}

/// A member, and whether it can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The member.
    #[serde(flatten)]
    pub member: Member,
    /// How it takes part in what the cluster decides.
    pub seat: Seat,
    /// How long it took to answer, in microseconds. Without it, it did not.
    pub answered_us: Option<u64>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
}

/// A job whose home is on the node that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The process id of its program.
    pub process: u32,
    /// What the kernel calls the program.
    pub program: String,
    /// On how many nodes it runs.
    pub nodes: u8,
    /// How often a thread of it changed its node.
    pub moves: u64,
    /// Its threads: the id at home, and the number of the node where it is.
    pub threads: Vec<(u32, u8)>,
}

/// A program that is on a node which is to be without programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Here {
    /// What the kernel calls it.
    pub program: String,
    /// Whether its process is here, so that it stays until it ends.
    pub is_home: bool,
    /// How many of its threads are here.
    pub threads: u32,
}

/// A token that was just made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// The token, with its secret. It is shown this once.
    pub token: String,
    /// Where the node listens that has made it; any other does as well.
    pub address: std::net::SocketAddr,
    /// When its time is over, in seconds since 1970.
    pub expires: u64,
}

/// A token as the book has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts {
    /// Its number.
    pub id: TokenId,
    /// When its time is over, in seconds since 1970.
    pub expires: u64,
    /// For how many machines more it is.
    pub uses: Uses,
    /// What it is good for now.
    pub standing: Standing,
}

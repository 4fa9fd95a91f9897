//! What is sent to a durable configuration beside the messages to its actors, and what it wants done when it
//! has committed.

use std::path::PathBuf;
use std::sync::mpsc::Sender;

use banyan_core::sponsors::SponsorId;

use crate::model::durable_address::Token;
use crate::model::message::Message;
use crate::sponsors::accounts::Freed;

/// A message that is taken once.
pub(crate) struct Numbered {
    pub(crate) sender: String,
    pub(crate) sequence: u64,
    pub(crate) message: Message,
}

/// Comes back from the sponsor in place of events that wait for it: they stay where they are kept.
pub(crate) struct Unpark(pub(crate) SponsorId);

/// A request to a durable configuration.
pub(crate) enum DurableRequest {
    /// The receiver has committed everything up to this number.
    Acknowledge { target: String, sequence: u64 },
    /// Retain the next commit under a name, and write it to a file if one is given.
    Snapshot { name: Option<String>, export: Option<PathBuf>, done: Sender<Result<u64, String>> },
    /// A receiver was opened: it may lack what is in the outbox.
    Resend { target: String },
    /// How far a sender's messages have been committed.
    Seen { sender: String, answer: Sender<u64> },
}

/// Something to say to the sender of a stream, which may be at a peer.
pub(crate) enum Notice {
    /// The stream was committed up to a number.
    Acknowledged { stream: Token, sequence: u64 },
    /// What comes after a number is missing.
    Lacking { stream: Token, sequence: u64 },
}

/// What a durable configuration leaves for the system to do: nothing of it is done while the configuration is
/// at work.
#[derive(Default)]
pub(crate) struct Aftermath {
    /// What sponsors had kept waiting.
    pub(crate) freed: Vec<Freed>,
    /// A sponsor was stopped: leases on it are called back.
    pub(crate) stops: bool,
    pub(crate) notices: Vec<Notice>,
}

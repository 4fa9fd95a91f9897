//! What an answer is made of.

use crate::job::Job;
use crate::pager::PagerError;
use banyan_wire::ids::NodeId;
use banyan_wire::stub::{Answer, Nothing};
use std::os::fd::OwnedFd;

/// An answer, and the file that goes beside it.
pub(super) type Answered = Result<(Answer, Option<OwnedFd>), PagerError>;

pub(super) const DONE: Answer = Answer::Done(Nothing {});
pub(super) const FAILED: Answer = Answer::Failed(Nothing {});

/// Done, and this file beside it; or failed if there is none.
pub(super) fn with_file(file: Option<OwnedFd>) -> (Answer, Option<OwnedFd>) {
    (if file.is_some() { DONE } else { FAILED }, file)
}

/// The node with this number, if the run has it.
pub(super) fn node_of(job: &Job, number: u32) -> Result<NodeId, PagerError> {
    u8::try_from(number).ok().filter(|&number| number < job.nodes()).and_then(NodeId::new).ok_or_else(|| {
        PagerError::Fatal(format!("the replica named node {number}, which the run does not have"))
    })
}

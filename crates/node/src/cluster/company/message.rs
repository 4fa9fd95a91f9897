//! What members of a company say to each other: the questions and answers of the library, one frame each.
//!
//! Not here: which member may say what (`running`), and what carries the frames (`network`).

use super::kinds::{Root, Who};
use banyan_core::companies::CompanyId;
use banyan_wire::frame::{self, LENGTH_BYTES};
use openraft::error::InstallSnapshotError;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

/// To a member.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Of which company.
    pub(crate) company: CompanyId,
    pub(crate) what: What,
}

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum What {
    /// Who leads sends entries, or none to say that it leads still.
    Append(AppendEntriesRequest<Root>),
    /// Who wants to lead asks for a vote.
    Vote(VoteRequest<Who>),
    /// Who leads sends a part of a snapshot.
    Snapshot(InstallSnapshotRequest<Root>),
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Append(AppendEntriesResponse<Who>),
    Vote(VoteResponse<Who>),
    Snapshot(Result<InstallSnapshotResponse<Who>, InstallSnapshotError>),
    /// It could not be done, and why.
    Failed(String),
}

impl What {
    /// Who says so: what is said in another's name is not heard.
    pub(crate) fn speaker(&self) -> Option<Who> {
        let vote = match self {
            Self::Append(append) => append.vote,
            Self::Vote(vote) => vote.vote,
            Self::Snapshot(snapshot) => snapshot.vote,
        };
        vote.leader_id.voted_for()
    }
}

/// What a fuzzer calls: the decoder of what members of a company say to each other.
///
/// # Panics
/// When decoding is wrong: what is accepted gives the same bytes when it is encoded again.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(question) = frame::decode::<Question>(bytes) {
        let _ = question.what.speaker();
        assert_eq!(frame::encode(&question)[LENGTH_BYTES..], *bytes);
    }
    if let Ok(answer) = frame::decode::<Answer>(bytes) {
        assert_eq!(frame::encode(&answer)[LENGTH_BYTES..], *bytes);
    }
}

/// Questions and answers for a fuzzer to begin with.
#[must_use]
pub fn fuzz_inputs() -> Vec<Vec<u8>> {
    use super::kinds::{Entry, LogId, Vote};
    use banyan_core::membership::Change;
    use banyan_wire::cluster::MemberId;
    use openraft::{CommittedLeaderId, EntryPayload, Membership};
    let who = Who(MemberId([7; 10]));
    let log_id = LogId::new(CommittedLeaderId::new(3, who), 300);
    let vote = Vote::new_committed(3, who);
    let change = Change::Rename { member: who.0, name: "n2".into() };
    let membership = Membership::new(vec![[who].into()], None);
    let entries = [EntryPayload::Blank, EntryPayload::Normal(change), EntryPayload::Membership(membership)];
    let entries = entries.map(|payload| Entry { log_id, payload }).into();
    let append = AppendEntriesRequest { vote, prev_log_id: Some(log_id), entries, leader_commit: None };
    let snapshot = InstallSnapshotRequest {
        vote,
        meta: super::kinds::SnapshotMeta { last_log_id: Some(log_id), ..Default::default() },
        offset: 0,
        data: vec![1, 2, 3],
        done: true,
    };
    let questions = [
        What::Append(append),
        What::Vote(VoteRequest { vote, last_log_id: Some(log_id) }),
        What::Snapshot(snapshot),
    ];
    let answers = [
        Answer::Append(AppendEntriesResponse::PartialSuccess(Some(log_id))),
        Answer::Vote(VoteResponse::new(vote, Some(log_id), true)),
        Answer::Snapshot(Ok(InstallSnapshotResponse { vote })),
        Answer::Failed("no".into()),
    ];
    let questions =
        questions.map(|what| frame::encode(&Question { company: CompanyId::ROOT, what })).into_iter();
    questions
        .chain(answers.iter().map(frame::encode))
        .map(|mut frame| frame.split_off(LENGTH_BYTES))
        .collect()
}

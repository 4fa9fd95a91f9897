//! What a member answers other machines: other members, and one that wants to be one.

use super::company::message::Question;
use super::membership::Cluster;
use crate::transport::{Caller, Connection, read_message};
use banyan_core::membership::Agreed;
use banyan_wire::cluster::{ClusterMessage, JoinRequest, Refusal};
use banyan_wire::frame;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A member of a company that is silent for this long has gone: a leader sends several messages a second.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a member that checks that this one is alive waits for the entries it has missed.
const CATCHING_UP: Duration = Duration::from_millis(500);

impl Cluster {
    /// Answers what another machine says.
    pub(crate) fn answer(&self, caller: Caller, from: SocketAddr, message: ClusterMessage) -> ClusterMessage {
        self.try_answer(caller, from, message).unwrap_or_else(ClusterMessage::Refused)
    }

    fn try_answer(
        &self,
        caller: Caller,
        from: SocketAddr,
        message: ClusterMessage,
    ) -> Result<ClusterMessage, Refusal> {
        let member = match (caller, message) {
            (Caller::Member(member), message) if self.is_member(member) => (member, message),
            (Caller::Expired(member), message @ ClusterMessage::Renew { .. }) if self.is_member(member) => {
                (member, message)
            }
            // Also one that was a member of something before.
            (_, ClusterMessage::Join(request)) => return self.let_in(from, request),
            (Caller::Member(member) | Caller::Expired(member), _) => return Err(Refusal::Stranger(member)),
            _ => return Err(Refusal::Failed("only members of the cluster may ask that".into())),
        };
        let (member, message) = member;
        match message {
            ClusterMessage::Ping { version } => {
                if version > self.members().version() {
                    let is_known = |_, agreed: &Agreed| agreed.members.version() >= version;
                    self.company.standing().wait(Instant::now() + CATCHING_UP, is_known);
                    if version > self.members().version() {
                        self.refresh();
                    }
                }
                Ok(ClusterMessage::Pong { version: self.members().version() })
            }
            ClusterMessage::List(None) => Ok(ClusterMessage::List(Some(self.members().to_list()))),
            message @ (ClusterMessage::Order(_) | ClusterMessage::Join(_)) => self.lead(member, &message),
            ClusterMessage::Renew { certificate_request } => {
                let signed = self.signs()?.sign(&certificate_request);
                let (signed, certificate) = signed.map_err(|error| Refusal::Failed(error.to_string()))?;
                if signed != member {
                    return Err(Refusal::Failed("the request is for another key than the member's".into()));
                }
                Ok(ClusterMessage::Renewed { certificate: certificate.to_vec() })
            }
            ClusterMessage::Authority { key } => self.take_key(&key).map(|()| ClusterMessage::Taken),
            _ => Err(Refusal::Failed("that is an answer and no question".into())),
        }
    }

    /// A machine wants to be a member: who leads decides.
    fn let_in(&self, from: SocketAddr, mut request: JoinRequest) -> Result<ClusterMessage, Refusal> {
        if request.cluster != self.id {
            return Err(Refusal::OtherCluster { token: request.cluster, here: self.id });
        }
        if request.listen.ip().is_unspecified() {
            request.listen.set_ip(from.ip());
        }
        self.at_leader(&ClusterMessage::Join(request))
    }

    /// Answers a member of the company, until it ends the connection or is no member any more.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn take_part(&self, caller: Caller, connection: &Connection) -> io::Result<()> {
        connection.set_read_timeout(Some(SILENCE))?;
        let mut stream = connection;
        loop {
            let question: Question = match read_message(&mut stream) {
                Ok(question) => question,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
                // It ended.
                Err(_) => return Ok(()),
            };
            let Some(member) = caller.member().filter(|member| self.is_member(*member)) else {
                return Ok(());
            };
            let answer = self.company.answer(member, question);
            stream.write_all(&frame::encode(&answer))?;
            connection.flush()?;
        }
    }
}

//! What people of this machine ask about the cluster, and have it do.

use super::admin::{
    AdminAnswer, ClusterRequest, MemberStatus, NameFacts, NamesFacts, NewToken, Seat, Status, TokenFacts,
};
use super::certificates;
use super::membership::{Cluster, now};
use crate::transport::trust;
use banyan_core::membership::{Agreed, Token, Uses};
use banyan_wire::cluster::{ClusterMessage, MemberId, Order, Refusal, TokenId};
use std::time::{Duration, Instant};

/// Who only looks does not wait longer for a member that leads.
const LOOKING: Duration = Duration::from_millis(400);
/// Who watches names hears so soon that there is nothing new.
const WATCHING: Duration = Duration::from_secs(10);

impl Cluster {
    /// Does what a person of this machine asks, but for what concerns the node's process.
    pub(crate) fn administer(&self, request: ClusterRequest, jobs: usize) -> AdminAnswer {
        self.try_administer(request, jobs)
            .unwrap_or_else(|refusal| AdminAnswer::Refused(self.words(&refusal)))
    }

    /// A refusal with the names of members.
    fn words(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::NameHeld(holder) => {
                format!("{} has registered that name, and its lease is not over", self.name_of(*holder))
            }
            other => other.to_string(),
        }
    }

    fn order(&self, order: Order) -> Result<AdminAnswer, Refusal> {
        self.at_leader(&ClusterMessage::Order(order)).map(|_| AdminAnswer::Done)
    }

    fn find(&self, words: &str) -> Result<MemberId, Refusal> {
        let members = self.members();
        let unknown = || Refusal::Failed(format!("no member is called {words}; see `banyan node list`"));
        members.find(words).map(|member| member.id).ok_or_else(unknown)
    }

    fn try_administer(&self, request: ClusterRequest, jobs: usize) -> Result<AdminAnswer, Refusal> {
        match request {
            ClusterRequest::Status => Ok(AdminAnswer::Status(self.status(jobs))),
            ClusterRequest::NewToken { seconds, uses } => self.new_token(seconds, uses),
            ClusterRequest::Tokens => {
                self.at_leader(&ClusterMessage::Order(Order::Nothing))?;
                let facts = self.company.agreed().tokens.list().into_iter().map(|token| TokenFacts {
                    standing: token.standing(now()),
                    id: token.id,
                    expires: token.expires,
                    uses: token.uses,
                });
                Ok(AdminAnswer::Tokens(facts.collect()))
            }
            ClusterRequest::RevokeToken(id) => self.order(Order::RevokeToken(id)),
            ClusterRequest::Remove(words) => {
                let who = self.find(&words)?;
                if who == self.own {
                    let text = "that is this machine: take it out with `banyan leave`";
                    return Err(Refusal::Failed(text.into()));
                }
                self.order(Order::Remove(who))
            }
            ClusterRequest::Rename { member, name } => {
                let member = self.find(&member)?;
                self.order(Order::Rename { member, name })
            }
            ClusterRequest::Leave => {
                self.leave()?;
                Ok(AdminAnswer::Done)
            }
            ClusterRequest::Register { name, value, lease_seconds } => {
                self.order(Order::Register { name: name.clone(), value, lease_seconds })?;
                let agreed = self.company.agreed();
                let revision = agreed.names.get(&name).map_or(0, |named| named.revision);
                Ok(AdminAnswer::Registered { revision })
            }
            ClusterRequest::Renew { name, revision } => self.order(Order::Renew { name, revision }),
            ClusterRequest::Unregister(name) => self.order(Order::Unregister(name)),
            ClusterRequest::Names { after } => Ok(AdminAnswer::Names(self.names(after))),
            ClusterRequest::Stop => Ok(AdminAnswer::Done),
        }
    }

    fn new_token(&self, seconds: u64, uses: Uses) -> Result<AdminAnswer, Refusal> {
        let (id, secret) = (TokenId(random()?), random()?);
        let uses = match uses {
            Uses::Unlimited => None,
            Uses::Left(uses) => Some(uses),
        };
        let digest = trust::sha256(&secret);
        self.order(Order::IssueToken { id, digest, seconds, uses })?;
        let authority =
            certificates::key_digest(&self.authority).map_err(|error| Refusal::Failed(error.to_string()))?;
        let token = Token { cluster: self.id, id, secret, authority }.to_string();
        // Whichever member is asked.
        let address = self.own_place().ok_or(Refusal::Stranger(self.own))?.address;
        Ok(AdminAnswer::Token(NewToken { token, address, expires: now().saturating_add(seconds) }))
    }

    /// The names, at once or when they are others than at `after`.
    fn names(&self, after: Option<u64>) -> NamesFacts {
        let is_current = match after {
            None => self.catch_up(LOOKING),
            Some(after) => {
                let is_newer = |_, agreed: &Agreed| agreed.names.revision() != after;
                self.company.standing().wait(Instant::now() + WATCHING, is_newer);
                true
            }
        };
        NamesFacts { is_current, ..self.known_names() }
    }

    /// The names that this member knows of.
    pub(super) fn known_names(&self) -> NamesFacts {
        let agreed = self.company.agreed();
        let names = agreed.names.all().map(|(name, named)| NameFacts {
            name: name.to_owned(),
            value: named.value.clone(),
            holder: self.name_of(named.holder),
            lease_seconds: named.lease_seconds,
        });
        NamesFacts { revision: agreed.names.revision(), is_current: false, names: names.collect() }
    }

    fn status(&self, jobs: usize) -> Status {
        // Without a member that leads, what this one knows must do.
        self.catch_up(LOOKING);
        let mut members = self.reach_others();
        if let Some(member) = self.own_member() {
            members.push(MemberStatus { member, seat: Seat::Follower, answered_us: Some(0), trouble: None });
        }
        let facts = self.company.facts();
        for one in &mut members {
            one.seat = facts.seat(one.member.id);
        }
        members.sort_by_key(|one| (one.member.joined, one.member.id));
        Status {
            cluster: self.id,
            own: self.own,
            process: std::process::id(),
            jobs,
            page: None,
            leader: facts.leader,
            trouble: facts.trouble,
            members,
        }
    }

    /// Takes this machine out of the cluster and forgets its keys.
    fn leave(&self) -> Result<(), Refusal> {
        match self.at_leader(&ClusterMessage::Order(Order::Remove(self.own))) {
            // It was taken out before.
            Ok(_) | Err(Refusal::Stranger(_)) => {}
            Err(refusal) => return Err(refusal),
        }
        self.forget().map_err(|error| Refusal::Failed(error.to_string()))
    }
}

fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    crate::random::random().map_err(|error| Refusal::Failed(error.to_string()))
}

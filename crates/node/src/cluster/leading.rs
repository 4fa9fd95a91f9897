//! Changes of the cluster: they are carried out by the member that leads, whichever is asked.
//!
//! Who is asked finds out who leads, and goes on asking while one leader makes way for the next. So each
//! order can be carried out twice and is then as if it had been once. Who leads also has the right members
//! vote, ends the leases of names, and sees that those that vote have the authority's key. Not here: what a
//! change does (`banyan_core::membership`), and consensus (`company`).
//!
//! Lock order: `seating` is taken first; `leases` alone.

use super::certificates::Authority;
use super::company::CompanyFacts;
use super::membership::{Cluster, files, now};
use crate::observe::machine::this_machine;
use crate::transport::trust;
use banyan_core::companies::{Presence, voters};
use banyan_core::membership::{Change, Issued, Leases, TokenBook, Uses, check_machine};
use banyan_wire::cluster::{ClusterMessage, JoinRequest, Member, MemberId, Order, Refusal, Welcome};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Within this time there is a member that leads, or something is wrong that does not pass soon.
pub(super) const ORDER_DEADLINE: Duration = Duration::from_secs(8);
/// Who leads answers within this time, also that it cannot.
const LEADER_DEADLINE: Duration = Duration::from_secs(5);
/// It can be reached within this time. One that is paused or cut off soon leads no more; the question is
/// then for another.
const LEADER_REACHED: Duration = Duration::from_millis(700);
/// Between two questions who leads.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(30);
/// Between two looks of who leads at who should vote, and which leases are over.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// This member knows within this time what the one that leads has carried out.
const CATCHING_UP: Duration = Duration::from_secs(1);
/// A member that has not answered for this long is away.
const AWAY: Duration = Duration::from_secs(2);
/// A voter that has not answered for this long makes way for a member that is there. A machine that starts
/// anew is back sooner.
const GONE: Duration = Duration::from_secs(300);
/// Who does not vote keeps the authority's key no longer than this; it was sent since it is about to vote.
const ABOUT_TO_VOTE: Duration = Duration::from_secs(30);
/// Clocks may differ by this much, in seconds.
const CLOCK_DIFFERENCE_MAX: u64 = 24 * 3600;

/// What only who leads needs.
#[derive(Debug, Default)]
pub(crate) struct Leading {
    /// One change of those that vote at a time.
    seating: Mutex<Since>,
    leases: Mutex<Leases>,
}

/// Since when this member leads.
#[derive(Debug, Default)]
struct Since(Option<Instant>);

impl Cluster {
    /// Has the member that leads do something, and gives its answer. This member knows of it then.
    ///
    /// # Errors
    /// [`Refusal`]: of the one that leads; or none leads.
    pub(super) fn at_leader(&self, message: &ClusterMessage) -> Result<ClusterMessage, Refusal> {
        self.at_leader_within(message, ORDER_DEADLINE)
    }

    /// As [`Cluster::at_leader`], with this timeout.
    pub(super) fn at_leader_within(
        &self,
        message: &ClusterMessage,
        timeout: Duration,
    ) -> Result<ClusterMessage, Refusal> {
        let deadline = Instant::now() + timeout;
        // Without one that this member knows of, others may.
        let mut guesses = Vec::new();
        let mut trouble = None;
        loop {
            let leader = self.company.leader().or_else(|| guesses.pop());
            let answer = match leader {
                None => {
                    guesses = self.others().iter().map(|member| member.id).collect();
                    Err(Refusal::NotLeading { leader: None })
                }
                Some(leader) if leader == self.own => self.lead(self.own, message),
                Some(leader) => self.ask_leader(leader, message),
            };
            match answer {
                Err(Refusal::NotLeading { leader }) => {
                    guesses.extend(leader.filter(|leader| *leader != self.own));
                }
                Err(Refusal::Unanswered(text)) => trouble = Some(text),
                answer => return answer,
            }
            if Instant::now() > deadline {
                return Err(Refusal::Failed(self.nobody_leads(trouble)));
            }
            std::thread::sleep(BETWEEN_QUESTIONS);
        }
    }

    fn ask_leader(&self, leader: MemberId, message: &ClusterMessage) -> Result<ClusterMessage, Refusal> {
        let member = self.members().get(leader).cloned().ok_or(Refusal::NotLeading { leader: None })?;
        match self.ask_within(&member, message, LEADER_REACHED, LEADER_DEADLINE) {
            Ok(ClusterMessage::Refused(refusal)) => Err(refusal),
            Ok(answer) => {
                if let ClusterMessage::Done { index } = answer {
                    // One that is out hears no more of it.
                    if *message != ClusterMessage::Order(Order::Remove(self.own)) {
                        self.wait_for(index);
                    }
                }
                Ok(answer)
            }
            Err(error) => {
                Err(Refusal::Unanswered(format!("{} leads and does not answer: {error}", member.name)))
            }
        }
    }

    fn wait_for(&self, index: u64) -> bool {
        let deadline = Instant::now() + CATCHING_UP;
        self.company.standing().wait(deadline, |known, _| known >= Some(index))
    }

    /// Waits until this member knows all that was agreed on before it was asked. False if none leads, or it
    /// takes longer than that.
    pub(super) fn catch_up(&self, timeout: Duration) -> bool {
        match self.at_leader_within(&ClusterMessage::Order(Order::Nothing), timeout) {
            Ok(ClusterMessage::Done { index }) => self.wait_for(index),
            _ => false,
        }
    }

    fn nobody_leads(&self, trouble: Option<String>) -> String {
        let facts = self.company.facts();
        if let Some(trouble) = facts.trouble {
            return format!("this member takes no part in the cluster's decisions: {trouble}");
        }
        let voters: Vec<String> = facts.voters.iter().map(|voter| self.name_of(*voter)).collect();
        let trouble = trouble.map(|trouble| format!("; {trouble}")).unwrap_or_default();
        format!(
            "no member leads the cluster, so nothing can be changed: a majority of {} must be up and reach each \
             other{trouble}",
            voters.join(", ")
        )
    }

    /// Does what a member asks the one that leads, if that is this one.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn lead(&self, asks: MemberId, message: &ClusterMessage) -> Result<ClusterMessage, Refusal> {
        match message {
            ClusterMessage::Join(request) => self.admit(request).map(ClusterMessage::Welcome),
            ClusterMessage::Order(order) => {
                self.carry_out(asks, order).map(|index| ClusterMessage::Done { index })
            }
            _ => Err(Refusal::Failed("that is nothing for the member that leads".into())),
        }
    }

    fn carry_out(&self, asks: MemberId, order: &Order) -> Result<u64, Refusal> {
        let change = match order.clone() {
            Order::Nothing => return self.company.read_index(),
            Order::Remove(who) => return self.remove(who),
            Order::Renew { name, revision } => return self.renew_name(&name, revision),
            Order::IssueToken { id, digest, seconds, uses } => {
                let (now, uses) = (now(), uses.map_or(Uses::Unlimited, Uses::Left));
                let expires = now.saturating_add(seconds);
                Change::Issue { token: Issued { id, digest, expires, uses, revoked: false }, now }
            }
            Order::RevokeToken(token) => Change::Revoke(token),
            Order::Stay(member) => Change::Stay(member),
            Order::Rename { member, name } => Change::Rename { member, name },
            Order::Register { name, value, lease_seconds } => {
                Change::Register { name, value, holder: asks, lease_seconds }
            }
            Order::Unregister(name) => Change::Unregister(name),
        };
        self.company.propose(change)
    }

    fn renew_name(&self, name: &str, revision: u64) -> Result<u64, Refusal> {
        let index = self.company.read_index()?;
        let agreed = self.company.agreed();
        if self.leading.leases.lock().renew(clock(), &agreed.names, name, revision) {
            return Ok(index);
        }
        Err(Refusal::Failed(format!("{name} is not registered as it was; register it again")))
    }

    /// The authority, to sign with.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn signs(&self) -> Result<Arc<Authority>, Refusal> {
        let missing = || Refusal::Failed("this member does not vote and has not the authority's key".into());
        self.authority().ok_or_else(missing)
    }

    fn admit(&self, request: &JoinRequest) -> Result<Welcome, Refusal> {
        // Before anything else is said: one that does not lead may know nothing.
        self.company.read_index()?;
        let token = request.token;
        let digest = trust::sha256(&request.secret);
        // Who has no token hears nothing of what the cluster asks of machines.
        self.company.agreed().tokens.clone().redeem(token, &digest, now()).or_else(
            |refusal| match refusal {
                Refusal::TokenUsedUp => Ok(()),
                refusal => Err(refusal),
            },
        )?;
        let seconds = request.now as i64 - now() as i64;
        if seconds.unsigned_abs() > CLOCK_DIFFERENCE_MAX {
            return Err(Refusal::Clock { seconds });
        }
        let signed = self.signs()?.sign(&request.certificate_request);
        let (id, certificate) = signed.map_err(|error| Refusal::Failed(error.to_string()))?;
        let member = Member {
            id,
            name: request.name.clone(),
            address: request.listen,
            machine: request.machine.clone(),
            joined: now(),
        };
        // A token that is used up is the reason reported first.
        let misfit = check_machine(&this_machine(), &request.machine);
        if misfit.is_err() && !self.is_used_up(token) {
            misfit?;
        }
        self.company.propose(Change::Admit { member, token, digest, now: now() })?;
        // Else it gets its copy at the next look.
        let _ = self.company.add(id);
        let members = self.members().to_list();
        Ok(Welcome { id, certificate: certificate.to_vec(), members })
    }

    fn is_used_up(&self, token: banyan_wire::cluster::TokenId) -> bool {
        let agreed = self.company.agreed();
        agreed.tokens.list().iter().any(|issued| issued.id == token && issued.uses == Uses::Left(0))
    }

    /// Takes a member out: it votes no more, then it is none, then all others have heard so.
    fn remove(&self, who: MemberId) -> Result<u64, Refusal> {
        self.company.propose(Change::Leave(who))?;
        if let Err(refusal) = self.seat_without(who) {
            if !matches!(refusal, Refusal::NotLeading { .. }) {
                let _ = self.company.propose(Change::Stay(who));
            }
            return Err(refusal);
        }
        if self.company.leader() != Some(self.own) {
            return Err(Refusal::NotLeading { leader: self.company.leader() });
        }
        let index = self.company.propose(Change::Remove(who))?;
        // It is done at the next look if it is not now.
        let _ = self.seat();
        // It is out when no other member takes it for one.
        let _ = self.reach_others();
        Ok(index)
    }

    /// Has a member that leaves not vote.
    fn seat_without(&self, who: MemberId) -> Result<(), Refusal> {
        let deadline = Instant::now() + LEADER_DEADLINE / 2;
        loop {
            self.seat()?;
            let facts = self.company.facts();
            if !facts.voters.contains(&who) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let text = format!(
                    "{} votes, and no other machine of the cluster is there to vote in its place",
                    self.name_of(who)
                );
                return Err(Refusal::Failed(text));
            }
            std::thread::sleep(BETWEEN_QUESTIONS);
        }
    }

    /// Where this member leads: all members get a copy, the right ones vote, and who is none any more does
    /// neither. It is done in steps; what is left comes next time.
    fn seat(&self) -> Result<(), Refusal> {
        let mut since = self.leading.seating.lock();
        let facts = self.company.facts();
        if facts.leader != Some(self.own) {
            since.0 = None;
            return Ok(());
        }
        let since = *since.0.get_or_insert_with(Instant::now);
        let agreed = self.company.agreed();
        if !agreed.has_begun() {
            return self.begin();
        }
        for member in agreed.members.all().iter().filter(|member| !facts.members.contains(&member.id)) {
            self.company.add(member.id)?;
        }
        let all: Vec<(MemberId, Presence)> =
            agreed.staying().map(|member| (member.id, self.presence(member.id, since))).collect();
        let mut now: Vec<MemberId> = facts.voters.iter().copied().collect();
        now.sort_by_key(|voter| *voter != self.own);
        let mut chosen = voters(&now, &all);
        chosen.sort_unstable();
        let is_so = chosen.iter().copied().eq(facts.voters.iter().copied()) && !facts.is_changing;
        if !is_so && !chosen.is_empty() {
            for comes in chosen.iter().filter(|member| !facts.voters.contains(member)) {
                self.send_key(*comes)?;
            }
            self.company.seat(&chosen)?;
        }
        let voting = self.company.facts();
        let out: Vec<MemberId> = voting
            .members
            .iter()
            .filter(|member| agreed.members.get(**member).is_none() && !voting.voters.contains(member))
            .copied()
            .collect();
        if out.is_empty() { Ok(()) } else { self.company.forget(&out) }
    }

    fn presence(&self, member: MemberId, since: Instant) -> Presence {
        let progress = self.company.progress(member);
        // Who has just begun to lead has heard nobody for a long time.
        let silent = progress.heard.unwrap_or(since).max(since).elapsed();
        match progress.heard {
            Some(heard) if heard.elapsed() < AWAY && progress.is_even => Presence::Ready,
            _ if silent > GONE => Presence::Gone,
            _ => Presence::Away,
        }
    }

    /// Who votes can come to lead, and then must be able to sign.
    fn send_key(&self, member: MemberId) -> Result<(), Refusal> {
        if member == self.own {
            return Ok(());
        }
        let members = self.members();
        let member = members.get(member).ok_or(Refusal::Stranger(member))?;
        let message = ClusterMessage::Authority { key: self.signs()?.key_to_pem() };
        match self.ask(member, &message) {
            Ok(ClusterMessage::Taken) => Ok(()),
            Ok(ClusterMessage::Refused(refusal)) => Err(refusal),
            Ok(_) => Err(Refusal::Failed(format!("{} answers something else", member.name))),
            Err(error) => Err(Refusal::Failed(format!("{}: {error}", member.name))),
        }
    }

    /// The company begins with what the first machine has in its files.
    fn begin(&self) -> Result<(), Refusal> {
        let failed = |error: super::state::StateError| Refusal::Failed(error.to_string());
        let members = self.members().to_list();
        let tokens: TokenBook = match self.state.has(files::TOKENS) {
            true => self.state.load(files::TOKENS).map_err(failed)?,
            false => TokenBook::default(),
        };
        self.company.propose(Change::Begin { members, tokens }).map(drop)
    }

    /// The first machine of a cluster begins its company, also one that was made before there were any.
    pub(crate) fn begin_if_first(&self) {
        if !self.company.is_new() || self.authority().is_none() || !self.state.has(files::TOKENS) {
            return;
        }
        // If it does not begin now, it does at the next look.
        let deadline = Instant::now() + CATCHING_UP;
        let _ = self.company.found();
        while !self.company.agreed().has_begun() && Instant::now() < deadline {
            let _ = self.seat();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What who leads looks at, and what each member does about the key and a log that has failed. Does not
    /// return.
    pub(crate) fn look_after(&self) -> ! {
        let (mut voted, mut revived) = (false, Instant::now());
        loop {
            std::thread::sleep(BETWEEN_LOOKS);
            let facts = self.company.facts();
            if facts.trouble.is_some() && revived.elapsed() > AWAY {
                revived = Instant::now();
                self.company.revive();
            }
            // What cannot be done now is done at the next look.
            let _ = self.seat();
            self.end_leases(&facts);
            let votes = facts.voters.contains(&self.own);
            if facts.trouble.is_none() && facts.log_applied.is_some() && !votes {
                self.drop_key(if voted { Duration::ZERO } else { ABOUT_TO_VOTE });
            }
            voted = votes;
        }
    }

    fn end_leases(&self, facts: &CompanyFacts) {
        if facts.leader != Some(self.own) {
            self.leading.leases.lock().clear();
            return;
        }
        let over = self.leading.leases.lock().over(clock(), &self.company.agreed().names);
        for (name, revision) in over {
            let _ = self.company.propose(Change::Expire { name, revision });
        }
    }

    /// Who votes no more has no use for the authority's key.
    fn drop_key(&self, had_longer_than: Duration) {
        let mut key = self.authority_key.lock();
        if key.as_ref().is_some_and(|(_, since)| since.elapsed() >= had_longer_than)
            && self.state.clear(&[files::AUTHORITY_KEY, files::TOKENS]).is_ok()
        {
            *key = None;
        }
    }

    /// The member that leads sends the authority's key, since this one is to vote.
    pub(super) fn take_key(&self, text: &str) -> Result<(), Refusal> {
        let failed = |error: &dyn std::fmt::Display| Refusal::Failed(format!("the authority's key: {error}"));
        let authority =
            Authority::from_pem(self.id, text, self.authority.clone()).map_err(|error| failed(&error))?;
        if !authority.fits() {
            return Err(failed(&"it is the key of another authority"));
        }
        let mut key = self.authority_key.lock();
        self.state.write(files::AUTHORITY_KEY, text).map_err(|error| failed(&error))?;
        *key = Some((Arc::new(authority), Instant::now()));
        Ok(())
    }
}

/// A clock that only goes forward, and while the machine sleeps too.
fn clock() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

//! The cluster that this machine is in: who belongs to it, and what members say to each other about that.
//!
//! The root has the authority's key, the book of tokens and the list of members; it sends the list to all
//! when it changes, and a member asks for it when it starts, when it hears that there is a newer one, and
//! when a machine that it does not know shows a certificate of the cluster. Not here: what the root decides
//! (`banyan_core::membership`), and the first steps of a machine (`joining`).
//!
//! Lock order: `changes` first, if at all; `members` and `tokens` are taken alone otherwise.

use super::admin::{AdminAnswer, ClusterRequest, MemberStatus, NewToken, Status, TokenFacts};
use super::certificates::{self, Authority, MachineKey};
use super::state::{State, StateError};
use crate::observe::log::{self, Log};
use crate::observe::machine::this_machine;
use crate::observe::page::address::PageToken;
use crate::transport::trust::{self, Credentials};
use crate::transport::{Caller, Connection, Trust, read_message};
use banyan_core::membership::{Issued, Members, Token, TokenBook, check_machine};
use banyan_wire::cluster::{
    ClusterId, ClusterMessage, JoinRequest, Member, MemberId, MemberList, Refusal, Role, TokenId, Welcome,
};
use banyan_wire::control::Place;
use banyan_wire::frame;
use banyan_wire::handshake::{Hello, Purpose};
use banyan_wire::ids::JobId;
use parking_lot::{Mutex, RwLock};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use zerocopy::IntoBytes;

/// A member that has not answered within this time is not there now.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// A change that a member has missed is found at the next look.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);
/// Clocks may differ by this much.
const CLOCK_DIFFERENCE_MAX: u64 = 24 * 3600;

/// The files of a state.
pub(super) mod files {
    /// What the machine is; written last, so that without it there is nothing.
    pub(crate) const MACHINE: &str = "machine.json";
    pub(crate) const KEY: &str = "machine.key";
    pub(crate) const CERTIFICATE: &str = "machine.crt";
    pub(crate) const AUTHORITY: &str = "authority.crt";
    /// At the root only.
    pub(crate) const AUTHORITY_KEY: &str = "authority.key";
    pub(crate) const MEMBERS: &str = "members.json";
    /// At the root only.
    pub(crate) const TOKENS: &str = "tokens.json";
    /// What lets browsers of other machines see the node's page; made when it is wanted.
    pub(crate) const PAGE_TOKEN: &str = "page.token";
    /// All of them, what the machine is first.
    pub(crate) const ALL: &[&str] =
        &[MACHINE, KEY, CERTIFICATE, AUTHORITY, AUTHORITY_KEY, MEMBERS, TOKENS, PAGE_TOKEN];
}

/// What [`files::MACHINE`] holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MachineFile {
    pub(super) cluster: ClusterId,
    /// Where the node listens.
    pub(super) listen: SocketAddr,
}

/// The cluster, as this member has it.
#[derive(Debug)]
pub(crate) struct Cluster {
    id: ClusterId,
    own: MemberId,
    state: State,
    key: MachineKey,
    authority: CertificateDer<'static>,
    credentials: Arc<Credentials>,
    members: RwLock<Members>,
    root: Option<Root>,
    /// One change of the list at a time gets to the disk.
    changes: Mutex<()>,
    /// Where this node notes what happens.
    log: Arc<Log>,
    this: Weak<Self>,
}

/// What only the root has.
#[derive(Debug)]
struct Root {
    authority: Authority,
    tokens: Mutex<TokenBook>,
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A certificate as it is kept.
pub(super) fn to_pem(certificate: &CertificateDer<'_>) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", certificate.as_ref()))
}

fn from_pem(text: &str) -> io::Result<CertificateDer<'static>> {
    let block = pem::parse(text).map_err(io::Error::other)?;
    Ok(CertificateDer::from(block.into_contents()))
}

/// Says one thing to a node and hears its answer.
pub(super) fn converse(
    connection: &Connection,
    trust: &Trust,
    message: &ClusterMessage,
) -> io::Result<ClusterMessage> {
    connection.set_read_timeout(Some(ANSWER_DEADLINE))?;
    let hello = Hello::new(Purpose::Cluster, trust.greeting_secret(), JobId(0), 0, 0);
    let bytes = [hello.as_bytes(), &frame::encode(message)].concat();
    let mut connection = connection;
    connection.write_all(&bytes)?;
    read_message(&mut connection)
}

impl Cluster {
    /// The cluster of a state. Gives also where this node listens.
    ///
    /// # Errors
    /// [`StateError`].
    pub(crate) fn open(state: State) -> Result<(Arc<Self>, SocketAddr), StateError> {
        if !state.has(files::MACHINE) {
            return Err(StateError::Empty(state.directory().into()));
        }
        let machine: MachineFile = state.load(files::MACHINE)?;
        let certificate = |name| from_pem(&state.text(name)?).map_err(|error| state.damaged(name, &error));
        let key = MachineKey::from_pem(&state.text(files::KEY)?);
        let key = key.map_err(|error| state.damaged(files::KEY, &error))?;
        let (own, authority) = (certificate(files::CERTIFICATE)?, certificate(files::AUTHORITY)?);
        let credentials = Credentials::new(machine.cluster, &key.to_der(), &own, &authority)
            .map_err(|error| state.damaged(files::CERTIFICATE, &error))?;
        let members: Members = state.load::<MemberList>(files::MEMBERS)?.into();
        let root = match state.read(files::AUTHORITY_KEY)? {
            None => None,
            Some(text) => {
                let authority = Authority::from_pem(machine.cluster, &text, authority.clone())
                    .map_err(|error| state.damaged(files::AUTHORITY_KEY, &error))?;
                Some(Root { authority, tokens: Mutex::new(state.load(files::TOKENS)?) })
            }
        };
        let cluster = Arc::new_cyclic(|this| Self {
            id: machine.cluster,
            own: key.member(),
            state,
            key,
            authority,
            credentials: Arc::new(credentials),
            members: RwLock::new(members),
            root,
            changes: Mutex::new(()),
            log: Arc::default(),
            this: Weak::clone(this),
        });
        Ok((cluster, machine.listen))
    }

    /// How this member and the others know each other.
    pub(crate) fn trust(&self) -> Trust {
        Trust::Certificates(Arc::clone(&self.credentials))
    }

    /// What this machine is called.
    pub(crate) fn name(&self) -> String {
        let members = self.members.read();
        members.get(self.own).map_or_else(|| self.own.to_string(), |member| member.name.clone())
    }

    /// The directory of its state.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.state.directory()
    }

    /// What lets browsers of other machines see this node's page; the same as long as the machine is a
    /// member.
    ///
    /// # Errors
    /// [`StateError`].
    pub(super) fn page_token(&self) -> Result<PageToken, StateError> {
        let name = files::PAGE_TOKEN;
        if let Some(text) = self.state.read(name)? {
            let read = PageToken::parse(text.trim());
            return read.ok_or_else(|| self.state.damaged(name, &"it is no token of a page"));
        }
        let failed = |source| StateError::File { path: self.directory().join(name), source };
        let token = PageToken::new(crate::random::random().map_err(failed)?);
        self.state.write(name, token.as_str())?;
        Ok(token)
    }

    pub(super) fn place(member: &Member) -> Place {
        Place { address: member.address, member: Some(member.id) }
    }

    /// Where other members reach this one.
    pub(crate) fn own_place(&self) -> Option<Place> {
        self.members.read().get(self.own).map(Self::place)
    }

    /// What a member is called; its id if it is none any more.
    pub(crate) fn name_of(&self, member: MemberId) -> String {
        let members = self.members.read();
        members.get(member).map_or_else(|| member.to_string(), |member| member.name.clone())
    }

    /// This machine, as the list has it.
    pub(super) fn own_member(&self) -> Option<Member> {
        self.members.read().get(self.own).cloned()
    }

    /// When this machine's certificate is over, in seconds since 1970.
    pub(super) fn certificate_expires(&self) -> Option<i64> {
        let certificate = from_pem(&self.state.text(files::CERTIFICATE).ok()?).ok()?;
        certificates::expires(&certificate)
    }

    /// Where this node notes what happens.
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Notes who has joined or left between two lists.
    fn note_changes(&self, before: &Members, after: &Members) {
        let missing = |from: &Members, member: &&Member| from.get(member.id).is_none();
        for member in after.all().iter().filter(|member| missing(before, member)) {
            self.log.note(
                log::Kind::Join,
                None,
                format!("{} has joined from {}", member.name, member.address),
            );
        }
        for member in before.all().iter().filter(|member| missing(after, member)) {
            self.log.note(log::Kind::Leave, None, format!("{} is no member any more", member.name));
        }
    }

    /// The other members.
    pub(super) fn others(&self) -> Vec<Member> {
        self.members.read().all().iter().filter(|member| member.id != self.own).cloned().collect()
    }

    /// The other members that answer now and have what programs of this machine may use, in the order in
    /// which they joined; and why the rest is not among them.
    pub(crate) fn ready_others(&self) -> (Vec<Place>, Vec<String>) {
        let ours = this_machine();
        let (mut ready, mut missing) = (Vec::new(), Vec::new());
        let mut others = self.reach_others();
        others.sort_by_key(|other| (other.member.joined, other.member.id));
        for other in others {
            let fits = check_machine(&ours, &other.member.machine);
            match (other.trouble, fits) {
                (Some(trouble), _) => missing.push(format!("{}: {trouble}", other.member.name)),
                (None, Err(refusal)) => missing.push(format!("{}: {refusal}", other.member.name)),
                (None, Ok(())) => ready.push(Self::place(&other.member)),
            }
        }
        (ready, missing)
    }

    /// The other members that are none of these.
    pub(crate) fn members_beside(&self, places: &[Place]) -> Vec<Member> {
        let mut others = self.others();
        others.retain(|member| places.iter().all(|place| place.member != Some(member.id)));
        others
    }

    /// Where a member is reached, if it answers now and has what programs of this machine may use.
    ///
    /// # Errors
    /// Why it is not ready.
    pub(crate) fn ready_place(&self, member: &Member) -> Result<Place, String> {
        check_machine(&this_machine(), &member.machine).map_err(|refusal| refusal.to_string())?;
        match self.reach(member.clone()).trouble {
            Some(trouble) => Err(trouble),
            None => Ok(Self::place(member)),
        }
    }

    /// Asks every other member whether it is there.
    fn reach_others(&self) -> Vec<MemberStatus> {
        std::thread::scope(|scope| {
            let reach = |member| scope.spawn(move || self.reach(member));
            let asking: Vec<_> = self.others().into_iter().map(reach).collect();
            asking.into_iter().filter_map(|one| one.join().ok()).collect()
        })
    }

    /// Asks a member whether it is there.
    fn reach(&self, member: Member) -> MemberStatus {
        let version = self.members.read().version();
        let begun = Instant::now();
        let trouble = match self.ask(&member, &ClusterMessage::Ping { version }) {
            Ok(ClusterMessage::Pong { .. }) => None,
            Ok(ClusterMessage::Refused(refusal)) => Some(refusal.to_string()),
            Ok(_) => Some("it answers something else".into()),
            Err(error) => Some(format!("it does not answer: {error}")),
        };
        let answered_us = trouble.is_none().then(|| begun.elapsed().as_micros() as u64);
        MemberStatus { member, answered_us, trouble }
    }

    fn ask(&self, member: &Member, message: &ClusterMessage) -> io::Result<ClusterMessage> {
        let trust = self.trust();
        let connection = trust.dial(&Self::place(member), ANSWER_DEADLINE)?;
        let answer = converse(&connection, &trust, message);
        connection.close();
        answer
    }

    fn ask_root(&self, message: &ClusterMessage) -> io::Result<ClusterMessage> {
        let root = self.members.read().root().cloned();
        let root = root.ok_or_else(|| io::Error::other("the cluster has no root"))?;
        self.ask(&root, message)
    }

    /// From when the node has begun to listen: the root says to the others where it is, a member asks what
    /// has changed, and each has its certificate made anew in time. Does not return.
    pub(crate) fn keep_up(&self) -> ! {
        loop {
            let _ = self.renew_if_due();
            match &self.root {
                Some(_) => drop(self.send_list()),
                None => drop(self.refresh()),
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Asks the root for the list. Says why that was not possible.
    fn refresh(&self) -> io::Result<()> {
        if self.root.is_some() {
            return Ok(());
        }
        match self.ask_root(&ClusterMessage::List(None))? {
            ClusterMessage::List(Some(list)) => self.learn(list).map_err(io::Error::other),
            ClusterMessage::Refused(refusal) => Err(io::Error::other(refusal)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// A list of the root's: it is kept if it is newer than what is known.
    fn learn(&self, list: MemberList) -> Result<(), StateError> {
        let _one_at_a_time = self.changes.lock();
        if list.version <= self.members.read().version() {
            return Ok(());
        }
        self.state.store(files::MEMBERS, &list)?;
        let list: Members = list.into();
        self.note_changes(&self.members.read().clone(), &list);
        *self.members.write() = list;
        Ok(())
    }

    /// At the root: changes the list, on disk before anywhere else, and sends it to all. Who must be sure
    /// that all who can hear of it have heard waits for the threads.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Members) -> Result<T, Refusal>,
    ) -> Result<(T, Vec<JoinHandle<()>>), Refusal> {
        let result = {
            let _one_at_a_time = self.changes.lock();
            let mut members = self.members.read().clone();
            let result = change(&mut members)?;
            self.state
                .store(files::MEMBERS, &members.to_list())
                .map_err(|error| Refusal::Failed(error.to_string()))?;
            self.note_changes(&self.members.read().clone(), &members);
            *self.members.write() = members;
            result
        };
        Ok((result, self.send_list()))
    }

    /// Sends the list to the other members, each from a thread of its own, since one that does not answer
    /// must not hold up the others. It asks for the list itself when it is there again.
    fn send_list(&self) -> Vec<JoinHandle<()>> {
        let list = Arc::new(ClusterMessage::List(Some(self.members.read().to_list())));
        let send = |member: Member| {
            let (this, list) = (Weak::clone(&self.this), Arc::clone(&list));
            let sent = std::thread::Builder::new().name("list".into()).spawn(move || {
                let Some(this) = this.upgrade() else { return };
                let _ = this.ask(&member, &list);
            });
            // Without a thread this member hears of the change at the next one, or when it asks.
            sent.ok()
        };
        self.others().into_iter().filter_map(send).collect()
    }

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
        if let ClusterMessage::Join(request) = message {
            return self.let_in(from, request).map(ClusterMessage::Welcome);
        }
        let member = match caller {
            Caller::Member(member) => member,
            Caller::Expired(member) if matches!(message, ClusterMessage::Renew { .. }) => member,
            _ => return Err(Refusal::Failed("only members of the cluster may ask that".into())),
        };
        if !self.is_member(member) {
            return Err(Refusal::Stranger(member));
        }
        match message {
            ClusterMessage::Ping { version } => {
                let own = self.members.read().version();
                if version > own {
                    let _ = self.refresh();
                }
                Ok(ClusterMessage::Pong { version: own })
            }
            ClusterMessage::List(None) => Ok(ClusterMessage::List(Some(self.members.read().to_list()))),
            ClusterMessage::List(Some(list)) => {
                if self.members.read().root().is_none_or(|root| root.id != member) {
                    return Err(Refusal::Failed("only the root says who the members are".into()));
                }
                self.learn(list).map_err(|error| Refusal::Failed(error.to_string()))?;
                Ok(ClusterMessage::Taken)
            }
            ClusterMessage::Remove(who) => {
                if who != member {
                    return Err(Refusal::Failed("a member can take out itself only".into()));
                }
                self.remove(who)?;
                Ok(ClusterMessage::Taken)
            }
            ClusterMessage::Renew { certificate_request } => {
                let root = self.root.as_ref().ok_or_else(|| self.not_root())?;
                let signed = root.authority.sign(&certificate_request);
                let (signed, certificate) = signed.map_err(|error| Refusal::Failed(error.to_string()))?;
                if signed != member {
                    return Err(Refusal::Failed("the request is for another key than the member's".into()));
                }
                Ok(ClusterMessage::Renewed { certificate: certificate.to_vec() })
            }
            _ => Err(Refusal::Failed("that is an answer and no question".into())),
        }
    }

    /// Whether a machine that has shown a certificate of the cluster is a member still, or already.
    pub(crate) fn is_member(&self, member: MemberId) -> bool {
        let knows = || self.members.read().get(member).is_some();
        knows() || (self.refresh().is_ok() && knows())
    }

    fn not_root(&self) -> Refusal {
        match self.members.read().root() {
            Some(root) => Refusal::NotRoot { root: root.address },
            None => Refusal::Failed("the cluster has no root".into()),
        }
    }

    fn let_in(&self, from: SocketAddr, request: JoinRequest) -> Result<Welcome, Refusal> {
        if request.cluster != self.id {
            return Err(Refusal::OtherCluster { token: request.cluster, here: self.id });
        }
        let root = self.root.as_ref().ok_or_else(|| self.not_root())?;
        let digest = trust::sha256(&request.secret);
        self.change_tokens(root, |tokens| tokens.redeem(request.token, &digest, now()))?;
        let token = request.token;
        let admitted = self.admit(root, from, request);
        if admitted.is_err() {
            let _ = self.change_tokens(root, |tokens| {
                tokens.give_back(token);
                Ok(())
            });
        }
        admitted
    }

    fn admit(&self, root: &Root, from: SocketAddr, request: JoinRequest) -> Result<Welcome, Refusal> {
        let seconds = request.now as i64 - now() as i64;
        if seconds.unsigned_abs() > CLOCK_DIFFERENCE_MAX {
            return Err(Refusal::Clock { seconds });
        }
        check_machine(&this_machine(), &request.machine)?;
        let signed = root.authority.sign(&request.certificate_request);
        let (id, certificate) = signed.map_err(|error| Refusal::Failed(error.to_string()))?;
        let mut address = request.listen;
        if address.ip().is_unspecified() {
            address.set_ip(from.ip());
        }
        let member = Member {
            id,
            name: request.name,
            address,
            role: Role::Worker,
            machine: request.machine,
            joined: now(),
        };
        self.change(|members| members.admit(member).map(drop))?;
        let members = self.members.read().to_list();
        Ok(Welcome { id, certificate: certificate.to_vec(), members })
    }

    fn change_tokens<T>(
        &self,
        root: &Root,
        change: impl FnOnce(&mut TokenBook) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut tokens = root.tokens.lock();
        let mut changed = tokens.clone();
        let result = change(&mut changed)?;
        self.state.store(files::TOKENS, &changed).map_err(|error| Refusal::Failed(error.to_string()))?;
        *tokens = changed;
        Ok(result)
    }

    fn remove(&self, who: MemberId) -> Result<(), Refusal> {
        if self.root.is_none() {
            return Err(self.not_root());
        }
        if who == self.own {
            return Err(Refusal::Failed(
                "the root has the cluster's keys and cannot leave it; stop it with `banyan down`".into(),
            ));
        }
        let remove = |members: &mut Members| members.remove(who).then_some(()).ok_or(Refusal::Stranger(who));
        let ((), sending) = self.change(remove)?;
        // It is out when no other member takes it for one.
        for one in sending {
            let _ = one.join();
        }
        Ok(())
    }

    /// Makes this machine's certificate anew before it is over.
    fn renew_if_due(&self) -> io::Result<()> {
        let current = from_pem(&self.state.text(files::CERTIFICATE).map_err(io::Error::other)?)?;
        if !certificates::is_due(&current) {
            return Ok(());
        }
        let request = self.key.request()?;
        let certificate = match &self.root {
            Some(root) => root.authority.sign(&request)?.1,
            None => match self.ask_root(&ClusterMessage::Renew { certificate_request: request })? {
                ClusterMessage::Renewed { certificate } => CertificateDer::from(certificate),
                ClusterMessage::Refused(refusal) => return Err(io::Error::other(refusal)),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            },
        };
        self.credentials.renew(&self.key.to_der(), &certificate, &self.authority)?;
        self.state.write(files::CERTIFICATE, &to_pem(&certificate)).map_err(io::Error::other)
    }

    /// Does what a person of this machine asks, but for what concerns the node's process.
    pub(crate) fn administer(&self, request: ClusterRequest, jobs: usize) -> AdminAnswer {
        self.try_administer(request, jobs).unwrap_or_else(|refusal| AdminAnswer::Refused(refusal.to_string()))
    }

    fn try_administer(&self, request: ClusterRequest, jobs: usize) -> Result<AdminAnswer, Refusal> {
        let root = || self.root.as_ref().ok_or_else(|| self.not_root());
        let find = |words: &str| {
            let found = self.members.read().find(words).map(|member| member.id);
            found.ok_or_else(|| {
                Refusal::Failed(format!("no member is called {words}; see `banyan node list`"))
            })
        };
        Ok(match request {
            ClusterRequest::Status => AdminAnswer::Status(self.status(jobs)),
            ClusterRequest::NewToken { seconds, uses } => {
                let (root, id, secret) = (root()?, TokenId(random()?), random()?);
                let expires = now().saturating_add(seconds);
                let issued = Issued { id, digest: trust::sha256(&secret), expires, uses, revoked: false };
                self.change_tokens(root, |tokens| {
                    tokens.issue(issued, now());
                    Ok(())
                })?;
                let authority = certificates::key_digest(root.authority.certificate())
                    .map_err(|error| Refusal::Failed(error.to_string()))?;
                let token = Token { cluster: self.id, id, secret, authority }.to_string();
                let address = self.own_place().ok_or_else(|| self.not_root())?.address;
                AdminAnswer::Token(NewToken { token, address, expires })
            }
            ClusterRequest::Tokens => {
                let tokens = root()?.tokens.lock().list();
                let facts = tokens.into_iter().map(|token| TokenFacts {
                    standing: token.standing(now()),
                    id: token.id,
                    expires: token.expires,
                    uses: token.uses,
                });
                AdminAnswer::Tokens(facts.collect())
            }
            ClusterRequest::RevokeToken(id) => {
                self.change_tokens(root()?, |tokens| {
                    let revoked = tokens.revoke(id);
                    let unknown =
                        || Refusal::Failed(format!("there is no token {id}; see `banyan token list`"));
                    if revoked { Ok(()) } else { Err(unknown()) }
                })?;
                AdminAnswer::Done
            }
            ClusterRequest::Remove(words) => {
                let who = find(&words)?;
                self.remove(who)?;
                AdminAnswer::Done
            }
            ClusterRequest::Rename { member, name } => {
                root()?;
                let who = find(&member)?;
                self.change(|members| members.rename(who, &name))?;
                AdminAnswer::Done
            }
            ClusterRequest::Leave => {
                self.leave()?;
                AdminAnswer::Done
            }
            ClusterRequest::Stop => AdminAnswer::Done,
        })
    }

    fn status(&self, jobs: usize) -> Status {
        let mut members = self.reach_others();
        if let Some(own) = self.members.read().get(self.own) {
            members.push(MemberStatus { member: own.clone(), answered_us: Some(0), trouble: None });
        }
        members.sort_by_key(|one| (one.member.role == Role::Worker, one.member.joined, one.member.id));
        Status { cluster: self.id, own: self.own, process: std::process::id(), jobs, page: None, members }
    }

    /// Takes this machine out of the cluster and forgets its keys.
    fn leave(&self) -> Result<(), Refusal> {
        if self.root.is_some() {
            self.remove(self.own)?;
        }
        match self.ask_root(&ClusterMessage::Remove(self.own)) {
            // It was taken out before.
            Ok(ClusterMessage::Taken | ClusterMessage::Refused(Refusal::Stranger(_))) => {}
            Ok(ClusterMessage::Refused(refusal)) => return Err(refusal),
            Ok(_) => return Err(Refusal::Failed("the root answers something else".into())),
            Err(error) => {
                let reason = format!("the root must hear of it and cannot be reached: {error}");
                return Err(Refusal::Failed(reason));
            }
        }
        self.state.clear(files::ALL).map_err(|error| Refusal::Failed(error.to_string()))
    }
}

fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    crate::random::random().map_err(|error| Refusal::Failed(error.to_string()))
}

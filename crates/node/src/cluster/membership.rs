//! The cluster that this machine is in: who belongs to it, as the root company has agreed (`company`), and
//! what this member keeps of it.
//!
//! Every member has a copy of what was agreed on. What it has heard from others that is newer counts too: a
//! list has a version, and each version was agreed on. So a member that was away knows who may speak to it
//! before it has its copy. Not here: what changes the cluster (`leading`), what people ask (`people`), what
//! other machines ask (`answering`), and the first steps of a machine (`joining`).
//!
//! Lock order: `learned` and `authority_key` are taken alone.

use super::admin::{MemberStatus, Seat};
use super::certificates::{self, Authority, MachineKey};
use super::company::{Company, Reach};
use super::leading::Leading;
use super::state::{State, StateError};
use crate::observe::log::{self, Log};
use crate::observe::machine::this_machine;
use crate::observe::page::address::PageToken;
use crate::transport::trust::Credentials;
use crate::transport::{Connection, Trust, read_message};
use banyan_core::membership::{Members, check_machine};
use banyan_wire::cluster::{ClusterId, ClusterMessage, Member, MemberId, MemberList};
use banyan_wire::control::Place;
use banyan_wire::frame;
use banyan_wire::handshake::{Hello, Purpose};
use banyan_wire::ids::JobId;
use parking_lot::{Mutex, RwLock};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime};
use zerocopy::IntoBytes;

/// A member that has not answered within this time is not there now.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// Between two looks at what is due.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);

/// The files of a state.
pub(super) mod files {
    /// What the machine is; written last, so that without it there is nothing.
    pub(crate) const MACHINE: &str = "machine.json";
    pub(crate) const KEY: &str = "machine.key";
    pub(crate) const CERTIFICATE: &str = "machine.crt";
    pub(crate) const AUTHORITY: &str = "authority.crt";
    /// Where the machine votes in the root company only.
    pub(crate) const AUTHORITY_KEY: &str = "authority.key";
    /// The newest list of members that was heard of.
    pub(crate) const MEMBERS: &str = "members.json";
    /// The first machine's, until the company has begun with it.
    pub(crate) const TOKENS: &str = "tokens.json";
    /// The log of the companies.
    pub(crate) const COMPANY: &str = crate::cluster::company::FILE;
    /// What lets browsers of other machines see the node's page; made when it is wanted.
    pub(crate) const PAGE_TOKEN: &str = "page.token";
    /// All of them, what the machine is first.
    pub(crate) const ALL: &[&str] =
        &[MACHINE, KEY, CERTIFICATE, AUTHORITY, AUTHORITY_KEY, MEMBERS, TOKENS, PAGE_TOKEN, COMPANY];
}

/// What [`files::MACHINE`] holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MachineFile {
    pub(super) cluster: ClusterId,
    /// Where the node listens.
    pub(super) listen: SocketAddr,
    /// The mark of the company's log, once there is one: without the very log this machine is not who it was,
    /// for it does not know what it has promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) log: Option<FileMark>,
}

/// A number that a file was given when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileMark(pub(super) [u8; 16]);

/// The cluster, as this member has it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(super) id: ClusterId,
    pub(super) own: MemberId,
    pub(super) state: State,
    pub(super) key: MachineKey,
    pub(super) authority: CertificateDer<'static>,
    /// Where this member votes, or is about to: since when.
    pub(super) authority_key: Mutex<Option<(Arc<Authority>, Instant)>>,
    credentials: Arc<Credentials>,
    pub(super) company: Company,
    /// The newest list that was heard of.
    learned: RwLock<Arc<Members>>,
    pub(super) leading: Leading,
    /// Where this node notes what happens.
    log: Arc<Log>,
}

/// Makes the company's connections; the cluster has the company.
#[derive(Default)]
struct Dialer(OnceLock<Weak<Cluster>>);

impl Reach for Dialer {
    fn dial(&self, member: MemberId, timeout: Duration) -> io::Result<Connection> {
        let away = |why| io::Error::new(io::ErrorKind::NotFound, why);
        let cluster =
            self.0.get().and_then(Weak::upgrade).ok_or_else(|| away("this node has not started yet"))?;
        let member = cluster.members().get(member).cloned().ok_or_else(|| away("it is no member"))?;
        let trust = cluster.trust();
        let connection = trust.dial(&Cluster::place(&member), timeout)?;
        let hello = Hello::new(Purpose::Company, trust.greeting_secret(), JobId(0), 0, 0);
        (&connection).write_all(hello.as_bytes())?;
        Ok(connection)
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A certificate as it is kept.
pub(super) fn to_pem(certificate: &CertificateDer<'_>) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", certificate.as_ref()))
}

pub(super) fn from_pem(text: &str) -> io::Result<CertificateDer<'static>> {
    let block = pem::parse(text).map_err(io::Error::other)?;
    Ok(CertificateDer::from(block.into_contents()))
}

/// Says one thing to a node and hears its answer.
pub(super) fn converse(
    connection: &Connection,
    trust: &Trust,
    message: &ClusterMessage,
    longest: Duration,
) -> io::Result<ClusterMessage> {
    connection.set_read_timeout(Some(longest))?;
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
        let authority_key = match state.read(files::AUTHORITY_KEY)? {
            None => None,
            Some(text) => {
                let read = Authority::from_pem(machine.cluster, &text, authority.clone());
                let read = read.map_err(|error| state.damaged(files::AUTHORITY_KEY, &error))?;
                Some((Arc::new(read), Instant::now()))
            }
        };
        let (id, listen, dialer) = (machine.cluster, machine.listen, Arc::<Dialer>::default());
        let company = open_company(&state, &machine, key.member(), Arc::clone(&dialer) as _)?;
        let cluster = Arc::new(Self {
            id,
            own: key.member(),
            state,
            key,
            authority,
            authority_key: Mutex::new(authority_key),
            credentials: Arc::new(credentials),
            company,
            learned: RwLock::new(Arc::new(members)),
            leading: Leading::default(),
            log: Arc::default(),
        });
        let _ = dialer.0.set(Arc::downgrade(&cluster));
        Ok((cluster, listen))
    }

    /// How this member and the others know each other.
    pub(crate) fn trust(&self) -> Trust {
        Trust::Certificates(Arc::clone(&self.credentials))
    }

    /// The members.
    pub(crate) fn members(&self) -> Arc<Members> {
        let (agreed, learned) = (self.company.agreed(), Arc::clone(&self.learned.read()));
        if agreed.members.version() <= learned.version() {
            return learned;
        }
        let mut learned = self.learned.write();
        if agreed.members.version() > learned.version() {
            *learned = Arc::new(agreed.members.clone());
        }
        Arc::clone(&learned)
    }

    /// What this machine is called.
    pub(crate) fn name(&self) -> String {
        self.name_of(self.own)
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
        self.members().get(self.own).map(Self::place)
    }

    /// What a member is called; its id if it is none any more.
    pub(crate) fn name_of(&self, member: MemberId) -> String {
        self.members().get(member).map_or_else(|| member.to_string(), |member| member.name.clone())
    }

    /// This machine, as the list has it.
    pub(super) fn own_member(&self) -> Option<Member> {
        self.members().get(self.own).cloned()
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
        self.members().all().iter().filter(|member| member.id != self.own).cloned().collect()
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
    pub(super) fn reach_others(&self) -> Vec<MemberStatus> {
        std::thread::scope(|scope| {
            let reach = |member| scope.spawn(move || self.reach(member));
            let asking: Vec<_> = self.others().into_iter().map(reach).collect();
            asking.into_iter().filter_map(|one| one.join().ok()).collect()
        })
    }

    /// Asks a member whether it is there.
    fn reach(&self, member: Member) -> MemberStatus {
        let version = self.members().version();
        let begun = Instant::now();
        let trouble = match self.ask(&member, &ClusterMessage::Ping { version }) {
            Ok(ClusterMessage::Pong { .. }) => None,
            Ok(ClusterMessage::Refused(refusal)) => Some(refusal.to_string()),
            Ok(_) => Some("it answers something else".into()),
            Err(error) => Some(format!("it does not answer: {error}")),
        };
        let answered_us = trouble.is_none().then(|| begun.elapsed().as_micros() as u64);
        MemberStatus { member, seat: Seat::Follower, answered_us, trouble }
    }

    /// Says something to another member, which is reached within a time, and hears its answer within another.
    pub(super) fn ask_within(
        &self,
        member: &Member,
        message: &ClusterMessage,
        reached: Duration,
        answered: Duration,
    ) -> io::Result<ClusterMessage> {
        let trust = self.trust();
        let connection = trust.dial(&Self::place(member), reached)?;
        let answer = converse(&connection, &trust, message, answered);
        connection.close();
        answer
    }

    pub(super) fn ask(&self, member: &Member, message: &ClusterMessage) -> io::Result<ClusterMessage> {
        self.ask_within(member, message, ANSWER_DEADLINE, ANSWER_DEADLINE)
    }

    /// What is due from time to time. Does not return.
    pub(crate) fn keep_up(&self) -> ! {
        loop {
            let _ = self.renew_if_due();
            self.refresh();
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Notes who comes and goes since a list, and keeps the list for the next start. Does not return.
    pub(crate) fn follow(&self, mut before: Arc<Members>) -> ! {
        /// What others have told is noted that late at most.
        const LONGEST: Duration = Duration::from_secs(1);
        loop {
            self.company.standing().wait_beyond(self.company.standing().index(), LONGEST);
            let after = self.members();
            if after.version() != before.version() {
                self.note_changes(&before, &after);
                // Without it the list is asked for at the next start.
                let _ = self.state.store(files::MEMBERS, &after.to_list());
                before = after;
            }
        }
    }

    /// Asks the other members for the list, which one of them may have newer.
    pub(super) fn refresh(&self) {
        std::thread::scope(|scope| {
            for member in self.others() {
                scope.spawn(move || {
                    if let Ok(ClusterMessage::List(Some(list))) =
                        self.ask(&member, &ClusterMessage::List(None))
                    {
                        self.learn(list);
                    }
                });
            }
        });
    }

    /// A list that another member has: it counts if it is newer than what is known.
    fn learn(&self, list: MemberList) {
        let mut learned = self.learned.write();
        if list.version > learned.version() {
            *learned = Arc::new(list.into());
        }
    }

    /// Whether a machine that has shown a certificate of the cluster is a member still, or already.
    pub(crate) fn is_member(&self, member: MemberId) -> bool {
        let knows = || self.members().get(member).is_some();
        knows() || {
            self.refresh();
            knows()
        }
    }

    /// The authority's key, where this member has it.
    pub(super) fn authority(&self) -> Option<Arc<Authority>> {
        self.authority_key.lock().as_ref().map(|(authority, _)| Arc::clone(authority))
    }

    /// Makes this machine's certificate anew before it is over.
    fn renew_if_due(&self) -> io::Result<()> {
        let current = from_pem(&self.state.text(files::CERTIFICATE).map_err(io::Error::other)?)?;
        if !certificates::is_due(&current) {
            return Ok(());
        }
        let request = self.key.request()?;
        let certificate = match self.authority() {
            Some(authority) => authority.sign(&request)?.1,
            None => self.ask_for_certificate(&request)?,
        };
        self.credentials.renew(&self.key.to_der(), &certificate, &self.authority)?;
        self.state.write(files::CERTIFICATE, &to_pem(&certificate)).map_err(io::Error::other)
    }

    /// Any member that has the authority's key signs.
    fn ask_for_certificate(&self, request: &[u8]) -> io::Result<CertificateDer<'static>> {
        let message = ClusterMessage::Renew { certificate_request: request.to_vec() };
        let mut last = io::Error::other("the cluster has no other members");
        for member in self.others() {
            match self.ask(&member, &message) {
                Ok(ClusterMessage::Renewed { certificate }) => return Ok(CertificateDer::from(certificate)),
                Ok(ClusterMessage::Refused(refusal)) => last = io::Error::other(refusal),
                Ok(_) => last = io::ErrorKind::InvalidData.into(),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Forgets that this machine was in the cluster.
    ///
    /// # Errors
    /// [`StateError`].
    pub(super) fn forget(&self) -> Result<(), StateError> {
        self.company.stop();
        self.state.clear(files::ALL)
    }
}

/// Opens the log of the companies of a machine. From then on the machine is not who it was without it.
fn open_company(
    state: &State,
    machine: &MachineFile,
    own: MemberId,
    reach: Arc<dyn Reach>,
) -> Result<Company, StateError> {
    let name = files::COMPANY;
    if machine.log.is_some() && !state.has(name) {
        return Err(state.damaged(name, &"it is missing, and with it what this machine has promised others"));
    }
    let company =
        Company::open(state.directory(), own, reach).map_err(|error| state.damaged(name, &error))?;
    let mark = FileMark(company.owner().file);
    match machine.log {
        Some(log) if log != mark => {
            return Err(state.damaged(name, &"it is another file than the one that this machine had"));
        }
        Some(_) => {}
        None => state.store(files::MACHINE, &MachineFile { log: Some(mark), ..machine.clone() })?,
    }
    Ok(company)
}

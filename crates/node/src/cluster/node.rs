//! A node: the life of one daemon on a machine, and the jobs that are on it.
//!
//! It listens in two places: for processes of this machine that want to begin a job, and for the other nodes.
//! A job that a process asks for has its home here; the other nodes are asked to join it. Which nodes there
//! are it was told when it was started, or its cluster knows (`membership`).
//!
//! Threads: the main one accepts the processes of this machine, and one answers each; one accepts connections
//! from other nodes; one greets each of those; and one follows each job (`crate::job`).

use super::admin::{AdminAnswer, AdminRequest, Drain, Status};
use super::jobs::Jobs;
use super::local::{self, JobQuestion, Question};
use super::local_nodes::{NodeSettings, Spares};
use super::membership::Cluster;
use super::queries;
use super::services::{self, Services};
use super::state::{State, StateError, socket_of};
use super::ungreeted::Ungreeted;
use crate::job::invitation::{Invitation, JOIN_DEADLINE, Pools, Presence, Start};
use crate::job::places::{Growth, Places};
use crate::job::settings::Nodes;
use crate::job::{Job, JobFacts};
use crate::observe::log::{self, Log};
use crate::observe::page::Page;
use crate::observe::page::address::PageToken;
use crate::observe::sql::{self, Facts, LeftConnections, Served};
use crate::random::random;
use crate::report::Report;
use crate::sys::descriptors;
use crate::transport::{self, Caller, ConnectError, Connection, Trust};
use banyan_wire::cluster::{ClusterMessage, Refusal};
use banyan_wire::control::{ControlMessage, JobPart, Place};
use banyan_wire::frame;
use banyan_wire::handshake::{HelloError, Purpose};
use banyan_wire::ids::JobId;
use banyan_wire::services::ServiceQuestion;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// Connections of members that agree with this one on what the cluster is: each has one as leader and one
/// for a vote, and another while the last is ending.
const COMPANIONS_MAX: usize = 4 * banyan_core::membership::MEMBERS_MAX;

/// Why a node cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A socket of it.
    #[error("{what}: {source}")]
    Socket {
        /// Which.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another node has the place.
    #[error("{0}: a node listens there already; choose another path")]
    InUse(String),
    /// What it keeps of its cluster.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What a node that is being drained says to who would use it.
const TAKES_NONE: &str = "it takes no programs now; `banyan node resume` there changes that";

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(super) name: String,
    pub(super) trust: Trust,
    pub(super) neighbours: Neighbours,
    pub(super) jobs: Jobs<Job>,
    /// Nodes of a run that are not started yet.
    pub(super) spares: Arc<Spares>,
    /// What happened here.
    pub(super) log: Arc<Log>,
    /// Processes of this machine that have queries answered, and nodes that read tables.
    queries: Served,
    readers: Served,
    /// Members that agree with this one on what the cluster is.
    companions: Served,
    /// What processes of this machine serve to the cluster.
    services: Services,
    pub(super) left_connections: LeftConnections,
    ungreeted: Ungreeted,
    /// No program of another machine is to be here.
    draining: AtomicBool,
    /// Where its page is, if it serves one.
    page: OnceLock<String>,
    report: Report,
    own: Weak<Self>,
}

/// The other nodes that a node knows.
#[derive(Debug)]
pub(super) enum Neighbours {
    /// Those that it was started with.
    Told {
        /// Where it listens itself.
        own: SocketAddr,
        peers: Vec<SocketAddr>,
        /// They were started for one run and are called by their numbers; this one has this number.
        number: Option<usize>,
    },
    /// The members of its cluster.
    Cluster(Arc<Cluster>),
}

/// Serves the one run that a node is started for: until the process that started it has closed its socket, or
/// become the program, and every job has ended.
///
/// # Errors
/// [`NodeError`].
pub fn serve_run(settings: NodeSettings) -> Result<(), NodeError> {
    let take = |number, what: &str| {
        descriptors::take(number).map_err(|source| NodeError::Socket { what: what.into(), source })
    };
    let local = take(settings.local, "the socket to its starter")?;
    let listener = TcpListener::from(take(settings.listener, "its listening socket")?);
    let failed = |source| NodeError::Socket { what: "its listening socket".into(), source };
    let own = listener.local_addr().map_err(failed)?;
    let spares = settings.spares.iter().map(|&number| take(number, "a socket of another node"));
    let device = settings.fault_device.map(|number| take(number, "the device of page faults")).transpose()?;
    let spares = Spares::new(&settings, own, spares.collect::<Result<_, _>>()?, device);
    // Another process group: the terminal's signals are the program's. Of the same session: the kernel
    // schedules each session as a group of its own (`CONFIG_SCHED_AUTOGROUP`, sched(7)), and a thread that
    // came to the group of a node waited for seconds while others computed.
    let _ = rustix::process::setpgid(None, None);
    let page = match settings.page {
        Some(page) => Some((take(page.listener, "the socket of its page")?, PageToken::new(page.secret))),
        None => None,
    };
    let node = Node::start_told(Some(settings.name), settings.secret, listener, settings.peers, spares)?;
    if let Some((listener, token)) = page {
        node.show(listener.into(), token, own.ip())?;
    }
    let name = local::run_socket();
    // For who looks at the run; without it the run goes on.
    if let Ok(people) = listen_at(&name) {
        node.thread("people", move |node| drop(node.serve_processes(&people, &name)));
    }
    node.serve_process(&local);
    node.jobs.wait_until_empty();
    Ok(())
}

/// Serves every process of this user that connects to the socket at `path`, and the nodes that share
/// `secret`. Calls `ready` with the address for other nodes when both can be reached.
///
/// # Errors
/// [`NodeError`].
pub fn serve_machine(
    path: &Path,
    listen: SocketAddr,
    secret: [u8; 16],
    peers: Vec<SocketAddr>,
    ready: impl FnOnce(SocketAddr),
) -> Result<std::convert::Infallible, NodeError> {
    let failed = |what: String| move |source| NodeError::Socket { what, source };
    let listener = TcpListener::bind(listen).map_err(failed(listen.to_string()))?;
    let local = listen_at(path)?;
    let address = listener.local_addr().map_err(failed(listen.to_string()))?;
    let node = Node::start_told(None, secret, listener, peers, Spares::default())?;
    ready(address);
    node.serve_processes(&local, path)
}

/// The listening socket that was inherited by number.
///
/// # Errors
/// The system's.
pub fn inherited_listener(number: i32) -> io::Result<TcpListener> {
    descriptors::take(number).map(TcpListener::from)
}

/// Serves as the node of the cluster whose state is in a directory, until a person stops it. It listens for
/// other nodes on `listener`, or where it did before, and serves a page on `page`. Calls `ready` with its
/// name and the address for other nodes when all can be reached.
///
/// # Errors
/// [`NodeError`].
pub fn serve_member(
    directory: &Path,
    listener: Option<i32>,
    page: Option<TcpListener>,
    ready: impl FnOnce(&str, SocketAddr),
) -> Result<std::convert::Infallible, NodeError> {
    let failed = |what: String| move |source| NodeError::Socket { what, source };
    // A session without a terminal: what is typed there is meant for others.
    let _ = rustix::process::setsid();
    let (cluster, listen) = Cluster::open(State::take(directory)?)?;
    let listener = match listener {
        Some(number) => inherited_listener(number),
        None => TcpListener::bind(listen),
    };
    let listener = listener.map_err(failed(listen.to_string()))?;
    let path = socket_of(directory);
    let local = listen_at(&path)?;
    let (name, trust) = (cluster.name(), cluster.trust());
    cluster.begin_if_first();
    // Before anybody can join.
    let members = cluster.members();
    let node = Node::start(
        name.clone(),
        trust,
        listener,
        Neighbours::Cluster(Arc::clone(&cluster)),
        Spares::default(),
    )?;
    let address = cluster.own_place().map_or(listen, |place| place.address);
    if let Some(page) = page {
        node.show(page, cluster.page_token()?, address.ip())?;
    }
    ready(&name, address);
    let (follows, looks_after) = (Arc::clone(&cluster), Arc::clone(&cluster));
    node.thread("keep up", move |_| cluster.keep_up());
    node.thread("follow", move |_| follows.follow(members));
    node.thread("look after", move |_| looks_after.look_after());
    node.serve_processes(&local, &path)
}

/// A socket at `path` that only this user can connect to.
fn listen_at(path: &Path) -> Result<OwnedFd, NodeError> {
    let named = || path.display().to_string();
    let failed = |source: rustix::io::Errno| NodeError::Socket { what: named(), source: source.into() };
    let address = local::address(path).map_err(|source| NodeError::Socket { what: named(), source })?;
    let new_socket = || {
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(failed)
    };
    if rustix::net::connect(&new_socket()?, &address).is_ok() {
        return Err(NodeError::InUse(named()));
    }
    let is_file = address.abstract_name().is_none();
    if is_file {
        // What a node has left that was killed.
        let _ = std::fs::remove_file(path);
    }
    let socket = new_socket()?;
    rustix::net::bind(&socket, &address).map_err(failed)?;
    if is_file {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::chmod(path, mode).map_err(failed)?;
    }
    rustix::net::listen(&socket, 16).map_err(failed)?;
    Ok(socket)
}

impl Node {
    fn start_told(
        name: Option<String>,
        secret: [u8; 16],
        listener: TcpListener,
        peers: Vec<SocketAddr>,
        spares: Spares,
    ) -> Result<Arc<Self>, NodeError> {
        let own = listener.local_addr();
        let own = own.map_err(|source| NodeError::Socket { what: "its listening socket".into(), source })?;
        let number = name.as_deref().and_then(|name| name.rsplit(' ').next()?.parse().ok());
        let name = name.unwrap_or_else(|| own.to_string());
        Self::start(name, Trust::Secret(secret), listener, Neighbours::Told { own, peers, number }, spares)
    }

    fn start(
        name: String,
        trust: Trust,
        listener: TcpListener,
        neighbours: Neighbours,
        spares: Spares,
    ) -> Result<Arc<Self>, NodeError> {
        // A limit on file sizes is meant for the programs' files, not for their memory.
        let files = rustix::process::getrlimit(rustix::process::Resource::Fsize);
        let raised = rustix::process::Rlimit { current: files.maximum, ..files };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Fsize, raised);
        let failed = |source| NodeError::Socket { what: "its standard error".into(), source };
        let report = Report::own().map_err(failed)?;
        let log = match &neighbours {
            Neighbours::Cluster(cluster) => Arc::clone(cluster.log()),
            Neighbours::Told { .. } => Arc::default(),
        };
        log.note(log::Kind::Start, None, format!("{name} has started"));
        let node = Arc::new_cyclic(|own| Self {
            name,
            trust,
            neighbours,
            jobs: Jobs::default(),
            spares: Arc::new(spares),
            log,
            queries: Served::default(),
            readers: Served::default(),
            companions: Served::default(),
            services: Services::default(),
            left_connections: LeftConnections::default(),
            ungreeted: Ungreeted::default(),
            draining: AtomicBool::new(false),
            page: OnceLock::new(),
            report,
            own: Weak::clone(own),
        });
        node.thread("accept", move |node| node.accept(&listener));
        Ok(node)
    }

    fn thread(&self, name: &str, body: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let Some(own) = self.own.upgrade() else { return };
        if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(move || body(&own)) {
            self.report.notice(&format!("{}: a thread could not be started: {error}", self.name));
        }
    }

    /// Serves its page, and names it by `own` if it listens on all addresses.
    fn show(&self, listener: TcpListener, token: PageToken, own: IpAddr) -> Result<(), NodeError> {
        let failed = |source| NodeError::Socket { what: "its page".into(), source };
        let page = Page::new(listener, token).map_err(failed)?;
        let url = page.url(Some(own));
        if let Some(facts) = self.facts() {
            page.start(facts).map_err(failed)?;
            let _ = self.page.set(url);
        }
        Ok(())
    }

    /// Serves every process of this user that connects to the socket.
    fn serve_processes(&self, local: &OwnedFd, path: &Path) -> Result<std::convert::Infallible, NodeError> {
        loop {
            let process = match rustix::net::accept_with(local, SocketFlags::CLOEXEC) {
                Ok(process) => process,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    return Err(NodeError::Socket { what: path.display().to_string(), source: error.into() });
                }
            };
            if local::may_ask(process.as_fd()) {
                self.thread("process", move |node| node.serve_process(&process));
            }
        }
    }

    /// Begins the jobs that a process of this machine asks for, and answers what it asks about the cluster,
    /// until it closes its socket.
    fn serve_process(&self, process: &OwnedFd) {
        loop {
            match local::next(process.as_fd()) {
                Ok(Some(Question::Job(question))) => {
                    let answer = self.begin(question);
                    // A process that has gone has closed its request socket too, which ends the job.
                    let _ = local::answer(process.as_fd(), &answer);
                }
                Ok(Some(Question::Admin(request))) => self.administer(process, request),
                Ok(Some(Question::Query(sql, bounded))) => {
                    let Some(facts) = self.facts() else { return };
                    // Who has gone wants no answer.
                    let _ = queries::answer(&facts, &self.queries, process, &sql, bounded);
                }
                // It closes its socket, or asks nothing more.
                Ok(Some(Question::Service(question))) => {
                    if self.service(process, question).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    self.report.notice(&format!("{}: a process was not served: {error}", self.name));
                    return;
                }
            }
        }
    }

    fn service(&self, process: &OwnedFd, question: ServiceQuestion) -> io::Result<()> {
        match (question, &self.neighbours) {
            (ServiceQuestion::Serve { name }, Neighbours::Cluster(cluster)) => {
                cluster.serve_as(&self.services, process, &name)
            }
            (ServiceQuestion::Reach { name, wait_ms }, Neighbours::Cluster(cluster)) => {
                let wait = Duration::from_millis(wait_ms.into());
                cluster.reach_service(&self.services, process, &name, wait)
            }
            (_, Neighbours::Told { .. }) => services::refuse(process, "this node is in no cluster"),
        }
    }

    /// This node, as its tables see it.
    fn facts(&self) -> Option<Arc<dyn Facts>> {
        self.own.upgrade().map(|node| node as _)
    }

    fn administer(&self, process: &OwnedFd, request: AdminRequest) {
        let ends = request.ends_node();
        let answer = match (request, &self.neighbours) {
            (AdminRequest::Jobs, _) => {
                AdminAnswer::Jobs(self.jobs.all().iter().filter_map(|job| job.status()).collect())
            }
            (AdminRequest::Drain(drain), Neighbours::Cluster(_)) => self.drain(drain),
            (AdminRequest::Drain(_), Neighbours::Told { .. }) => {
                AdminAnswer::Refused("this node is in no cluster".into())
            }
            (AdminRequest::Move { process: program, thread, node }, _) => {
                self.move_thread(program, thread, node).unwrap_or_else(AdminAnswer::Refused)
            }
            (AdminRequest::Cluster(_), Neighbours::Told { .. }) => {
                AdminAnswer::Refused("this node is in no cluster".into())
            }
            (AdminRequest::Cluster(_), Neighbours::Cluster(_)) if ends && !self.jobs.is_empty() => {
                AdminAnswer::Refused("programs are running on this node; stop them first".into())
            }
            (AdminRequest::Cluster(request), Neighbours::Cluster(cluster)) => {
                match cluster.administer(request, self.jobs.count()) {
                    AdminAnswer::Status(status) => {
                        AdminAnswer::Status(Status { page: self.page.get().cloned(), ..status })
                    }
                    other => other,
                }
            }
        };
        let _ = local::answer_person(process.as_fd(), &answer);
        if let (Neighbours::Cluster(cluster), AdminAnswer::Done, true) = (&self.neighbours, &answer, ends) {
            let _ = std::fs::remove_file(socket_of(cluster.directory()));
            std::process::exit(0);
        }
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Has programs of other machines go, and lets none come; or lets them come again.
    fn drain(&self, drain: Drain) -> AdminAnswer {
        let before = self.draining.swap(drain == Drain::Begin, Ordering::AcqRel);
        if before != (drain == Drain::Begin) {
            let text =
                if before { "programs may come here again" } else { "programs are to leave this node" };
            self.log.note(log::Kind::Leave, None, text.to_owned());
        }
        if drain == Drain::End {
            return AdminAnswer::Here(Vec::new());
        }
        let jobs = self.jobs.all();
        jobs.iter().for_each(|job| job.ask_to_leave());
        AdminAnswer::Here(jobs.iter().map(|job| job.here()).collect())
    }

    fn move_thread(&self, process: u32, thread: u32, node: u8) -> Result<AdminAnswer, String> {
        let jobs = self.jobs.all();
        let job = jobs.iter().find(|job| job.is_home_of(process));
        let job = job.ok_or_else(|| {
            format!("no program with process id {process} has its home on this node; see `banyan job list`")
        })?;
        job.move_for_person(thread, node)
    }

    /// The nodes of a job that begins here, this one first.
    fn places(&self, wanted: &Nodes) -> Result<Vec<Place>, String> {
        if let Nodes::Named(names) = wanted {
            return self.named_places(names);
        }
        let (own, mut others, missing) = match &self.neighbours {
            Neighbours::Told { own, peers, .. } => {
                let told = |&address: &SocketAddr| Place { address, member: None };
                (told(own), peers.iter().map(told).collect(), Vec::new())
            }
            // One node needs no other.
            Neighbours::Cluster(cluster) => {
                let own = cluster.own_place().ok_or("this node is no longer a member of its cluster")?;
                let (others, missing) =
                    if *wanted == Nodes::Exactly(1) { Default::default() } else { cluster.ready_others() };
                (own, others, missing)
            }
        };
        if let Nodes::Exactly(count) = *wanted {
            let found = others.len() + 1;
            if found < usize::from(count) {
                let why: String = missing.iter().map(|reason| format!("; {reason}")).collect();
                return Err(format!("{count} nodes are asked for, {found} are here{why}"));
            }
            others.truncate(usize::from(count.max(1)) - 1);
        }
        others.insert(0, own);
        Ok(others)
    }

    /// This node and the members of these names.
    fn named_places(&self, names: &[String]) -> Result<Vec<Place>, String> {
        let Neighbours::Cluster(cluster) = &self.neighbours else {
            return Err("machines are named in a cluster, and this node is in none".into());
        };
        let mut places = vec![cluster.own_place().ok_or("this node is no longer a member of its cluster")?];
        for name in names {
            let members = cluster.members();
            let unknown = || format!("no member is called {name}; see `banyan node list`");
            let member = members.find(name).ok_or_else(unknown)?;
            if places.iter().all(|place| place.member != Some(member.id)) {
                let place = cluster.ready_place(member);
                places.push(place.map_err(|reason| format!("{}: {reason}", member.name))?);
            }
        }
        Ok(places)
    }

    /// Begins a job whose home is here: the other nodes join it while its program is loaded, or when they are
    /// needed.
    fn begin(&self, question: JobQuestion) -> Result<(), String> {
        let JobQuestion { settings, requests, errors } = question;
        // On all nodes are those, too, that will join.
        let growing = match &self.neighbours {
            Neighbours::Cluster(cluster) if settings.nodes == Nodes::All => Some(Arc::clone(cluster)),
            _ => None,
        };
        let growth = if growing.is_some() { Growth::Open } else { Growth::Fixed };
        let places = Arc::new(Places::new(self.places(&settings.nodes)?, growth));
        let id = random().map_err(|error| error.to_string())?;
        let facts = JobFacts {
            id: JobId(u32::from_ne_bytes(id)),
            trust: self.trust.clone(),
            places,
            log: Arc::clone(&self.log),
            fault_device: self.spares.fault_device(),
        };
        let invitation = Invitation::new(&facts, &settings, Arc::clone(&self.spares));
        let start = Start::of(&settings);
        std::thread::scope(|scope| {
            let call = || if start == Start::AtOnce { invitation.call(Pools::All) } else { Ok(()) };
            let joining = scope.spawn(call);
            let presence = Presence::new(start, facts.places.count(), invitation.clone());
            let job = Job::at_home(&facts, &settings, presence, Report::new(errors))?;
            if !self.jobs.insert(facts.id, Arc::clone(&job)) {
                return Err(format!("{} is here already", facts.id));
            }
            let joined =
                joining.join().unwrap_or_else(|_| Err("a thread that asks nodes to join panicked".into()));
            let begun = joined.and_then(|()| job.begin_at_home(requests));
            match begun {
                Ok(()) => {
                    self.follow(&job);
                    if let Some(cluster) = growing {
                        job.grow_with(cluster);
                    }
                    Ok(())
                }
                Err(reason) => {
                    job.close();
                    self.jobs.remove(facts.id);
                    Err(reason)
                }
            }
        })
    }

    /// Takes part in a job of another home.
    fn join(&self, id: JobId, part: JobPart) -> Result<(), String> {
        if self.is_draining() {
            return Err(TAKES_NONE.into());
        }
        let places = Arc::new(Places::of_job(part.places.clone(), &part.left));
        let (trust, log) = (self.trust.clone(), Arc::clone(&self.log));
        let fault_device = self.spares.fault_device();
        let facts = JobFacts { id, trust, places, log, fault_device };
        let job = Job::elsewhere(facts, part)?;
        if !self.jobs.insert(id, Arc::clone(&job)) {
            return Err(format!("{id} is here already"));
        }
        self.follow(&job);
        Ok(())
    }

    /// Follows a job in a new thread until it ends.
    fn follow(&self, job: &Arc<Job>) {
        let job = Arc::clone(job);
        let id = job.id();
        let text = format!("{} begins as {} of {}", job.program(), job.node(), job.nodes());
        self.log.note(log::Kind::Begin, Some(id), text);
        self.thread("job", move |node| {
            job.follow();
            job.close();
            job.wait_for_copies();
            node.jobs.remove(id);
            node.log.note(log::Kind::End, Some(id), format!("{} has ended", job.program()));
        });
    }

    fn accept(&self, listener: &TcpListener) {
        loop {
            let Ok((connection, address)) = Connection::accept(listener) else { continue };
            let Ok(number) = self.ungreeted.arrive(&connection) else { continue };
            // Greeting may take as long as a stranger keeps silent: each in a new thread.
            self.thread("greet", move |node| {
                let greeted = node.greet(connection, address, number);
                node.ungreeted.leave(number);
                if let Err(error) = greeted {
                    node.report.notice(&format!("{}: {error}", node.name));
                }
            });
        }
    }

    /// Whether who has connected is one of those that this node knows.
    fn admits(&self, caller: Caller) -> bool {
        match (&self.neighbours, caller) {
            (Neighbours::Cluster(cluster), Caller::Member(member)) => cluster.is_member(member),
            (Neighbours::Told { .. }, Caller::Unproved) => true,
            _ => false,
        }
    }

    fn greet(&self, connection: Connection, address: SocketAddr, ungreeted: u64) -> Result<(), ConnectError> {
        let silent = |source| ConnectError::Silent { address, source };
        let (connection, caller) = self.trust.admit(connection).map_err(silent)?;
        let (hello, purpose) = transport::greet(&connection, address, self.trust.greeting_secret())?;
        let id = JobId(hello.job);
        let refused = |source| ConnectError::Greeting { address, source };
        if purpose == Purpose::Cluster {
            return self.talk_about_cluster(&connection, caller, address).map_err(silent);
        }
        if !self.admits(caller) {
            // One that is out and has not heard of it asks for votes again and again.
            return if purpose == Purpose::Company { Ok(()) } else { Err(refused(HelloError::Secret)) };
        }
        self.ungreeted.leave(ungreeted);
        if let (Purpose::Company, Neighbours::Cluster(cluster)) = (purpose, &self.neighbours) {
            let Some(_serving) = self.companions.begin(COMPANIONS_MAX) else { return Ok(()) };
            return cluster.take_part(caller, &connection).map_err(silent);
        }
        if let (Purpose::Service, Neighbours::Cluster(cluster)) = (purpose, &self.neighbours) {
            return cluster.admit_caller(&self.services, connection).map_err(silent);
        }
        if purpose == Purpose::Tables {
            let Some(facts) = self.facts() else { return Ok(()) };
            let still = || self.admits(caller);
            return sql::serve(&facts, &self.readers, &connection, &still).map_err(silent);
        }
        if purpose == Purpose::Job {
            let ControlMessage::Join(part) = transport::read_message(&mut &connection).map_err(silent)?
            else {
                return Err(silent(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "not a message that asks to join",
                )));
            };
            let answer = ControlMessage::Joined(self.join(id, part));
            return (&connection).write_all(&frame::encode(&answer)).map_err(silent);
        }
        let job = self.jobs.find(id, JOIN_DEADLINE).ok_or_else(|| refused(HelloError::Job(id)))?;
        hello.check_member(id, job.node().get(), job.nodes()).map_err(refused)?;
        if !job.is_node(hello.node, caller.member()) {
            return Err(refused(HelloError::Node(hello.node)));
        }
        transport::answer(&connection, address, &hello, job.node())?;
        job.arrived(&hello, purpose, connection);
        Ok(())
    }

    /// Answers the one thing that another machine says about the cluster.
    fn talk_about_cluster(
        &self,
        mut connection: &Connection,
        caller: Caller,
        address: SocketAddr,
    ) -> io::Result<()> {
        let message: ClusterMessage = transport::read_message(&mut connection)?;
        let answer = match &self.neighbours {
            Neighbours::Cluster(cluster) => match cluster.answer(caller, address, message) {
                ClusterMessage::Pong { .. } if self.is_draining() => {
                    ClusterMessage::Refused(Refusal::Failed(TAKES_NONE.into()))
                }
                answer => answer,
            },
            Neighbours::Told { .. } => return Err(io::ErrorKind::Unsupported.into()),
        };
        connection.write_all(&frame::encode(&answer))?;
        // What was sent must arrive before the connection ends.
        connection.flush()
    }
}

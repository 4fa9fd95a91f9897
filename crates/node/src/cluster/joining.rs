//! The first steps of a machine in a cluster: making one, or joining one with a token.
//!
//! They are taken by the command that a person types, before there is a node: it leaves a state from which
//! the node starts.

use super::certificates::{Authority, MachineKey};
use super::membership::{ANSWER_DEADLINE, MachineFile, converse, files, now, to_pem};
use super::state::{State, StateError};
use crate::observe::machine::this_machine;
use crate::transport::Trust;
use crate::transport::trust::dial_as_stranger;
use banyan_core::membership::{Members, Token, TokenBook, TokenError};
use banyan_wire::cluster::{ClusterId, ClusterMessage, JoinRequest, Member, MemberList, Refusal, Welcome};
use rustls::pki_types::CertificateDer;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

/// The member that is asked may have to wait until the cluster has one that leads.
const ADMISSION_DEADLINE: Duration = ANSWER_DEADLINE.saturating_add(super::leading::ORDER_DEADLINE);

/// Why a machine is in no cluster.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Its state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The token is none.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Keys could not be made.
    #[error("making keys: {0}")]
    Keys(io::Error),
    /// The other machine cannot be reached.
    #[error("{address}: {source}; is a node listening there?")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Who listens there is not of the token's cluster.
    #[error(
        "{address}: who listens there is not of the token's cluster, and was not told the token: {reason}"
    )]
    Impostor {
        /// Where.
        address: SocketAddr,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// The cluster does not take it.
    #[error("{address}: {refusal}")]
    Refused {
        /// Who says so.
        address: SocketAddr,
        /// Why.
        refusal: Refusal,
    },
    /// An answer that is none.
    #[error("{0} answers something that is no answer; is it a node of this version?")]
    Answer(SocketAddr),
}

/// What a machine is to be in a cluster.
#[derive(Clone, Debug)]
pub struct Newcomer<'a> {
    /// Where its state goes.
    pub state: &'a Path,
    /// Where its node will listen; other machines reach it there, or at the address they see.
    pub listen: SocketAddr,
    /// What it is called; empty if anything is right.
    pub name: &'a str,
}

/// Whether there is a cluster in a state.
///
/// # Errors
/// [`StateError`]: a node is running with it.
pub fn is_member(state: &Path) -> Result<bool, StateError> {
    Ok(State::take(state)?.has(files::MACHINE))
}

/// Where the node of a state listens.
///
/// # Errors
/// [`StateError`].
pub fn listen_address(state: &Path) -> Result<SocketAddr, StateError> {
    let state = State::take(state)?;
    if !state.has(files::MACHINE) {
        return Err(StateError::Empty(state.directory().into()));
    }
    Ok(state.load::<MachineFile>(files::MACHINE)?.listen)
}

/// Makes a cluster whose first member is this machine.
///
/// # Errors
/// [`JoinError`].
pub fn create(newcomer: &Newcomer<'_>) -> Result<Member, JoinError> {
    let state = empty_state(newcomer.state)?;
    let cluster = ClusterId(crate::random::random().map_err(JoinError::Keys)?);
    let authority = Authority::create(cluster).map_err(JoinError::Keys)?;
    let key = MachineKey::generate().map_err(JoinError::Keys)?;
    let (id, certificate) =
        key.request().and_then(|request| authority.sign(&request)).map_err(JoinError::Keys)?;
    let mut address = newcomer.listen;
    if address.ip().is_unspecified() {
        address.set_ip(own_address());
    }
    let (name, machine) = (newcomer.name.to_owned(), this_machine());
    let mut members = Members::default();
    let first = Member { id, name, address, machine, joined: now() };
    let first = members.admit(first).map_err(|refusal| JoinError::Refused { address, refusal })?.clone();
    state.write(files::AUTHORITY_KEY, &authority.key_to_pem())?;
    state.store(files::TOKENS, &TokenBook::default())?;
    keep(&state, &key, &certificate, authority.certificate(), &members.to_list())?;
    state.store(files::MACHINE, &MachineFile { cluster, listen: newcomer.listen, log: None })?;
    Ok(first)
}

/// Joins a cluster with a token, which is not said before it is sure that who listens is of that cluster.
///
/// # Errors
/// [`JoinError`].
pub fn join(newcomer: &Newcomer<'_>, address: SocketAddr, token: &str) -> Result<Member, JoinError> {
    let token: Token = token.parse()?;
    let state = empty_state(newcomer.state)?;
    let key = MachineKey::generate().map_err(JoinError::Keys)?;
    let request = JoinRequest {
        cluster: token.cluster,
        token: token.id,
        secret: token.secret,
        certificate_request: key.request().map_err(JoinError::Keys)?,
        name: newcomer.name.to_owned(),
        listen: newcomer.listen,
        machine: this_machine(),
        now: now(),
    };
    let (welcome, authority) = ask(address, &token, &request)?;
    let Welcome { id, certificate, members } = welcome;
    let own = members.members.iter().find(|member| member.id == id && id == key.member()).cloned();
    let own = own.ok_or(JoinError::Answer(address))?;
    keep(&state, &key, &CertificateDer::from(certificate), &authority, &members)?;
    state
        .store(files::MACHINE, &MachineFile { cluster: token.cluster, listen: newcomer.listen, log: None })?;
    Ok(own)
}

fn empty_state(directory: &Path) -> Result<State, StateError> {
    let state = State::take(directory)?;
    if state.has(files::MACHINE) {
        return Err(StateError::Taken(directory.into()));
    }
    // What an attempt has left that was cut off.
    state.clear(files::ALL)?;
    Ok(state)
}

fn keep(
    state: &State,
    key: &MachineKey,
    certificate: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
    members: &MemberList,
) -> Result<(), StateError> {
    state.write(files::KEY, &key.to_pem())?;
    state.write(files::CERTIFICATE, &to_pem(certificate))?;
    state.write(files::AUTHORITY, &to_pem(authority))?;
    state.store(files::MEMBERS, members)
}

fn ask(
    address: SocketAddr,
    token: &Token,
    request: &JoinRequest,
) -> Result<(Welcome, CertificateDer<'static>), JoinError> {
    let unreachable = |source: io::Error| match source.kind() {
        io::ErrorKind::InvalidData => JoinError::Impostor { address, reason: source.to_string() },
        _ => JoinError::Unreachable { address, source },
    };
    let (connection, authority) =
        dial_as_stranger(address, token.cluster, token.authority).map_err(unreachable)?;
    // TLS has shown who listens; there is no secret between nodes of a cluster.
    let message = ClusterMessage::Join(request.clone());
    let answer = converse(&connection, &Trust::Secret([0; 16]), &message, ADMISSION_DEADLINE);
    connection.close();
    match answer.map_err(|source| JoinError::Unreachable { address, source })? {
        ClusterMessage::Welcome(welcome) => Ok((welcome, authority)),
        ClusterMessage::Refused(refusal) => Err(JoinError::Refused { address, refusal }),
        _ => Err(JoinError::Answer(address)),
    }
}

/// The address from which this machine speaks to others. Connecting a datagram socket sends nothing
/// (connect(2)); the address is one for documentation (RFC 5737).
fn own_address() -> IpAddr {
    let probe = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    };
    probe().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

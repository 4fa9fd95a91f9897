//! What a fuzzer calls: what processes of this machine ask a node and are answered, the files that a machine
//! keeps, and certificates with the requests for them.
//!
//! Not for what other machines say once they are let in: `banyan_wire::fuzz` and `company` have that.

use super::admin::{AdminAnswer, AdminRequest, ClusterRequest, Drain};
use super::certificates::{self, Authority, MachineKey};
use super::local::{self, Question};
use super::local_nodes::NodeSettings;
use super::membership::MachineFile;
use super::queries;
use crate::detached::{Beginning, Ending};
use crate::job::replica::socket_pair;
use crate::job::settings::JobSettings;
use crate::transport::trust;
use banyan_core::membership::{Issued, TokenBook, Uses};
use banyan_wire::cluster::{ClusterId, MemberList, TokenId};
use banyan_wire::frame::{self, LENGTH_BYTES};
use banyan_wire::sql::QueryMessage;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// A question to the node of this machine: after a byte that is not 0 the packet, after a 0 the settings of a
/// job, which travel beside it.
///
/// # Panics
/// When decoding is wrong, or the system has no descriptors.
pub fn question(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let rest = &rest[..rest.len().min(local::PACKET_MAX)];
    let (ours, theirs) = socket_pair().expect("the system has descriptors");
    let sent = if *kind == 0 {
        let memory = rustix::fs::memfd_create("settings", rustix::fs::MemfdFlags::CLOEXEC);
        let mut memory = File::from(memory.expect("the system has descriptors"));
        memory.write_all(rest).expect("memory has room");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let files = [memory.as_fd(), theirs.as_fd(), theirs.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&files)), "there is space for three");
        rustix::net::sendmsg(&ours, &[IoSlice::new(local::BEGIN)], &mut ancillary, SendFlags::NOSIGNAL)
    } else {
        rustix::net::send(&ours, rest, SendFlags::NOSIGNAL)
    };
    sent.expect("a packet fits");
    match local::next(theirs.as_fd()) {
        Ok(Some(Question::Admin(request))) => same(&request),
        Ok(Some(Question::Job(job))) => same(&job.settings),
        Ok(Some(Question::Query(sql, bounded))) => {
            let again = frame::encode(&QueryMessage::Ask { sql, bounded });
            assert_eq!([queries::QUERY, &again[LENGTH_BYTES..]].concat(), rest, "two spellings of a query");
        }
        Ok(Some(Question::Service(question))) => {
            assert_eq!(question.packet(), rest, "two spellings of a question about a service");
        }
        Ok(None) => assert!(rest.is_empty() && *kind != 0, "only a closed socket asks nothing"),
        // Why it is refused is for people.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What is kept or answered as JSON; the first byte says as what it is read.
///
/// # Panics
/// When decoding is wrong.
pub fn json(bytes: &[u8]) {
    let Some((kind, text)) = bytes.split_first() else { return };
    match kind % 7 {
        0 => as_json::<AdminAnswer>(text),
        1 => as_json::<MachineFile>(text),
        2 => as_json::<MemberList>(text),
        3 => as_json::<TokenBook>(text),
        4 => as_json::<NodeSettings>(text),
        5 => as_json::<Beginning>(text),
        _ => as_json::<Ending>(text),
    }
}

fn as_json<T: Serialize + DeserializeOwned>(text: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(text) {
        same(&value);
    }
}

/// JSON has many spellings of a value; ours is read as that value again.
fn same<T: Serialize + DeserializeOwned>(value: &T) {
    let once = serde_json::to_vec(value).expect("plain data can be encoded");
    let again: T = serde_json::from_slice(&once).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("plain data can be encoded"), once);
}

/// A certificate, after a byte that is not 0, or a request for one after a 0. Only what its key has signed
/// gets one, and that is readable.
///
/// # Panics
/// When decoding is wrong.
pub fn certificate(bytes: &[u8]) {
    let Some((kind, der)) = bytes.split_first() else { return };
    if *kind == 0 {
        if let Ok((member, certificate)) = authority().sign(der) {
            assert_eq!(member, key().member(), "nobody but the key itself can have signed it");
            trust::parse(&certificate).expect("what was signed can be read");
            assert!(certificates::expires(&certificate).is_some());
        }
        return;
    }
    let certificate = CertificateDer::from(der);
    let is_one = trust::parse(&certificate).is_ok();
    assert_eq!(certificates::key_digest(&certificate).is_ok(), is_one);
    assert_eq!(certificates::expires(&certificate).is_some(), is_one);
    let _ = certificates::is_due(&certificate);
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::create(ClusterId([1; 10])).expect("the system has random numbers"))
}

fn key() -> &'static MachineKey {
    static KEY: OnceLock<MachineKey> = OnceLock::new();
    KEY.get_or_init(|| MachineKey::generate().expect("the system has random numbers"))
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data can be encoded")
}

/// Each kind of question.
#[must_use]
pub fn question_inputs() -> Vec<Vec<u8>> {
    let register =
        ClusterRequest::Register { name: "service".into(), value: "10.0.0.1:80".into(), lease_seconds: 60 };
    let requests = [
        AdminRequest::Cluster(register),
        AdminRequest::Cluster(ClusterRequest::NewToken { seconds: 3600, uses: Uses::Left(2) }),
        AdminRequest::Cluster(ClusterRequest::RevokeToken(TokenId([2; 5]))),
        AdminRequest::Drain(Drain::Begin),
        AdminRequest::Move { process: 7, thread: 8, node: 1 },
    ];
    let ask = frame::encode(&QueryMessage::Ask { sql: "SELECT 1".into(), bounded: true });
    let packets = requests.iter().map(|request| [local::ADMINISTER, encoded(request).as_slice()].concat());
    let packets = packets.chain([[queries::QUERY, &ask[LENGTH_BYTES..]].concat(), local::BEGIN.to_vec()]);
    let settings = [vec![0], encoded(&JobSettings::example())].concat();
    packets.map(|packet| [vec![1], packet].concat()).chain([settings]).collect()
}

/// One of each, behind its number.
#[must_use]
pub fn json_inputs() -> Vec<Vec<u8>> {
    let listen = SocketAddr::from(([10, 0, 0, 1], 7640));
    let mut tokens = TokenBook::default();
    let issued = Issued {
        id: TokenId([2; 5]),
        digest: [3; 32],
        expires: 1_700_003_600,
        uses: Uses::Left(2),
        revoked: false,
    };
    tokens.issue(issued, 1_700_000_000);
    let node = NodeSettings {
        name: "node 2".into(),
        secret: [7; 16],
        listener: 3,
        local: 4,
        peers: vec![listen],
        spares: vec![5],
        page: None,
        fault_device: Some(6),
    };
    let machine = MachineFile { cluster: ClusterId([1; 10]), listen, log: None };
    let texts = [
        encoded(&AdminAnswer::Refused("no".into())),
        encoded(&machine),
        encoded(&MemberList { version: 3, members: vec![super::company::fuzz::member(7)] }),
        encoded(&tokens),
        encoded(&node),
        encoded(&Beginning { command: "sleep 9".into(), process: 7, begun: 1_700_000_000 }),
        encoded(&Ending { status: 3, ended: 1_700_000_000 }),
        encoded(&AdminAnswer::Registered { revision: 5 }),
    ];
    (0..).zip(texts).map(|(kind, text)| [vec![kind], text].concat()).collect()
}

/// A request, and the certificates of an authority and a member.
///
/// # Panics
/// If the system has no random numbers.
#[must_use]
pub fn certificate_inputs() -> Vec<Vec<u8>> {
    let request = key().request().expect("a key can sign");
    let (_, certificate) = authority().sign(&request).expect("it is one");
    let of = |kind: u8, der: &[u8]| [&[kind], der].concat();
    vec![of(0, &request), of(1, &certificate), of(1, authority().certificate())]
}

//! Machines of a cluster that speak to each other over TLS: who is let in, and what a connection carries.

use super::certificates::{Authority, MachineKey};
use crate::transport::trust::{Caller, Credentials, Trust, dial_as_stranger};
use crate::transport::{Connection, Lane};
use banyan_wire::cluster::{ClusterId, MemberId};
use banyan_wire::control::Place;
use rustls::pki_types::CertificateDer;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const CLUSTER: ClusterId = ClusterId([3; 10]);
const DAY: Duration = Duration::from_secs(24 * 3600);
const TIMEOUT: Duration = Duration::from_secs(10);
/// No peer may hold an acceptor for longer: the handshake's five seconds, and what a busy machine adds.
const BOUND: Duration = Duration::from_secs(30);

struct Machine {
    id: MemberId,
    trust: Trust,
}

/// A machine whose certificate begins `start` and ends `end` after now, in days.
fn machine_with_days(authority: &Authority, start: i32, end: i32) -> Machine {
    let key = MachineKey::generate().unwrap();
    let day = |days: i32| match u32::try_from(days) {
        Ok(days) => SystemTime::now() + DAY * days,
        Err(_) => SystemTime::now() - DAY * days.unsigned_abs(),
    };
    let (id, certificate) = authority.sign_for(&key.request().unwrap(), day(start), day(end)).unwrap();
    let credentials =
        Credentials::new(CLUSTER, &key.to_der(), &certificate, authority.certificate()).unwrap();
    Machine { id, trust: Trust::Certificates(Arc::new(credentials)) }
}

fn machine(authority: &Authority) -> Machine {
    machine_with_days(authority, -1, 90)
}

fn authority() -> Authority {
    Authority::create(CLUSTER).unwrap()
}

/// What both sides get when `from` dials a machine of which it thinks that it is `wanted`.
fn meet(
    from: &Machine,
    to: &Machine,
    wanted: MemberId,
) -> (io::Result<Connection>, io::Result<(Connection, Caller)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place { address: listener.local_addr().unwrap(), member: Some(wanted) };
    std::thread::scope(|scope| {
        let accepting = scope.spawn(|| to.trust.admit(Connection::accept(&listener).unwrap().0));
        let dialled = from.trust.dial(&place, TIMEOUT);
        if dialled.is_err() {
            // What the acceptor waits for will not come.
            drop(TcpStream::connect(place.address));
        }
        (dialled, accepting.join().unwrap())
    })
}

fn pair() -> (Connection, Connection) {
    let authority = authority();
    let (one, other) = (machine(&authority), machine(&authority));
    let (dialled, accepted) = meet(&one, &other, other.id);
    (dialled.unwrap(), accepted.unwrap().0)
}

#[test]
fn members_know_each_other_and_nobody_else() {
    let authority = authority();
    let (one, other, third) = (machine(&authority), machine(&authority), machine(&authority));
    let (dialled, accepted) = meet(&one, &other, other.id);
    assert!(dialled.is_ok());
    assert_eq!(accepted.unwrap().1, Caller::Member(one.id));
    // The address has a new tenant, a member too.
    assert_eq!(meet(&one, &other, third.id).0.unwrap_err().kind(), io::ErrorKind::InvalidData);
    // A cluster of the same name with another authority: neither side takes the other.
    let stranger = machine(&self::authority());
    assert_eq!(meet(&one, &stranger, stranger.id).0.unwrap_err().kind(), io::ErrorKind::InvalidData);
    let (_, accepted) = meet(&stranger, &other, other.id);
    assert!(accepted.is_err());
}

#[test]
fn a_certificate_that_is_over_is_known_as_such_and_one_that_is_early_is_good() {
    let authority = authority();
    let (good, late, early) =
        (machine(&authority), machine_with_days(&authority, -100, -1), machine_with_days(&authority, 2, 90));
    let (dialled, accepted) = meet(&late, &good, good.id);
    assert!(dialled.is_ok());
    assert_eq!(accepted.unwrap().1, Caller::Expired(late.id));
    assert!(meet(&good, &late, late.id).0.is_err(), "nothing is said to a machine whose time is over");
    let (dialled, accepted) = meet(&early, &good, good.id);
    assert!(dialled.is_ok());
    assert_eq!(accepted.unwrap().1, Caller::Member(early.id));
    assert!(meet(&good, &early, early.id).0.is_ok());
}

#[test]
fn a_stranger_knows_the_cluster_by_its_key_before_it_says_anything() {
    let authority = authority();
    let member = machine(&authority);
    let digest = super::certificates::key_digest(authority.certificate()).unwrap();
    let dial = |cluster, digest| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            let accepting = scope.spawn(|| member.trust.admit(Connection::accept(&listener).unwrap().0));
            let dialled = dial_as_stranger(address, cluster, digest);
            (dialled, accepting.join().unwrap())
        })
    };
    let (dialled, accepted) = dial(CLUSTER, digest);
    let shown: CertificateDer<'_> = dialled.unwrap().1;
    assert_eq!(&shown, authority.certificate());
    assert_eq!(accepted.unwrap().1, Caller::Stranger);
    let mut wrong = digest;
    wrong[0] ^= 1;
    for (cluster, digest) in [(CLUSTER, wrong), (ClusterId([4; 10]), digest)] {
        let (dialled, _) = dial(cluster, digest);
        assert_eq!(dialled.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn what_is_no_handshake_ends_within_its_bounds() {
    let member = machine(&authority());
    let endless = |mut stream: TcpStream| {
        // A record of TLS that is announced and never whole, and bytes without end.
        let _ = stream.write_all(&[0x16, 3, 1, 0x40, 0]);
        while stream.write_all(&[0; 1024]).is_ok() {}
    };
    let garbage = |mut stream: TcpStream| drop(stream.write_all(b"GET / HTTP/1.1\r\n\r\n"));
    let half = |mut stream: TcpStream| {
        let _ = stream.write_all(&[0x16, 3, 1, 1, 0, 1]);
        // Until the other side has had enough.
        let _ = stream.read(&mut [0; 64]);
    };
    let begins: [&(dyn Fn(TcpStream) + Sync); 4] = [&endless, &garbage, &half, &drop];
    for begin in begins {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| begin(TcpStream::connect(address).unwrap()));
            let begun = Instant::now();
            let accepted = member.trust.admit(Connection::accept(&listener).unwrap().0);
            assert!(accepted.is_err());
            assert!(begun.elapsed() < BOUND, "a stranger holds a thread");
        });
    }
}

#[test]
fn two_that_send_at_once_wait_for_nothing_and_lose_nothing() {
    const MESSAGES: usize = 24;
    let (one, other) = pair();
    let message: Vec<u8> = (0..1_000_003_u32).map(|number| (number % 251) as u8).collect();
    let lanes = [Lane::new(&one, "one").unwrap(), Lane::new(&other, "other").unwrap()];
    // Nobody reads until both have sent far more than sockets take.
    for lane in &lanes {
        for _ in 0..MESSAGES {
            lane.send(&message);
        }
    }
    std::thread::scope(|scope| {
        for connection in [&one, &other] {
            connection.set_read_timeout(Some(TIMEOUT)).unwrap();
            let message = &message;
            scope.spawn(move || {
                let mut connection = connection;
                let mut received = vec![0; message.len()];
                for number in 0..MESSAGES {
                    connection.read_exact(&mut received).unwrap();
                    assert!(received == *message, "message {number}");
                }
            });
        }
    });
    lanes[0].close();
    other.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert_eq!((&other).read(&mut [0; 1]).unwrap(), 0, "the end is seen, and is an end");
    lanes[1].end();
}

#[test]
fn a_last_message_that_the_socket_did_not_take_arrives_without_another() {
    let (one, other) = pair();
    other.set_read_timeout(Some(TIMEOUT)).unwrap();
    let lane = Lane::new(&one, "one").unwrap();
    // Some of these end in the middle of what the socket takes.
    for length in (0..64).map(|step| 200_000 + step * 1013) {
        lane.send(&vec![7; length]);
        let mut received = vec![0; length];
        (&other).read_exact(&mut received).unwrap();
        assert!(received.iter().all(|&byte| byte == 7));
    }
    lane.end();
}

#[test]
fn a_descriptor_carries_both_ways_and_ends_with_either_side() {
    let (one, other) = pair();
    let mut plain = File::from(one.into_descriptor().unwrap());
    other.set_read_timeout(Some(TIMEOUT)).unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut received = vec![0; bytes.len()];
            (&other).read_exact(&mut received).unwrap();
            assert!(received == bytes);
        });
        plain.write_all(&bytes).unwrap();
    });
    (&other).write_all(&bytes).unwrap();
    let mut received = vec![0; bytes.len()];
    plain.read_exact(&mut received).unwrap();
    assert!(received == bytes);
    drop(plain);
    assert_eq!((&other).read(&mut [0; 1]).unwrap(), 0);

    let (one, other) = pair();
    let mut plain = File::from(one.into_descriptor().unwrap());
    other.close();
    assert_eq!(plain.read(&mut [0; 1]).unwrap(), 0);
}

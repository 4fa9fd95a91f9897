//! Routers: addresses that travel, proxies that are collected, and bytes that are not believed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use banyan_actors::DurableAddress;
use banyan_actors::router::frame::{Frame, FrameAddress, VERSION, Writer};
use banyan_actors::router::{ActorToken, Exchange, Link, PeerError, Router, UnixRouter};
use banyan_actors::{Actor, Addr, Configuration, Failure, Runtime, RuntimeOptions, Work, closure};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

const DEADLINE: Duration = Duration::from_secs(10);

fn runtime() -> Runtime {
    Runtime::start(RuntimeOptions { hosts: 1, pin: false, ..RuntimeOptions::default() }).unwrap()
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Talk {
    Echo(u64, Addr<u64>),
    /// Both addresses, to be compared by the actor that is asked.
    Same(Addr<u64>, Addr<u64>, Addr<bool>),
    /// Keep an address, or drop the one that is kept.
    Keep(Option<Addr<u64>>),
    Kept(u64),
}

#[derive(Clone)]
struct Server {
    kept: Option<Addr<u64>>,
}

impl Actor for Server {
    type Message = Talk;
    fn receive(&self, message: &Talk, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            Talk::Echo(number, reply) => work.send(reply, *number),
            Talk::Same(one, other, reply) => work.send(reply, one == other),
            Talk::Keep(kept) => work.become_next(Self { kept: kept.clone() }),
            Talk::Kept(number) => {
                let kept = self.kept.clone().ok_or_else(|| Failure::because("nothing is kept"))?;
                work.send(&kept, *number);
            }
        }
        Ok(())
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn listener(runtime: &Runtime) -> (Addr<u64>, Receiver<u64>) {
    let (sender, receiver) = channel();
    let behaviour = closure(sender, |sender: &mut Sender<u64>, number: &u64, _| {
        sender.send(*number).map_err(|error| Failure::because(error.to_string()))
    });
    (runtime.create(Configuration::new("listener").with_behaviour(behaviour)).typed(), receiver)
}

#[test]
fn two_runtimes_talk_over_a_socket_and_forget_what_nobody_holds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("router.sock");
    let (here, there) = (runtime(), runtime());
    let listening = UnixRouter::listen(&there, &path).unwrap();
    let server = there.create(Configuration::new("server").with_actor(Server { kept: None }));
    let token = listening.publish(&server);
    let connected = UnixRouter::connect(&here, &path, None).unwrap();
    let server: Addr<Talk> = connected.import(token).typed();
    for number in 0..50 {
        assert_eq!(here.ask(&server, DEADLINE, |reply| Talk::Echo(number, reply)), Ok(number));
    }
    let (listener, heard) = listener(&here);
    let same = |other: Addr<u64>| {
        let mine = listener.clone();
        here.ask(&server, DEADLINE, move |reply| Talk::Same(mine, other, reply))
    };
    assert_eq!(same(listener.clone()), Ok(true), "the same actor is the same address");
    // An address that goes there and comes back is the actor itself again.
    here.send(&server, Talk::Keep(Some(listener.clone())));
    here.send(&server, Talk::Kept(77));
    assert_eq!(heard.recv_timeout(DEADLINE), Ok(77));
    until("only the kept address is held", || connected.counts().0 == 1);
    assert_eq!(listening.counts().1, 1);
    here.send(&server, Talk::Keep(None));
    until("nothing is held", || connected.counts().0 == 0 && listening.counts() == (0, 0));
    // A second router cannot listen there.
    assert!(UnixRouter::listen(&there, &path).is_err());
    drop(connected);
    drop(listening);
    assert!(!path.exists(), "the socket is removed");
    let error = UnixRouter::connect(&here, &path, None).err().unwrap().to_string();
    assert!(error.contains("nobody listens"), "{error}");
}

/// Frames that an exchange has sent.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<Vec<Vec<u8>>>>);

impl Link for Recorded {
    fn carry(&self, frame: Vec<u8>) {
        self.0.lock().unwrap().push(frame);
    }
}

fn message(target: ActorToken, addresses: &[FrameAddress], bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    Writer::new(|piece| frame.extend_from_slice(piece)).message(&target, addresses, bytes).unwrap();
    frame.split_off(4)
}

fn greeting(version: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    Writer::new(|piece| frame.extend_from_slice(piece)).greeting(version).unwrap();
    frame.split_off(4)
}

#[test]
fn an_unknown_token_creates_nothing() {
    let runtime = runtime();
    let recorded = Recorded::default();
    let exchange = Exchange::new((*runtime).clone(), Box::new(recorded.clone()), None);
    exchange.take(&greeting(VERSION)).unwrap();
    for guess in 0..100_u8 {
        let carried = [FrameAddress::Senders([guess; 16]), FrameAddress::Receivers([guess; 16])];
        exchange.take(&message([guess; 16], &carried, &[1, 2, 3])).unwrap();
    }
    // Nor does a letter to a durable configuration that is not here, nor a notice about a stream that nobody
    // sends.
    let guess = DurableAddress { configuration: [1; 16], slot: 0, generation: 0, seal: [2; 16] };
    for sequence in [0, 1, u64::MAX] {
        let mut frame = Vec::new();
        let mut writer = Writer::new(|piece: &[u8]| frame.extend_from_slice(piece));
        writer.letter(&guess, &[3; 16], sequence, &[FrameAddress::Senders([4; 16])], &[1]).unwrap();
        exchange.take(&frame[4..]).unwrap();
    }
    for lacking in [false, true] {
        let mut frame = Vec::new();
        let mut writer = Writer::new(|piece: &[u8]| frame.extend_from_slice(piece));
        let written = if lacking { writer.lacking(&[3; 16], 5) } else { writer.acknowledged(&[3; 16], 5) };
        written.unwrap();
        exchange.take(&frame[4..]).unwrap();
    }
    assert_eq!(exchange.counts(), (0, 0), "no proxy, no export");
    assert_eq!(runtime.dead_letters(), 103);
    assert!(runtime.configurations().is_empty());
    // The sender learns that its addresses are not held.
    let sent = recorded.0.lock().unwrap();
    assert!(sent.iter().skip(1).all(|frame| matches!(Frame::decode(&frame[4..]), Ok(Frame::Dropped { .. }))));
    assert_eq!(sent.len(), 104);
}

#[test]
fn a_peer_that_does_not_greet_or_speaks_another_version_is_refused() {
    let runtime = runtime();
    let exchange = Exchange::new((*runtime).clone(), Box::new(Recorded::default()), None);
    assert_eq!(exchange.take(&message([0; 16], &[], &[])), Err(PeerError::NoGreeting));
    assert_eq!(exchange.take(&greeting(9)), Err(PeerError::Version(9)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes are a frame or an error, and a frame that is written again is the same bytes.
    #[test]
    fn decoding_is_total(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..9_u8) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        if let Ok(frame) = Frame::decode(&bytes) {
            let mut again = Vec::new();
            let mut writer = Writer::new(|piece: &[u8]| again.extend_from_slice(piece));
            match frame {
                Frame::Greeting { version } => writer.greeting(version).unwrap(),
                Frame::Message { target, addresses, bytes } => {
                    let addresses: Vec<_> = addresses.iter().collect();
                    writer.message(&target, &addresses, bytes).unwrap();
                }
                Frame::Dropped { token, count } => writer.dropped(&token, count).unwrap(),
                Frame::Letter { target, stream, sequence, addresses, bytes } => {
                    let addresses: Vec<_> = addresses.iter().collect();
                    writer.letter(&target, &stream, sequence, &addresses, bytes).unwrap();
                }
                Frame::Acknowledged { stream, sequence } => writer.acknowledged(&stream, sequence).unwrap(),
                Frame::Lacking { stream, sequence } => writer.lacking(&stream, sequence).unwrap(),
                Frame::Present { configuration } => writer.present(&configuration).unwrap(),
            }
            prop_assert_eq!(&again[4..], bytes.as_slice());
        }
    }

    /// Mutated messages to a real actor: it lives, and nothing is left over.
    #[test]
    fn mutated_messages_harm_nobody(at in 0..60_usize, with in any::<u8>(), cut in 0..60_usize) {
        thread_local! {
            static RUNTIME: (Runtime, Arc<Exchange>, Addr<Talk>, ActorToken) = {
                let runtime = runtime();
                let exchange = Exchange::new((*runtime).clone(), Box::new(Recorded::default()), None);
                exchange.take(&greeting(VERSION)).unwrap();
                let server = runtime.create(Configuration::new("server").with_actor(Server { kept: None }));
                let token = exchange.publish(&server);
                (runtime, exchange, server.typed(), token)
            };
        }
        RUNTIME.with(|(runtime, exchange, server, token)| {
            let mut frame = message(*token, &[FrameAddress::Senders([7; 16])], &[0, 200, 1, 0]);
            if let Some(byte) = frame.get_mut(at) {
                *byte = with;
            }
            frame.truncate(frame.len().saturating_sub(cut % 8));
            let _ = exchange.take(&frame);
            assert_eq!(runtime.ask(server, DEADLINE, |reply| Talk::Echo(5, reply)), Ok(5));
        });
    }
}

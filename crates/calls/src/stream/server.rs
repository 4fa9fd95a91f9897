//! The serving end of calls over streams: a thread for each connection, workers shared by all.
//!
//! A connection has one call under way at a time, and callers wait for workers in the order they
//! came, so connections share them fairly. Nothing that a peer sends can hold more than its own
//! thread: greetings, frames and calls have deadlines, lengths are checked, connections are
//! counted. When there are as many as may be, the one that has had nothing to ask for longest makes room.
//! Lock: that of the list of connections, held for an instant.

use super::chunks::{Receiver, Sender};
use super::cluster::Registration;
use super::frame::{BODY_MAX, Stream, StreamError};
use super::message::{self, CallHead, decode_hello};
use super::socket::Socket;
use crate::caller::renewed::Renewed;
use crate::error::CallError;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Connections served at once.
const CONNECTIONS_MAX: usize = 256;
/// Longest wait for a greeting, and for the rest of a frame whose first byte has come.
const FRAME_TIME: Duration = Duration::from_secs(5);
/// How long a connection may be idle.
const IDLE_TIME: Duration = Duration::from_secs(600);
/// No call may take longer, whatever its caller allows.
const CALL_MAX: Duration = Duration::from_secs(3600);

/// A service on a TCP address, or of the cluster.
#[derive(Debug)]
pub struct Server {
    name: Arc<str>,
    workers: Arc<Renewed>,
    open: Arc<Connections>,
}

/// The connections that are open, and how many there have been.
#[derive(Debug, Default)]
struct Connections(Mutex<(Vec<Open>, u64)>);

#[derive(Debug)]
struct Open {
    /// Which of all there have been: numbers of descriptors are used again.
    number: u64,
    /// Another descriptor of the connection's socket.
    socket: Socket,
    /// Since when it has had nothing to ask; `None` while a call is under way, or before the greeting.
    idle: Option<Instant>,
}

/// One of the open connections.
struct Place<'a> {
    all: &'a Connections,
    number: u64,
}

impl Connections {
    /// A place for a connection; `None` if there is no room, and nobody who can make it.
    fn enter(&self, socket: &Socket) -> Option<Place<'_>> {
        let (open, entered) = &mut *self.0.lock();
        if open.len() >= CONNECTIONS_MAX {
            let idle = open.iter().enumerate().filter_map(|(at, one)| Some((one.idle?, at)));
            let (_, longest) = idle.min()?;
            // Its thread ends by this, and its client opens another when it has something to ask.
            open.swap_remove(longest).socket.shutdown();
        }
        *entered += 1;
        open.push(Open { number: *entered, socket: socket.try_clone().ok()?, idle: None });
        Some(Place { all: self, number: *entered })
    }
}

impl Place<'_> {
    fn set_idle(&self, idle: Option<Instant>) {
        let (open, _) = &mut *self.all.0.lock();
        if let Some(mine) = open.iter_mut().find(|one| one.number == self.number) {
            mine.idle = idle;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.all.0.lock().0.retain(|one| one.number != self.number);
    }
}

impl Server {
    /// The service `name`, whose calls `workers` carry out.
    pub(crate) fn new(name: &str, workers: Renewed) -> Self {
        Self { name: name.into(), workers: Arc::new(workers), open: Arc::default() }
    }

    /// Serves who connects to an address, until the process ends.
    pub(crate) fn serve(&self, listener: &TcpListener) -> ! {
        loop {
            match listener.accept() {
                Ok((socket, _)) => self.take(socket.into()),
                // Descriptors are short, or the peer has gone: neither is helped by haste.
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Serves callers of the cluster. `serves` is called each time that the name has become this machine's.
    /// Returns why none come any more.
    pub(crate) fn serve_cluster(&self, mut registration: Registration, serves: &dyn Fn()) -> String {
        loop {
            match registration.next_caller(serves) {
                Ok(socket) => self.take(socket),
                Err(reason) => return reason,
            }
        }
    }

    fn take(&self, socket: Socket) {
        let open = Arc::clone(&self.open);
        let (name, workers) = (Arc::clone(&self.name), Arc::clone(&self.workers));
        let spawned = std::thread::Builder::new().spawn(move || {
            let place = open.enter(&socket);
            // What went wrong is the peer's to know; it has been told if it could be.
            let _ = converse(socket, &name, &workers, place.as_ref());
        });
        drop(spawned);
    }
}

fn converse(
    socket: Socket,
    name: &str,
    workers: &Renewed,
    place: Option<&Place<'_>>,
) -> Result<(), StreamError> {
    let mut stream = Stream::new(socket)?;
    let soon = Instant::now() + FRAME_TIME;
    let refuse = |stream: &mut Stream, why: &str| {
        stream.send(message::REFUSED, &message::encode_hello(why), Instant::now() + FRAME_TIME)
    };
    let Some(place) = place else {
        return refuse(&mut stream, "it serves as many connections as it can");
    };
    let (kind, body) = stream.receive(soon, FRAME_TIME)?;
    match decode_hello(&body) {
        Ok((message::VERSION, wanted)) if kind == message::HELLO && wanted == name => {}
        Ok((version, _)) if kind == message::HELLO && version != message::VERSION => {
            return refuse(&mut stream, &format!("it speaks version {} only", message::VERSION));
        }
        Ok(_) if kind == message::HELLO => return refuse(&mut stream, &format!("it serves {name}")),
        _ => return refuse(&mut stream, "a greeting is expected"),
    }
    stream.send(message::WELCOME, &message::encode_hello(name), soon)?;
    let (mut arguments, mut results) = (Receiver::default(), Sender::default());
    loop {
        place.set_idle(Some(Instant::now()));
        let (kind, body) = stream.receive(Instant::now() + IDLE_TIME, FRAME_TIME.max(CALL_MAX / 60))?;
        place.set_idle(None);
        let mut from = &body[..];
        let head = CallHead::decode(&mut from).ok().filter(|_| kind == message::CALL);
        let value = head.and_then(|head| Some((head, arguments.take(&mut from, BODY_MAX).ok()?)));
        let Some((head, value)) = value.filter(|_| from.is_empty()) else {
            return refuse(&mut stream, "a call is expected");
        };
        let by = Instant::now() + head.deadline.min(CALL_MAX);
        let mut answer = Vec::new();
        let kind = match call(workers, &head, &value) {
            Ok(result) => {
                results.put(&result, &mut answer);
                message::RESULT
            }
            Err(error) => {
                answer = message::encode_error(&error);
                message::ERROR
            }
        };
        stream.send(kind, &answer, by.max(Instant::now()) + FRAME_TIME)?;
    }
}

fn call(workers: &Renewed, head: &CallHead, arguments: &[u8]) -> Result<Vec<u8>, CallError> {
    let mut options = head.options();
    options.deadline = options.deadline.min(CALL_MAX);
    workers.call(&options, |connection, options| {
        connection.call_bytes(
            head.function,
            |room| {
                room.get_mut(..arguments.len())?.copy_from_slice(arguments);
                Some(arguments.len())
            },
            |bytes| {
                bytes.extend_from_slice(arguments);
                Some(())
            },
            |bytes| Ok(bytes.to_vec()),
            options,
        )
    })
}

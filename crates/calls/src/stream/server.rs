//! The serving end of calls over TCP: a thread for each connection, workers shared by all.
//!
//! A connection has one call under way at a time, and callers wait for workers in the order they
//! came, so connections share them fairly. Nothing that a peer sends can hold more than its own
//! thread: greetings, frames and calls have deadlines, lengths are checked, connections are
//! counted. Lock: none.

use super::chunks::{Receiver, Sender};
use super::frame::{BODY_MAX, Stream, StreamError};
use super::message::{self, CallHead, decode_hello};
use crate::caller::renewed::Renewed;
use crate::error::CallError;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::{Duration, Instant};

/// Connections served at once. No more than channels of the connection behind them.
const CONNECTIONS_MAX: usize = 48;
/// Longest wait for a greeting, and for the rest of a frame whose first byte has come.
const FRAME_TIME: Duration = Duration::from_secs(5);
/// How long a connection may be idle.
const IDLE_TIME: Duration = Duration::from_secs(600);
/// No call may take longer, whatever its caller allows.
const CALL_MAX: Duration = Duration::from_secs(3600);

/// A service on a TCP address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    name: Arc<str>,
    workers: Arc<Renewed>,
    open: Arc<AtomicUsize>,
}

struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, AcqRel);
    }
}

impl Server {
    /// Listens on `address` for calls to the service `name`, which `workers` carry out.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn bind(address: &str, name: &str, workers: Renewed) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        Ok(Self {
            listener,
            name: name.into(),
            workers: Arc::new(workers),
            open: Arc::new(AtomicUsize::new(0)),
        })
    }

    /// The address in use.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process ends.
    pub fn serve(&self) -> ! {
        loop {
            let Ok((socket, _)) = self.listener.accept() else {
                // Descriptors are short, or the peer has gone: neither is helped by haste.
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            self.open.fetch_add(1, AcqRel);
            let count = Count(Arc::clone(&self.open));
            let (name, workers) = (Arc::clone(&self.name), Arc::clone(&self.workers));
            let spawned = std::thread::Builder::new().spawn(move || {
                let full = count.0.load(Acquire) > CONNECTIONS_MAX;
                // What went wrong is the peer's to know; it has been told if it could be.
                let _ = converse(socket, &name, &workers, full);
            });
            drop(spawned);
        }
    }
}

fn converse(socket: TcpStream, name: &str, workers: &Renewed, full: bool) -> Result<(), StreamError> {
    let mut stream = Stream::new(socket)?;
    let soon = Instant::now() + FRAME_TIME;
    let refuse = |stream: &mut Stream, why: &str| {
        stream.send(message::REFUSED, &message::encode_hello(why), Instant::now() + FRAME_TIME)
    };
    if full {
        return refuse(&mut stream, "it serves as many connections as it can");
    }
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
        let (kind, body) = stream.receive(Instant::now() + IDLE_TIME, FRAME_TIME.max(CALL_MAX / 60))?;
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

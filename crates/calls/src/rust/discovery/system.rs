//! A pool of workers that several programs of one user share: a stand-alone babysitter behind an
//! abstract Unix socket, which leaves nothing in any file system.
//!
//! A client hands over the memory of its window; the service forks, and the fork is that client's
//! babysitter, with the program already loaded. From then on client and workers meet in memory, as
//! with a process of one's own; nothing is relayed and clients cannot see each other. The service
//! divides its workers evenly among the clients that are there, at least one for each. One thread;
//! it never waits for a client.

use super::announce;
use crate::babysitter::{self, Program};
use crate::caller::connection::Connection;
use crate::error::CallError;
use crate::shared::layout::{Control, WINDOW_BYTES};
use crate::shared::service::{Configuration, Order};
use crate::sys::memory::{Access, at, map_file_anywhere, unmap};
use crate::sys::process::{
    Launch, become_child_of, child_descriptor, collect_child, drain, end_now, fork, wait_any,
};
use crate::sys::socket::{is_sealed_memory, own_user, peer, receive_descriptor, send_descriptor};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// What a client says first.
const GREETING: &[u8; 8] = b"bncalls2";
/// Clients served at once.
const CLIENTS_MAX: usize = 256;
/// How long a client may take to greet.
const GREETING_TIME: Duration = Duration::from_secs(2);

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("banyan-calls/{}/{name}", own_user()))
}

fn no_service(name: &str, problem: impl std::fmt::Display) -> CallError {
    CallError::NoService(format!("system:{name}: {problem}"))
}

/// A connection to workers of the service `name`.
pub(super) fn open(name: &str, configuration: &Configuration) -> Result<Connection, CallError> {
    let socket = address(name).and_then(|address| UnixStream::connect_addr(&address)).map_err(|error| {
        no_service(name, format!("{error}; start it with `banyan call serve --at system:{name} -- PROGRAM`"))
    })?;
    let (_, user) = peer(&socket).map_err(|error| no_service(name, error))?;
    if user != own_user() {
        return Err(no_service(name, format!("it is run by user {user}")));
    }
    Connection::open_with(configuration, |file, _| {
        // Which process it is given to is not known here.
        send_descriptor(&socket, GREETING, file).map(|()| None)
    })
}

struct Client {
    babysitter: u32,
    /// The client's control memory, of which the service writes one word.
    control: u64,
}

struct Service {
    workers: u32,
    clients: Vec<Client>,
    greeting: Vec<(UnixStream, Instant)>,
}

impl Service {
    /// Tells each client how many workers are its share.
    fn divide(&self) {
        let share = (self.workers / self.clients.len().max(1) as u32).max(1);
        for client in &self.clients {
            // SAFETY: mapped by `admit`, unmapped only when the client leaves the list; all atomics.
            let control: &Control = unsafe { at(client.control) };
            control.workers.store(share, Relaxed);
        }
    }

    fn collect(&mut self) {
        let mut changed = false;
        while let Some((process, _)) = collect_child() {
            if let Some(index) = self.clients.iter().position(|client| client.babysitter == process) {
                let client = self.clients.swap_remove(index);
                // SAFETY: nothing refers to the mapping any more.
                unsafe { unmap(client.control, size_of::<Control>() as u64) };
                changed = true;
            }
        }
        if changed {
            self.divide();
        }
    }

    /// Takes the memory of a client that greets, and forks its babysitter.
    fn admit(&mut self, socket: &UnixStream) -> io::Result<()> {
        let (process, user) = peer(socket)?;
        let mut greeting = [0; GREETING.len()];
        let (length, file) = receive_descriptor(socket, &mut greeting)?;
        let refused = || Err(io::ErrorKind::InvalidData.into());
        let Some(file) = file else { return refused() };
        if user != own_user() || length != GREETING.len() || greeting != *GREETING || process == 0 {
            return refused();
        }
        // Sealed, so that no client can make the service's own reach into it fault.
        if !is_sealed_memory(&file, WINDOW_BYTES) {
            return refused();
        }
        let control = map_file_anywhere(&file, size_of::<Control>() as u64, Access::Write)?;
        let service = std::process::id();
        // SAFETY: the service has one thread.
        match unsafe { fork() } {
            Ok(0) => become_babysitter(file, process, service),
            Ok(babysitter) => {
                self.clients.push(Client { babysitter, control });
                self.divide();
                Ok(())
            }
            Err(error) => {
                // SAFETY: mapped above, and not used.
                unsafe { unmap(control, size_of::<Control>() as u64) };
                Err(error)
            }
        }
    }
}

fn become_babysitter(file: File, client: u32, service: u32) -> ! {
    if !become_child_of(service) || !Launch::keep_only(file.into_raw_fd()) {
        end_now(3)
    }
    babysitter::run(Program {
        find: crate::rust::registry::find,
        heap_is_ours: false,
        stdio: |_| {},
        admit: Some(Box::leak(Box::new(move |order: &mut Order| {
            // The service's program and the service's rules, whatever the client wrote.
            if order.configuration.library.is_some() {
                return Err("this service runs its program's functions only".into());
            }
            let asked = std::mem::take(&mut order.configuration);
            order.configuration.kept = 2;
            order.configuration.spares = asked.spares.min(2);
            order.client = client;
            Ok(())
        }))),
    })
}

/// Serves this program's functions as `system:NAME`; returns only if that cannot be done. Must be
/// called while the process has one thread.
#[must_use]
pub fn serve_system(name: &str, configuration: &Configuration) -> CallError {
    let listener = match address(name).and_then(|address| UnixListener::bind_addr(&address)) {
        Ok(listener) => listener,
        Err(error) => return no_service(name, error),
    };
    let children = match listener.set_nonblocking(true).and_then(|()| child_descriptor()) {
        Ok(children) => children,
        Err(error) => return no_service(name, error),
    };
    let mut service =
        Service { workers: configuration.workers.max(1), clients: Vec::new(), greeting: Vec::new() };
    announce(&format!("system:{name}"));
    loop {
        service.collect();
        serve_once(&listener, &children, &mut service);
    }
}

fn serve_once(listener: &UnixListener, children: &OwnedFd, service: &mut Service) {
    let mut descriptors: Vec<RawFd> = vec![listener.as_raw_fd(), children.as_raw_fd()];
    descriptors.extend(service.greeting.iter().map(|(socket, _)| socket.as_raw_fd()));
    let timeout_ms = if service.greeting.is_empty() { -1 } else { 100 };
    let ready = wait_any(&descriptors, timeout_ms);
    if ready[1] {
        drain(children);
    }
    let mut waiting = Vec::new();
    for ((socket, by), ready) in std::mem::take(&mut service.greeting).into_iter().zip(&ready[2..]) {
        if *ready {
            // A client that does not greet as it must loses its socket, and learns by that.
            let _ = service.admit(&socket);
        } else if Instant::now() < by {
            waiting.push((socket, by));
        }
    }
    service.greeting = waiting;
    if ready[0]
        && let Ok((socket, _)) = listener.accept()
        && service.clients.len() + service.greeting.len() < CLIENTS_MAX
        && socket.set_nonblocking(true).is_ok()
    {
        service.greeting.push((socket, Instant::now() + GREETING_TIME));
    }
}

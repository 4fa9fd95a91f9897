//! Where calls go, without a change at the call site: a process of one's own, a pool of this
//! machine, another node.
//!
//! [`Discovery`] says where to look, [`Service`] is what was found. Serving is the other half: any
//! program with isolated functions serves them when it is started with `BANYAN_CALL_SERVE` set, as
//! `banyan call serve` does. Not for C libraries, whose pointers reach no further than this machine's
//! memory: they have a process of their own.

mod system;

pub use system::serve_system;

use crate::caller::connection::{CallOptions, Connection};
use crate::caller::launch::open_functions;
use crate::caller::renewed::Renewed;
use crate::error::CallError;
use crate::rust::isolated::value::{EncodeError, decode, encode, encode_to_slice};
use crate::shared::frame::FrameError;
use crate::shared::service::Configuration;
pub use crate::shared::service::{FIND_VARIABLE, SERVE_VARIABLE};
use crate::stream::{Places, Registration, Remote, Server, with_host};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::str::FromStr;

/// How many workers a serving program runs at once; as many as processors when not set.
pub const WORKERS_VARIABLE: &str = "BANYAN_CALL_WORKERS";

/// Where to find a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Discovery {
    /// Workers of this process, with a babysitter of their own.
    #[default]
    Child,
    /// The service of that name on this machine, for this user; several programs share its workers.
    System(String),
    /// The service of that name on the first node that answers.
    Named {
        /// The service's name.
        name: String,
        /// Addresses, each `host:port`; `:port` is on this machine.
        nodes: Vec<String>,
    },
    /// The service of that name on whichever machine of the cluster has it.
    Cluster(String),
}

impl fmt::Display for Discovery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Child => formatter.write_str("child"),
            Self::System(name) => write!(formatter, "system:{name}"),
            Self::Named { name, nodes } => write!(formatter, "named:{name}={}", nodes.join(",")),
            Self::Cluster(name) => write!(formatter, "named:{name}"),
        }
    }
}

impl FromStr for Discovery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const KNOWN: &str =
            "known are child, system:NAME, named:NAME of the cluster, and named:NAME=HOST:PORT,HOST:PORT";
        let good = |name: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !name.is_empty() && name.len() <= 64 && name.bytes().all(known)
        };
        let bad = || format!("`{text}` names no service: {KNOWN}");
        match text.split_once(':') {
            None if text == "child" => Ok(Self::Child),
            Some(("system", name)) if good(name) => Ok(Self::System(name.into())),
            Some(("named", name)) if good(name) => Ok(Self::Cluster(name.into())),
            Some(("named", rest)) => {
                let (name, nodes) = rest.split_once('=').filter(|(name, _)| good(name)).ok_or_else(bad)?;
                let nodes: Vec<String> = nodes.split(',').map(str::to_owned).collect();
                if nodes.iter().any(|node| !node.contains(':')) {
                    return Err(bad());
                }
                Ok(Self::Named { name: name.into(), nodes })
            }
            _ => Err(bad()),
        }
    }
}

#[derive(Debug)]
enum Found {
    /// Workers of this process, or of a pool of this machine.
    Here(Renewed),
    Named(Remote),
}

/// A service that takes calls.
#[derive(Debug)]
pub struct Service(Found);

impl Service {
    /// Finds a service. `configuration` is for workers of this process, and says how many workers
    /// to ask of a shared pool.
    ///
    /// # Errors
    /// [`CallError::NoService`] with the reason. A `Named` service is looked for at the first call.
    pub fn find(discovery: &Discovery, configuration: &Configuration) -> Result<Self, CallError> {
        let configuration = configuration.clone();
        Ok(Self(match discovery {
            Discovery::Child => Found::Here(Renewed::new(configuration, open_functions)?),
            Discovery::System(name) => {
                let name = name.clone();
                Found::Here(Renewed::new(configuration, move |configuration| {
                    system::open(&name, configuration)
                })?)
            }
            Discovery::Named { name, nodes } => {
                Found::Named(Remote::new(name.clone(), Places::Addresses(nodes.clone())))
            }
            Discovery::Cluster(name) => Found::Named(Remote::new(name.clone(), Places::Cluster)),
        }))
    }

    /// The service that the environment names: [`FIND_VARIABLE`], else a process of one's own.
    ///
    /// # Errors
    /// As [`Service::find`].
    pub fn from_environment() -> Result<Self, CallError> {
        let discovery = match std::env::var(FIND_VARIABLE) {
            Ok(text) => text.parse().map_err(CallError::NoService)?,
            Err(_) => Discovery::Child,
        };
        Self::find(&discovery, &Configuration::default())
    }

    /// The connection to workers of this machine; none for another node.
    pub fn with_connection<T>(&self, then: impl FnOnce(&Connection) -> T) -> Option<T> {
        match &self.0 {
            Found::Here(renewed) => Some(then(&renewed.connection())),
            Found::Named(_) => None,
        }
    }

    /// The connections to another node.
    #[must_use]
    pub const fn remote(&self) -> Option<&Remote> {
        if let Found::Named(remote) = &self.0 { Some(remote) } else { None }
    }

    /// Calls function `number` of the service's program.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub fn call<A: Serialize, R: DeserializeOwned>(
        &self,
        number: u64,
        arguments: &A,
        options: &CallOptions,
    ) -> Result<R, CallError> {
        match &self.0 {
            Found::Here(renewed) => renewed
                .call(options, |connection, options| call_connection(connection, number, arguments, options)),
            Found::Named(remote) => {
                let mut bytes = Vec::new();
                encode(arguments, &mut bytes).map_err(|error| not_encoded(&error))?;
                read_result(&remote.call(number, &bytes, options)?)
            }
        }
    }
}

fn call_connection<A: Serialize, R: DeserializeOwned>(
    connection: &Connection,
    number: u64,
    arguments: &A,
    options: &CallOptions,
) -> Result<R, CallError> {
    let mut refused = None;
    let write = |room: &mut [u8]| encode_to_slice(arguments, room).ok();
    let write_all =
        |bytes: &mut Vec<u8>| encode(arguments, bytes).map_err(|error| refused = Some(error)).ok();
    let result = connection.call_bytes(number, write, write_all, read_result, options);
    match (result, refused) {
        // Nothing was sent: there is no room in which the arguments encode.
        (Err(CallError::Protocol(FrameError::Full)), Some(error)) => Err(not_encoded(&error)),
        (result, _) => result,
    }
}

fn not_encoded(error: &EncodeError) -> CallError {
    CallError::Failed(format!("the arguments: {error}"))
}

fn read_result<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, CallError> {
    decode(bytes).map_err(|error| CallError::Failed(format!("the result does not decode: {error}")))
}

/// Serves this program's functions where `place` says; returns only if that cannot be done.
///
/// Prints the place on standard output once calls are taken.
#[must_use]
pub fn serve(place: &str) -> CallError {
    let discovery: Discovery = match place.parse() {
        Ok(discovery) => discovery,
        Err(problem) => return CallError::NoService(problem),
    };
    let mut configuration = Configuration::default();
    if let Ok(workers) = std::env::var(WORKERS_VARIABLE) {
        match workers.parse() {
            Ok(workers @ 1..=256) => configuration.workers = workers,
            _ => return CallError::NoService(format!("{WORKERS_VARIABLE} must be a number from 1 to 256")),
        }
    }
    match discovery {
        Discovery::Child => CallError::NoService(
            "no caller could find it: say system:NAME, named:NAME or named:NAME=ADDRESS".into(),
        ),
        Discovery::System(name) => serve_system(&name, &configuration),
        Discovery::Named { name, nodes } => {
            let [node] = &nodes[..] else {
                return CallError::NoService("a service listens on one address".into());
            };
            let address = with_host(node);
            let bind = || {
                let listener = TcpListener::bind(&address)?;
                Ok((listener.local_addr()?, listener))
            };
            let bound =
                bind().map_err(|error: io::Error| CallError::NoService(format!("{address}: {error}")));
            let renewed = Renewed::new(configuration, open_functions);
            match bound.and_then(|bound| Ok((bound, renewed?))) {
                Ok(((address, listener), renewed)) => {
                    if !address.ip().is_loopback() {
                        eprintln!(
                            "banyan: any program that reaches {address} can call {name}: the stream is neither encrypted nor \
                             authenticated"
                        );
                    }
                    announce(&format!("named:{name}={address}"));
                    Server::new(&name, renewed).serve(&listener)
                }
                Err(error) => error,
            }
        }
        Discovery::Cluster(name) => {
            let registered = Registration::new(&name).map_err(CallError::NoService);
            match registered
                .and_then(|registered| Ok((registered, Renewed::new(configuration, open_functions)?)))
            {
                Ok((registered, renewed)) => {
                    let serves = || announce(&format!("named:{name}"));
                    CallError::NoService(Server::new(&name, renewed).serve_cluster(registered, &serves))
                }
                Err(error) => error,
            }
        }
    }
}

fn announce(place: &str) {
    use std::io::Write;
    let mut output = io::stdout().lock();
    // The output may be closed.
    let _ = writeln!(output, "{place}").and_then(|()| output.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in
            ["child", "system:images", "named:images=10.0.0.1:7000,two:7000", "named:images=:7000", "named:x"]
        {
            assert_eq!(text.parse::<Discovery>().unwrap().to_string(), text);
        }
        for text in ["", "children", "system:", "system:a/b", "named:", "named:x=nowhere", "named:=a:1"] {
            assert!(text.parse::<Discovery>().is_err(), "{text}");
        }
    }
}

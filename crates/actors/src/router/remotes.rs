//! [`Remotes`]: durable configurations across processes, so that what they send each other is taken once whatever is
//! killed and whichever connection breaks.
//!
//! A durable configuration has an **identity** that is kept with it: a public name of 128 random bits, and a key. An address
//! of one of its actors carries the actor's place and a seal made with the key, so it needs no table, means the same after
//! a restart, and cannot be made up. What one durable configuration sends to another is a **stream**, named by another
//! seal that only the two can know; its messages are numbered, kept in the sender's outbox until the receiver has
//! committed them, and sent again when the receiver is open again or says that it lacks some.
//!
//! A peer is believed when it says that a configuration is open at its end: peers of a router are processes that trust each
//! other with that.
//!
//! Lock: the tables; nothing is sent, dropped or routed under it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use banyan_core::sponsors::SponsorId;
use banyan_wire::actor_frame::{DurableAddress, Token};
use serde::{Deserialize, Serialize};
use siphasher::sip128::SipHasher24;

use super::Exchange;
use crate::durable::{DurableRequest, Numbered};
use crate::model::address::{Address, Door, GuestNumber, Local, Place, Proxy};
use crate::model::message::Message;
use crate::system::System;

/// Configurations that one peer may say are open at its end: a bound on what it can make this process remember.
const ROUTES_MAX: usize = 65_536;
/// What a name begins with that stands for a configuration of another process, or for a stream from one. Names that people
/// give do not begin so.
const CONFIGURATION_PREFIX: &str = "\u{1}";
const STREAM_PREFIX: &str = "\u{2}";

/// Who a durable configuration is to other processes; kept with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) configuration: Token,
    key: Token,
}

impl Identity {
    pub(crate) fn random() -> Self {
        Self { configuration: super::random_token(), key: super::random_token() }
    }

    /// SipHash-2-4 with 128 bits, a pseudo-random function of its key (Aumasson and Bernstein, 2012).
    fn prf(&self, bytes: &[u8]) -> Token {
        SipHasher24::new_with_key(&self.key).hash(bytes).as_bytes()
    }

    /// The address of an actor, for other processes.
    pub(crate) fn seal(&self, slot: u32, generation: u32) -> DurableAddress {
        let mut bytes = *b"actor\0\0\0\0\0\0\0\0";
        bytes[5..9].copy_from_slice(&slot.to_le_bytes());
        bytes[9..].copy_from_slice(&generation.to_le_bytes());
        DurableAddress { configuration: self.configuration, slot, generation, seal: self.prf(&bytes) }
    }

    /// The name of the stream of messages to another configuration.
    pub(crate) fn stream(&self, to: &Token) -> Token {
        let mut bytes = *b"stream\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        bytes[6..].copy_from_slice(to);
        self.prf(&bytes)
    }
}

fn hexadecimal(prefix: &str, token: &Token) -> String {
    token.iter().fold(prefix.to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

fn token_of(prefix: &str, name: &str) -> Option<Token> {
    let digits = name.strip_prefix(prefix)?;
    let number = u128::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(number.to_be_bytes())
}

/// The name under which an outbox knows a configuration of another process.
pub(crate) fn name_of_configuration(configuration: &Token) -> String {
    hexadecimal(CONFIGURATION_PREFIX, configuration)
}

pub(crate) fn configuration_of_name(name: &str) -> Option<Token> {
    token_of(CONFIGURATION_PREFIX, name)
}

/// The name under which a receiver knows a stream.
pub(crate) fn name_of_stream(stream: &Token) -> String {
    hexadecimal(STREAM_PREFIX, stream)
}

pub(crate) fn stream_of_name(name: &str) -> Option<Token> {
    token_of(STREAM_PREFIX, name)
}

#[derive(Default)]
struct Tables {
    /// Configurations that are open here.
    here: BTreeMap<Token, (GuestNumber, Identity)>,
    by_number: BTreeMap<GuestNumber, Token>,
    /// At which peer another configuration is open.
    routes: BTreeMap<Token, Weak<Exchange>>,
    exchanges: Vec<Weak<Exchange>>,
    /// Addresses of actors of other processes that are held here.
    proxies: BTreeMap<DurableAddress, Weak<Proxy>>,
    sweep_at: usize,
    /// Streams of configurations that are open here, and to which configuration.
    sent: BTreeMap<Token, (GuestNumber, Token)>,
    /// From which peer a stream came last.
    received: BTreeMap<Token, Weak<Exchange>>,
}

/// What a process knows of durable configurations, its own and others'.
#[derive(Default)]
pub(crate) struct Remotes {
    tables: Mutex<Tables>,
}

/// What stands for an actor of a durable configuration that is not open here, wherever it is open when something is sent.
struct DurableRemote {
    system: Weak<System>,
    to: DurableAddress,
}

impl Door for DurableRemote {
    fn deliver(&self, message: Message, sponsor: SponsorId) {
        if let Some(system) = self.system.upgrade() {
            system.remotes.send(&system, &self.to, message, sponsor);
        }
    }

    fn describe(&self) -> String {
        let DurableAddress { configuration, slot, generation, .. } = &self.to;
        format!("durable {:02x}{:02x}...{slot}.{generation}", configuration[0], configuration[1])
    }

    fn durable(&self) -> Option<DurableAddress> {
        Some(self.to)
    }
}

impl Remotes {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A configuration is open here from now on; `false` if one with the same identity is already.
    pub(crate) fn open(&self, number: GuestNumber, identity: Identity) -> bool {
        let mut tables = self.tables();
        if tables.here.contains_key(&identity.configuration) {
            return false;
        }
        tables.here.insert(identity.configuration, (number, identity));
        tables.by_number.insert(number, identity.configuration);
        true
    }

    /// Tells the peers of a configuration that is open here: they may have something for it.
    pub(crate) fn announce(&self, configuration: &Token) {
        for exchange in self.exchanges() {
            exchange.present(configuration);
        }
    }

    /// A configuration is not open here any more.
    pub(crate) fn close(&self, number: GuestNumber) {
        let mut tables = self.tables();
        if let Some(configuration) = tables.by_number.remove(&number) {
            tables.here.remove(&configuration);
            tables.sent.retain(|_, (sender, _)| *sender != number);
        }
    }

    fn exchanges(&self) -> Vec<Arc<Exchange>> {
        let mut tables = self.tables();
        tables.exchanges.retain(|exchange| exchange.strong_count() > 0);
        tables.exchanges.iter().filter_map(Weak::upgrade).collect()
    }

    /// A peer is there: it is told what is open here, now and later.
    pub(super) fn join(&self, exchange: &Arc<Exchange>) {
        let mut tables = self.tables();
        tables.exchanges.push(Arc::downgrade(exchange));
        let open: Vec<Token> = tables.here.keys().copied().collect();
        drop(tables);
        open.iter().for_each(|configuration| exchange.present(configuration));
    }

    /// A peer says that a configuration is open at its end: it gets what waits for it.
    pub(super) fn peer_has(&self, system: &System, exchange: &Arc<Exchange>, configuration: Token) {
        let mut tables = self.tables();
        tables.routes.retain(|_, route| route.strong_count() > 0);
        let of_peer = tables.routes.values().filter(|route| route.as_ptr() == Arc::as_ptr(exchange)).count();
        if of_peer >= ROUTES_MAX {
            return;
        }
        tables.routes.insert(configuration, Arc::downgrade(exchange));
        let senders: Vec<GuestNumber> = tables.by_number.keys().copied().chain([System::LEDGER]).collect();
        drop(tables);
        let target = name_of_configuration(&configuration);
        for number in senders {
            system.request(number, DurableRequest::Resend { target: target.clone() });
        }
    }

    /// The address of an actor for any process, if it is one of a durable configuration that is open or was met elsewhere.
    pub(crate) fn durable_address(&self, address: &Address) -> Option<DurableAddress> {
        match &address.0 {
            Place::Local(local) => self.seal(local),
            Place::Beyond(proxy) => proxy.door.durable(),
        }
    }

    /// The address of a local actor for other processes, if it is one of a durable configuration.
    pub(crate) fn seal(&self, local: &Local) -> Option<DurableAddress> {
        let tables = self.tables();
        let configuration = tables.by_number.get(&local.guest)?;
        let (_, identity) = tables.here.get(configuration)?;
        Some(identity.seal(local.slot, local.generation))
    }

    /// The local actor of a sealed address; `Err(true)` if its configuration is open here and the seal is not its own.
    fn local(&self, to: &DurableAddress) -> Result<Local, bool> {
        let tables = self.tables();
        let (guest, identity) = tables.here.get(&to.configuration).ok_or(false)?;
        let sealed = identity.seal(to.slot, to.generation);
        // The comparison takes as long whichever byte is wrong: a peer cannot feel its way to a seal.
        let difference = sealed.seal.iter().zip(&to.seal).fold(0, |all, (one, other)| all | (one ^ other));
        if difference != 0 {
            return Err(true);
        }
        Ok(Local { guest: *guest, slot: to.slot, generation: to.generation })
    }

    /// The actor that an address from elsewhere leads to: one that is here, or what stands for it.
    pub(crate) fn address(&self, system: &System, to: &DurableAddress) -> Address {
        match self.local(to) {
            Ok(local) => return Address::local(local),
            // Whoever made it up has an address that leads nowhere.
            Err(true) => return Address::nowhere(),
            Err(false) => {}
        }
        let mut swept = BTreeMap::new();
        let mut tables = self.tables();
        if let Some(proxy) = tables.proxies.get(to).and_then(Weak::upgrade) {
            return Address(Place::Beyond(proxy));
        }
        if tables.proxies.len() >= tables.sweep_at {
            let all = std::mem::take(&mut tables.proxies).into_iter();
            (tables.proxies, swept) = all.partition(|(_, proxy)| proxy.strong_count() > 0);
            tables.sweep_at = (2 * tables.proxies.len()).max(64);
        }
        let proxy = Arc::new(Proxy { door: Box::new(DurableRemote { system: system.weak(), to: *to }) });
        tables.proxies.insert(*to, Arc::downgrade(&proxy));
        drop(tables);
        drop(swept);
        Address(Place::Beyond(proxy))
    }

    /// The stream from a configuration that is open here to another one; acknowledgements are for it from now on.
    pub(crate) fn stream(&self, from: GuestNumber, identity: &Identity, to: &Token) -> Token {
        let stream = identity.stream(to);
        self.tables().sent.insert(stream, (from, *to));
        stream
    }

    /// Sends to an actor of a durable configuration. What cannot be sent now is lost, unless it is in an outbox.
    fn send(&self, system: &System, to: &DurableAddress, message: Message, sponsor: SponsorId) {
        let (numbered, message) = match message.try_internal::<Numbered>() {
            Ok(Numbered { sender, sequence, message }) => (Some((sender, sequence)), message),
            Err(message) => (None, message),
        };
        match self.local(to) {
            Ok(local) => {
                // It was opened here since the address came.
                let message = match numbered {
                    Some((sender, sequence)) => Message::internal(Numbered { sender, sequence, message }),
                    None => message,
                };
                system.route(&Address::local(local), sponsor, message);
            }
            Err(true) => system.note_dead_letter(),
            Err(false) => {
                let exchange = self.tables().routes.get(&to.configuration).and_then(Weak::upgrade);
                let Some(exchange) = exchange else {
                    if numbered.is_none() {
                        system.note_dead_letter();
                    }
                    return;
                };
                let (stream, sequence) = numbered.map_or(([0; 16], 0), |(sender, sequence)| {
                    (stream_of_name(&sender).unwrap_or_default(), sequence)
                });
                if let Err(error) = exchange.send_letter(to, &stream, sequence, &message) {
                    system.log(format!("a message to another process was not sent: {error}"));
                }
            }
        }
    }

    /// A message of a peer's stream, for an actor that must be here; `None` if the address was not given out.
    pub(super) fn arrived(
        &self,
        exchange: &Arc<Exchange>,
        to: &DurableAddress,
        stream: &Token,
    ) -> Option<Local> {
        let local = self.local(to).ok()?;
        if *stream != [0; 16] {
            let mut tables = self.tables();
            if tables.received.len() >= ROUTES_MAX {
                tables.received.retain(|_, from| from.strong_count() > 0);
            }
            tables.received.insert(*stream, Arc::downgrade(exchange));
        }
        Some(local)
    }

    /// Tells the sender of a stream that it was committed up to a number.
    pub(crate) fn acknowledge(&self, system: &System, stream: &Token, sequence: u64) {
        let from = self.tables().received.get(stream).and_then(Weak::upgrade);
        match from {
            Some(exchange) => exchange.acknowledge(stream, sequence),
            None => self.acknowledged(system, stream, sequence),
        }
    }

    /// Tells the sender of a stream that what comes after a number is missing.
    pub(crate) fn lack(&self, stream: &Token, sequence: u64) {
        let from = self.tables().received.get(stream).and_then(Weak::upgrade);
        if let Some(exchange) = from {
            exchange.lack(stream, sequence);
        }
    }

    /// The receiver of a stream of a configuration that is open here has committed it up to a number.
    pub(super) fn acknowledged(&self, system: &System, stream: &Token, sequence: u64) {
        let sender = self.tables().sent.get(stream).copied();
        if let Some((number, to)) = sender {
            let target = name_of_configuration(&to);
            system.request(number, DurableRequest::Acknowledge { target, sequence });
        }
    }

    /// The receiver of a stream lacks what comes after a number: all that it has not committed is sent again.
    pub(super) fn lacked(&self, system: &System, stream: &Token) {
        let sender = self.tables().sent.get(stream).copied();
        if let Some((number, to)) = sender {
            system.request(number, DurableRequest::Resend { target: name_of_configuration(&to) });
        }
    }
}

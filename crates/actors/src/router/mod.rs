//! Routers: messages and addresses between configurations of different processes.
//!
//! Within a process the directory of `system` is the router. Between processes each side has an [`Exchange`]
//! per peer: an address that leaves becomes a token of 128 random bits, and one that arrives becomes a
//! **proxy**. When the last copy of a proxy is dropped, the peer gets notice, and forgets the token. A token
//! that was not given out leads nowhere: a message to it is dropped whole, before anything is made of what it
//! carries. Delivery is as good as the stream: what is under way when it ends is lost, but for what one
//! durable configuration sends to another (`peers`): that is taken once.
//!
//! [`Link`] is the seam for other ways between machines: what can carry frames can join configurations.
//!
//! Lock: an exchange's tables; nothing is sent, dropped or delivered under it.

pub mod frame;
pub(crate) mod peers;
mod unix;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use banyan_core::sponsors::SponsorId;
use parking_lot::{Mutex, MutexGuard};

use self::frame::{Frame, FrameAddress, FrameError, VERSION, Writer};
use crate::durable::identity::{name_of_stream, random_token};
use crate::durable::requests::Numbered;
use crate::model::address::{Address, Door, Place, Proxy};
use crate::model::durable_address::{DurableAddress, Token};
use crate::model::message::{Message, Packet};
use crate::sponsors::sponsor::Sponsor;
use crate::system::handle::Handle;

pub use crate::model::durable_address::Token as ActorToken;
pub use unix::{UnixRouter, UnixRouterError};

/// What joins configurations of different processes or machines.
pub trait Router {
    /// Makes an actor reachable with the token that is returned. It is not forgotten.
    fn publish(&self, actor: &Address) -> Token;

    /// The address of what a peer has published. Whether it is there shows when it answers.
    fn import(&self, token: Token) -> Address;
}

/// Carries frames to one peer.
pub trait Link: Send + Sync {
    /// Puts a frame on its way; it may be lost if the peer is.
    fn carry(&self, frame: Vec<u8>);
}

/// Why a peer is not listened to any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// What it sent is no frame.
    #[error("the peer sent what is no frame: {0}")]
    Frame(#[from] FrameError),
    /// It speaks another version.
    #[error(
        "the peer speaks version {0} of the frames, this process {VERSION}: run the same version on both sides"
    )]
    Version(u32),
    /// It said something before it greeted.
    #[error("the peer sent a message before its greeting")]
    NoGreeting,
}

/// A token of this side that the peer knows.
struct Export {
    address: Address,
    /// How often the peer was given it and has not said that it dropped it.
    held: u64,
}

#[derive(Default)]
struct Tables {
    exports: BTreeMap<Token, Export>,
    /// Tokens of exported actors, by their places.
    tokens: BTreeMap<(u32, u32, u32), Token>,
    imports: BTreeMap<Token, Weak<Proxy>>,
    greeted: bool,
    /// Imports after which those that are dropped are looked for.
    sweep_at: usize,
}

type FrameWriter<'a> = Writer<&'a mut dyn FnMut(&[u8])>;

/// What was published, to every peer.
pub(crate) type Published = Arc<Mutex<BTreeMap<Token, Address>>>;

/// One side of the traffic with one peer.
pub struct Exchange {
    this: Weak<Exchange>,
    handle: Handle,
    link: Box<dyn Link>,
    /// Who pays for what arrives; else the target's configuration.
    sponsor: Option<Sponsor>,
    published: Published,
    tables: Mutex<Tables>,
}

/// What stands for an actor of the peer.
struct Remote {
    exchange: Weak<Exchange>,
    token: Token,
    /// How often the address has arrived.
    arrived: Arc<AtomicU64>,
}

impl Door for Remote {
    fn deliver(&self, message: Message, _: SponsorId) {
        let Some(exchange) = self.exchange.upgrade() else { return };
        if let Err(error) = exchange.send(self.token, &message) {
            exchange
                .handle
                .system
                .facilities
                .log(format!("a message to another process was not sent: {error}"));
        }
    }

    fn describe(&self) -> String {
        format!("remote {:02x}{:02x}..", self.token[0], self.token[1])
    }

    fn token(&self) -> Option<Token> {
        Some(self.token)
    }

    fn arrived_again(&self) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let count = self.arrived.load(Ordering::Relaxed);
        if count > 0
            && let Some(exchange) = self.exchange.upgrade()
        {
            exchange.note(|writer| writer.dropped(&self.token, count));
        }
    }
}

impl Exchange {
    /// An exchange over a link, which is greeted at once.
    #[must_use]
    pub fn new(handle: Handle, link: Box<dyn Link>, sponsor: Option<Sponsor>) -> Arc<Self> {
        Self::with_published(handle, link, sponsor, Published::default())
    }

    pub(crate) fn with_published(
        handle: Handle,
        link: Box<dyn Link>,
        sponsor: Option<Sponsor>,
        published: Published,
    ) -> Arc<Self> {
        let exchange = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            handle,
            link,
            sponsor,
            published,
            tables: Mutex::new(Tables { sweep_at: 64, ..Tables::default() }),
        });
        exchange.note(|writer| writer.greeting(VERSION));
        exchange.handle.system.peers.join(&exchange.handle.system, &exchange);
        exchange
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock()
    }

    /// Tokens of this side that the peer holds, and proxies of its actors on this side.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let tables = self.tables();
        let live = tables.imports.values().filter(|proxy| proxy.strong_count() > 0).count();
        (tables.exports.len(), live)
    }

    /// The token of an actor, for a message to the peer.
    fn token_for(&self, address: &Address) -> FrameAddress {
        if let Some(durable) = self.handle.system.facilities.identities.durable_address(address) {
            return FrameAddress::Durable(durable);
        }
        if let Place::Beyond(proxy) = &address.0
            && let Some(token) = proxy.door().token()
            && self
                .tables()
                .imports
                .get(&token)
                .is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(proxy)))
        {
            return FrameAddress::Receivers(token);
        }
        let mut tables = self.tables();
        let known = match &address.0 {
            Place::Local(local) => {
                tables.tokens.get(&(local.configuration, local.slot, local.generation)).copied()
            }
            // A process that passes on another's door stands between.
            Place::Beyond(_) => None,
        };
        let token = known.unwrap_or_else(random_token);
        if let Place::Local(local) = &address.0 {
            tables.tokens.insert((local.configuration, local.slot, local.generation), token);
        }
        tables.exports.entry(token).or_insert_with(|| Export { address: address.clone(), held: 0 }).held += 1;
        FrameAddress::Senders(token)
    }

    fn send(&self, target: Token, message: &Message) -> Result<(), String> {
        self.send_packet(message, |writer, addresses, bytes| writer.message(&target, addresses, bytes))
    }

    /// Sends a message of a stream to an actor of a durable configuration; of no stream if `sequence` is 0.
    fn send_letter(
        &self,
        to: &DurableAddress,
        stream: &Token,
        sequence: u64,
        message: &Message,
    ) -> Result<(), String> {
        self.send_packet(message, |writer, addresses, bytes| {
            writer.letter(to, stream, sequence, addresses, bytes)
        })
    }

    fn send_packet(
        &self,
        message: &Message,
        write: impl FnOnce(&mut FrameWriter<'_>, &[FrameAddress], &[u8]) -> Result<(), FrameError>,
    ) -> Result<(), String> {
        let packet = message.to_packet().map_err(|error| error.to_string())?;
        let addresses: Vec<FrameAddress> = packet.addresses.iter().map(|one| self.token_for(one)).collect();
        let mut frame = Vec::with_capacity(packet.bytes.len() + 96 + 41 * addresses.len());
        let mut put = |bytes: &[u8]| frame.extend_from_slice(bytes);
        let mut writer: FrameWriter<'_> = Writer::new(&mut put);
        if let Err(error) = write(&mut writer, &addresses, &packet.bytes) {
            for address in addresses {
                if let FrameAddress::Senders(token) = address {
                    drop(self.forget(token, 1));
                }
            }
            return Err(error.to_string());
        }
        self.link.carry(frame);
        Ok(())
    }

    /// Puts a notice on its way.
    fn note(&self, write: impl FnOnce(&mut FrameWriter<'_>) -> Result<(), FrameError>) {
        let mut frame = Vec::new();
        let mut put = |bytes: &[u8]| frame.extend_from_slice(bytes);
        if write(&mut Writer::new(&mut put)).is_ok() {
            self.link.carry(frame);
        }
    }

    fn present(&self, configuration: &Token) {
        self.note(|writer| writer.present(configuration));
    }

    fn acknowledge(&self, stream: &Token, sequence: u64) {
        self.note(|writer| writer.acknowledged(stream, sequence));
    }

    fn lack(&self, stream: &Token, sequence: u64) {
        self.note(|writer| writer.lacking(stream, sequence));
    }

    /// The peer holds a token `count` times less. What is not held any more is returned, to be dropped
    /// without the lock.
    fn forget(&self, token: Token, count: u64) -> Option<Address> {
        let mut tables = self.tables();
        let export = tables.exports.get_mut(&token)?;
        export.held = export.held.saturating_sub(count);
        if export.held > 0 {
            return None;
        }
        let export = tables.exports.remove(&token)?;
        if let Place::Local(local) = &export.address.0 {
            tables.tokens.remove(&(local.configuration, local.slot, local.generation));
        }
        Some(export.address)
    }

    /// An actor of the peer, of whose address this is one more copy.
    fn proxy(&self, token: Token, came: u64) -> Address {
        let mut swept = Vec::new();
        let mut tables = self.tables();
        if let Some(proxy) = tables.imports.get(&token).and_then(Weak::upgrade) {
            (0..came).for_each(|_| proxy.door().arrived_again());
            return Address(Place::Beyond(proxy));
        }
        if tables.imports.len() >= tables.sweep_at {
            let (live, dead) = std::mem::take(&mut tables.imports)
                .into_iter()
                .partition::<BTreeMap<_, _>, _>(|(_, proxy)| proxy.strong_count() > 0);
            tables.imports = live;
            tables.sweep_at = (2 * tables.imports.len()).max(64);
            swept.push(dead);
        }
        let arrived = Arc::new(AtomicU64::new(came));
        let remote = Remote { exchange: self.this.clone(), token, arrived };
        let proxy = Proxy::new(Box::new(remote));
        tables.imports.insert(token, Arc::downgrade(&proxy));
        drop(tables);
        Address(Place::Beyond(proxy))
    }

    /// The actor of this side that a token names.
    fn own(&self, token: &Token) -> Option<Address> {
        if let Some(export) = self.tables().exports.get(token) {
            return Some(export.address.clone());
        }
        self.published.lock().get(token).cloned()
    }

    /// Takes one frame from the peer, without its length.
    ///
    /// # Errors
    /// [`PeerError`]: reading from the peer must stop.
    pub fn take(&self, frame: &[u8]) -> Result<(), PeerError> {
        let frame = Frame::decode(frame)?;
        if let Frame::Greeting { version } = frame {
            if version != VERSION {
                return Err(PeerError::Version(version));
            }
            self.tables().greeted = true;
            return Ok(());
        }
        if !self.tables().greeted {
            return Err(PeerError::NoGreeting);
        }
        match frame {
            Frame::Greeting { .. } => {}
            Frame::Message { target, addresses, bytes } => {
                let Some(target) = self.own(&target) else {
                    self.handle.system.note_dead_letter();
                    // What the message carried has arrived, and is not held.
                    self.refuse(addresses.iter());
                    return Ok(());
                };
                self.route(&target, self.message(&addresses, bytes));
            }
            Frame::Letter { target, stream, sequence, addresses, bytes } => {
                let system = &self.handle.system;
                let arrived = self.this.upgrade().and_then(|exchange| {
                    let stream = if sequence == 0 { [0; 16] } else { stream };
                    system.peers.arrived(system, &exchange, &target, &stream)
                });
                let Some(local) = arrived else {
                    system.note_dead_letter();
                    self.refuse(addresses.iter());
                    return Ok(());
                };
                let message = self.message(&addresses, bytes);
                let message = if sequence == 0 {
                    message
                } else {
                    let sender = name_of_stream(&stream);
                    Message::internal(Numbered { sender, sequence, message })
                };
                self.route(&Address::local(local), message);
            }
            Frame::Acknowledged { stream, sequence } => {
                self.handle.system.peers.acknowledged(&self.handle.system, &stream, sequence);
            }
            Frame::Lacking { stream, .. } => {
                self.handle.system.peers.lacked(&self.handle.system, &stream);
            }
            Frame::Present { configuration } => {
                if let Some(exchange) = self.this.upgrade() {
                    self.handle.system.peers.peer_has(&self.handle.system, &exchange, configuration);
                }
            }
            Frame::Dropped { token, count } => drop(self.forget(token, count)),
        }
        Ok(())
    }

    /// What a frame carries, as a message.
    fn message(&self, addresses: &frame::Addresses<'_>, bytes: &[u8]) -> Message {
        let addresses = addresses.iter().map(|address| match address {
            FrameAddress::Senders(token) => self.proxy(token, 1),
            FrameAddress::Receivers(token) => self.own(&token).unwrap_or(Address::nowhere()),
            FrameAddress::Durable(to) => self.handle.system.facilities.identities.address(&to),
        });
        Message::from_packet(Packet { addresses: addresses.collect(), bytes: bytes.to_vec() })
    }

    fn route(&self, target: &Address, message: Message) {
        match &self.sponsor {
            Some(sponsor) => self.handle.system.route(target, sponsor.id, message),
            None => self.handle.deliver(target, message),
        }
    }

    fn refuse(&self, addresses: impl Iterator<Item = FrameAddress>) {
        for address in addresses {
            let FrameAddress::Senders(token) = address else { continue };
            self.note(|writer| writer.dropped(&token, 1));
        }
    }
}

impl Router for Exchange {
    fn publish(&self, actor: &Address) -> Token {
        let token = random_token();
        self.published.lock().insert(token, actor.clone());
        token
    }

    fn import(&self, token: Token) -> Address {
        self.proxy(token, 0)
    }
}

//! [`Peers`]: where durable configurations of other processes are open, and what is said to them.
//!
//! A peer is believed when it says that a configuration is open at its end: peers of a router are processes
//! that trust each other with that.
//!
//! Lock: the tables; nothing is sent, dropped or routed under it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use banyan_core::sponsors::SponsorId;
use parking_lot::Mutex;

use super::Exchange;
use crate::durable::identities::NotHere;
use crate::durable::identity::{name_of_configuration, stream_of_name};
use crate::durable::requests::{DurableRequest, Numbered};
use crate::model::address::{Address, ConfigurationNumber, Door, Local};
use crate::model::durable_address::{DurableAddress, Token};
use crate::model::message::Message;
use crate::system::System;
use crate::system::numbers::Numbers;

/// Configurations that one peer may say are open at its end: a bound on what it can make this process
/// remember.
const ROUTES_MAX: usize = 65_536;

#[derive(Default)]
struct Tables {
    /// At which peer another configuration is open.
    routes: BTreeMap<Token, Weak<Exchange>>,
    exchanges: Vec<Weak<Exchange>>,
    /// From which peer a stream came last.
    received: BTreeMap<Token, Weak<Exchange>>,
}

/// The peers of this process, as far as durable configurations are concerned.
#[derive(Default)]
pub(crate) struct Peers {
    tables: Mutex<Tables>,
}

/// What stands for an actor of a durable configuration that is not open here, wherever it is open when
/// something is sent.
pub(crate) struct DurableRemote {
    pub(crate) system: Weak<System>,
    pub(crate) to: DurableAddress,
}

impl Door for DurableRemote {
    fn deliver(&self, message: Message, sponsor: SponsorId) {
        if let Some(system) = self.system.upgrade() {
            system.peers.send(&system, &self.to, message, sponsor);
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

impl Peers {
    /// Tells the peers of a configuration that is open here: they may have something for it.
    pub(crate) fn announce(&self, configuration: &Token) {
        for exchange in self.exchanges() {
            exchange.present(configuration);
        }
    }

    fn exchanges(&self) -> Vec<Arc<Exchange>> {
        let mut tables = self.tables.lock();
        tables.exchanges.retain(|exchange| exchange.strong_count() > 0);
        tables.exchanges.iter().filter_map(Weak::upgrade).collect()
    }

    /// A peer is there: it gets notice of what is open here, now and later.
    pub(super) fn join(&self, system: &System, exchange: &Arc<Exchange>) {
        // First: what is opened from here on is announced to it too.
        self.tables.lock().exchanges.push(Arc::downgrade(exchange));
        system.facilities.identities.here().iter().for_each(|configuration| exchange.present(configuration));
    }

    /// A peer says that a configuration is open at its end: it gets what waits for it.
    pub(super) fn peer_has(&self, system: &System, exchange: &Arc<Exchange>, configuration: Token) {
        let mut tables = self.tables.lock();
        tables.routes.retain(|_, route| route.strong_count() > 0);
        let of_peer = tables.routes.values().filter(|route| route.as_ptr() == Arc::as_ptr(exchange)).count();
        if of_peer >= ROUTES_MAX {
            return;
        }
        tables.routes.insert(configuration, Arc::downgrade(exchange));
        drop(tables);
        let senders: Vec<ConfigurationNumber> =
            system.facilities.identities.numbers_here().into_iter().chain([Numbers::LEDGER]).collect();
        let target = name_of_configuration(&configuration);
        for number in senders {
            system.request(number, DurableRequest::Resend { target: target.clone() });
        }
    }

    /// Sends to an actor of a durable configuration. What cannot be sent now is lost, unless it is in an
    /// outbox.
    fn send(&self, system: &System, to: &DurableAddress, message: Message, sponsor: SponsorId) {
        let (numbered, message) = match message.try_internal::<Numbered>() {
            Ok(Numbered { sender, sequence, message }) => (Some((sender, sequence)), message),
            Err(message) => (None, message),
        };
        match system.facilities.identities.local(to) {
            Ok(local) => {
                // It was opened here since the address came.
                let message = match numbered {
                    Some((sender, sequence)) => Message::internal(Numbered { sender, sequence, message }),
                    None => message,
                };
                system.route(&Address::local(local), sponsor, message);
            }
            Err(NotHere::WrongSeal) => system.note_dead_letter(),
            Err(NotHere::NotOpen) => {
                let exchange = self.tables.lock().routes.get(&to.configuration).and_then(Weak::upgrade);
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
                    system.facilities.log(format!("a message to another process was not sent: {error}"));
                }
            }
        }
    }

    /// A message of a peer's stream, for an actor that must be here; `None` if the address was not given out.
    pub(super) fn arrived(
        &self,
        system: &System,
        exchange: &Arc<Exchange>,
        to: &DurableAddress,
        stream: &Token,
    ) -> Option<Local> {
        let local = system.facilities.identities.local(to).ok()?;
        if *stream != [0; 16] {
            let mut tables = self.tables.lock();
            if tables.received.len() >= ROUTES_MAX {
                tables.received.retain(|_, from| from.strong_count() > 0);
            }
            tables.received.insert(*stream, Arc::downgrade(exchange));
        }
        Some(local)
    }

    /// Tells the sender of a stream that it was committed up to a number.
    pub(crate) fn acknowledge(&self, system: &System, stream: &Token, sequence: u64) {
        let from = self.tables.lock().received.get(stream).and_then(Weak::upgrade);
        match from {
            Some(exchange) => exchange.acknowledge(stream, sequence),
            None => self.acknowledged(system, stream, sequence),
        }
    }

    /// Tells the sender of a stream that what comes after a number is missing.
    pub(crate) fn lack(&self, stream: &Token, sequence: u64) {
        let from = self.tables.lock().received.get(stream).and_then(Weak::upgrade);
        if let Some(exchange) = from {
            exchange.lack(stream, sequence);
        }
    }

    /// The receiver of a stream of a configuration that is open here has committed it up to a number.
    pub(super) fn acknowledged(&self, system: &System, stream: &Token, sequence: u64) {
        let sender = system.facilities.identities.sender_of(stream);
        if let Some((number, to)) = sender {
            let target = name_of_configuration(&to);
            system.request(number, DurableRequest::Acknowledge { target, sequence });
        }
    }

    /// The receiver of a stream lacks what comes after a number: all that it has not committed is sent again.
    pub(super) fn lacked(&self, system: &System, stream: &Token) {
        let sender = system.facilities.identities.sender_of(stream);
        if let Some((number, to)) = sender {
            system.request(number, DurableRequest::Resend { target: name_of_configuration(&to) });
        }
    }
}

//! [`Identities`]: the durable configurations that are open in this process, and the addresses of those that
//! are not.
//!
//! What durable configurations send each other is taken once, whatever is killed and whichever connection
//! breaks: messages of a stream are numbered, kept in the sender's outbox until the receiver has committed
//! them, and sent again when the receiver is open again or says that it lacks some. Where a configuration of
//! another process is open is not known here but to `router::peers`.
//!
//! Lock: the tables; nothing is sent, dropped or routed under it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::durable::identity::Identity;
use crate::model::address::{Address, ConfigurationNumber, Door, Local, Place, Proxy};
use crate::model::durable_address::{DurableAddress, Token};
use crate::system::numbers::Numbers;

#[derive(Default)]
struct Tables {
    /// Configurations that are open here.
    here: BTreeMap<Token, (ConfigurationNumber, Identity)>,
    by_number: BTreeMap<ConfigurationNumber, Token>,
    /// Addresses of actors of other processes that are held here.
    proxies: BTreeMap<DurableAddress, Weak<Proxy>>,
    sweep_at: usize,
    /// Streams of configurations that are open here, and to which configuration.
    sent: BTreeMap<Token, (ConfigurationNumber, Token)>,
}

/// What leads to no actor of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotHere {
    /// Its configuration is open here, and the seal is not one that it made.
    WrongSeal,
    /// Its configuration is not open here.
    NotOpen,
}

/// Makes what stands for an actor that is not open here.
type StandIn = Box<dyn Fn(&DurableAddress) -> Box<dyn Door> + Send + Sync>;

/// What a process knows of durable configurations, its own and others'.
pub(crate) struct Identities {
    pub(crate) numbers: Numbers,
    tables: Mutex<Tables>,
    stand_in: StandIn,
}

impl Identities {
    pub(crate) fn new(stand_in: StandIn) -> Self {
        Self { numbers: Numbers::new(), tables: Mutex::default(), stand_in }
    }

    /// A configuration is open here from now on; `false` if one with the same identity is already.
    pub(crate) fn open(&self, number: ConfigurationNumber, identity: Identity) -> bool {
        let mut tables = self.tables.lock();
        if tables.here.contains_key(&identity.configuration) {
            return false;
        }
        tables.here.insert(identity.configuration, (number, identity));
        tables.by_number.insert(number, identity.configuration);
        true
    }

    /// A configuration is not open here any more.
    pub(crate) fn close(&self, number: ConfigurationNumber) {
        let mut tables = self.tables.lock();
        if let Some(configuration) = tables.by_number.remove(&number) {
            tables.here.remove(&configuration);
            tables.sent.retain(|_, (sender, _)| *sender != number);
        }
    }

    /// What is open here, by identity.
    pub(crate) fn here(&self) -> Vec<Token> {
        self.tables.lock().here.keys().copied().collect()
    }

    /// What is open here, by number.
    pub(crate) fn numbers_here(&self) -> Vec<ConfigurationNumber> {
        self.tables.lock().by_number.keys().copied().collect()
    }

    /// Which configuration that is open here sends a stream, and to which one.
    pub(crate) fn sender_of(&self, stream: &Token) -> Option<(ConfigurationNumber, Token)> {
        self.tables.lock().sent.get(stream).copied()
    }

    /// The address of an actor for any process, if it is one of a durable configuration that is open or was
    /// met elsewhere.
    pub(crate) fn durable_address(&self, address: &Address) -> Option<DurableAddress> {
        match &address.0 {
            Place::Local(local) => self.seal(local),
            Place::Beyond(proxy) => proxy.door().durable(),
        }
    }

    /// The address of a local actor for other processes, if it is one of a durable configuration.
    pub(crate) fn seal(&self, local: &Local) -> Option<DurableAddress> {
        let tables = self.tables.lock();
        let configuration = tables.by_number.get(&local.configuration)?;
        let (_, identity) = tables.here.get(configuration)?;
        Some(identity.seal(local.slot, local.generation))
    }

    /// The local actor of a sealed address; [`NotHere`] if it leads to none.
    pub(crate) fn local(&self, to: &DurableAddress) -> Result<Local, NotHere> {
        let tables = self.tables.lock();
        let (number, identity) = tables.here.get(&to.configuration).ok_or(NotHere::NotOpen)?;
        let sealed = identity.seal(to.slot, to.generation);
        // The comparison takes as long whichever byte is wrong: a peer cannot feel its way to a seal.
        let difference = sealed.seal.iter().zip(&to.seal).fold(0, |all, (one, other)| all | (one ^ other));
        if difference != 0 {
            return Err(NotHere::WrongSeal);
        }
        Ok(Local { configuration: *number, slot: to.slot, generation: to.generation })
    }

    /// The actor that an address from elsewhere leads to: one that is here, or what stands for it.
    pub(crate) fn address(&self, to: &DurableAddress) -> Address {
        match self.local(to) {
            Ok(local) => return Address::local(local),
            // An address that was made up leads nowhere.
            Err(NotHere::WrongSeal) => return Address::nowhere(),
            Err(NotHere::NotOpen) => {}
        }
        let mut swept = BTreeMap::new();
        let mut tables = self.tables.lock();
        if let Some(proxy) = tables.proxies.get(to).and_then(Weak::upgrade) {
            return Address(Place::Beyond(proxy));
        }
        if tables.proxies.len() >= tables.sweep_at {
            let all = std::mem::take(&mut tables.proxies).into_iter();
            (tables.proxies, swept) = all.partition(|(_, proxy)| proxy.strong_count() > 0);
            tables.sweep_at = (2 * tables.proxies.len()).max(64);
        }
        let proxy = Proxy::new((self.stand_in)(to));
        tables.proxies.insert(*to, Arc::downgrade(&proxy));
        drop(tables);
        drop(swept);
        Address(Place::Beyond(proxy))
    }

    /// The stream from a configuration that is open here to another one; acknowledgements are for it from now
    /// on.
    pub(crate) fn stream(&self, from: ConfigurationNumber, identity: &Identity, to: &Token) -> Token {
        let stream = identity.stream(to);
        self.tables.lock().sent.insert(stream, (from, *to));
        stream
    }
}

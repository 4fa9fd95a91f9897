//! Signals of the ledger to durable controllers: numbered, kept, sent, and sent again to a controller that
//! may lack some.
//!
//! Lock order: `System::signalling` is held from numbering to sending, so that a stream's signals arrive in
//! their order; under it the accounts, and under that the tables of `durable::identities`.

use super::System;
use super::numbers::Numbers;
use crate::configuration::event::Event;
use crate::durable::identity::name_of_stream;
use crate::durable::requests::Numbered;
use crate::durable::signals::{Due, sealed};
use crate::durable::stored::StoredAddress;
use crate::model::address::{Local, Place};
use crate::model::durable_address::{DurableAddress, Token};
use crate::model::message::Message;
use crate::sponsors::accounts::Accounts;

impl System {
    /// Sends the signals that are new, and all that a configuration may lack.
    pub(crate) fn send_signals(&self, lacking: Option<&Token>) {
        let _order = self.signalling.lock();
        let mut accounts = self.facilities.accounts();
        let Accounts { signals, changed, .. } = &mut *accounts;
        let (due, has_numbered) = signals.due(lacking, |stored| self.durable_address_of(stored));
        *changed |= has_numbered;
        let identity = signals.identity;
        let identities = &self.facilities.identities;
        // A number that the store does not know would be given to another signal after a crash, and that
        // would be taken for this one.
        accounts.keep();
        if accounts.unkept.is_some() {
            accounts.signals.hold_back(&due);
            return;
        }
        let is_kept = accounts.is_kept();
        if !is_kept {
            // What is due goes out as to any controller; nothing would bring back the rest.
            accounts.signals.forget();
        }
        drop(accounts);
        for Due { to, payer, signal, sequence } in due {
            let mut message = Message::new(signal);
            if is_kept {
                let stream = identities.stream(Numbers::LEDGER, &identity, &to.configuration);
                message = Message::internal(Numbered { sender: name_of_stream(&stream), sequence, message });
            }
            match identities.address(&to).0 {
                Place::Local(Local { configuration, slot, generation }) => {
                    let generation = generation | Event::PREPAID;
                    self.route_event(configuration, Event { slot, generation, sponsor: payer, message });
                }
                // Wherever it is open; if nowhere, it is sent again when it is.
                Place::Beyond(proxy) => proxy.deliver(message, payer),
            }
        }
    }

    /// The address by which any process knows an actor of a durable configuration, if that was open here
    /// since it was kept.
    fn durable_address_of(&self, stored: &StoredAddress) -> Option<DurableAddress> {
        match stored {
            StoredAddress::Remote { address } => sealed(address),
            StoredAddress::Other { name, slot, generation } => {
                let configuration = self.facilities.numbers().known(name)?;
                self.facilities.identities.seal(&Local {
                    configuration,
                    slot: *slot,
                    generation: *generation,
                })
            }
            StoredAddress::Own { .. } | StoredAddress::Gone => None,
        }
    }
}

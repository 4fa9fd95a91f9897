//! Who pays for events: sponsors, their accounts, and the leases from which processors pay.
//!
//! Not here: the decisions on sponsors (`banyan_core::sponsors`), and how accounts are kept (`durable`).

pub(crate) mod accounts;
pub(crate) mod lease;
pub(crate) mod sponsor;

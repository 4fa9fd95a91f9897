//! What is kept. Durable configurations: after each batch of events, states, waiting events and unsent
//! messages are committed together.
//!
//! - **Nothing leaves before it is durable.** What events of a batch send to others is held until the batch's
//!   commit.
//! - **Exactly once.** A message to another durable configuration, of this process or of another one that a
//!   router has joined, is kept in the outbox until that one has committed it, and is sent again when either
//!   is opened again; the receiver takes each (sender, sequence) once, in order. What comes from outside can
//!   be numbered too ([`Handle::send_once`](crate::Handle::send_once)). Other messages are sent
//!   once after the commit, and are lost if the process ends just then.
//! - **Sponsors too.** The ledger is such a receiver: what an event makes, gives, starts and stops is carried
//!   out after the commit. If the budgets are kept, it is in the store until the ledger has it for good,
//!   which takes each (configuration, number) once (`changes`), and it is such a sender of what it signals to
//!   controllers (`signals`). If they are not, the ledger ends with the process, and nothing is stored.
//! - **At most once**: work for the pool and configurations that are asked for. They are begun after
//!   the commit, and lost if the process ends before.
//! - **A full or faulty disk** is waited out: the batch is committed when there is room, or when the store
//!   can be opened and written again (`room`).
//! - **Group commit.** One sync serves all events of a batch, up to [`BATCH_EVENTS`].
//!
//! Kept: actors made from [`DurableActor`](crate::DurableActor) or another behaviour that can be saved, the
//! queue, the outbox, timers by their date. Not kept, and refused inside a durable configuration: actors that
//! cannot be saved, so also what waits for an answer. Supervisors, links and monitors last as long as the
//! process. The sponsors of waiting events are kept if the budgets are
//! ([`Runtime::start_kept`](crate::Runtime::start_kept)), else replaced by the configuration's own.

mod actors;
pub(crate) mod budgets;
pub(crate) mod changes;
mod commit;
mod error;
#[cfg(test)]
mod format;
mod health;
mod held;
pub(crate) mod identities;
pub(crate) mod identity;
mod keys;
mod kinds;
mod outbox;
pub(crate) mod records;
pub(crate) mod requests;
pub(crate) mod room;
pub(crate) mod signals;
mod state;
mod store;
pub(crate) mod stored;
mod waking;

pub use budgets::KeepBudgetsError;
pub(crate) use error::CommitFailed;
pub use error::{DurableError, OpenDurableError};
pub use health::StoreHealth;
pub use kinds::Kinds;
pub use records::RecordsError;
pub(crate) use state::Durability;
pub use state::{BATCH_EVENTS, KillPoint};
pub use store::{DurableSeed, DurableStore};

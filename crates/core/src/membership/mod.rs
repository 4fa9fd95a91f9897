//! Who belongs to a cluster, and who may come in.
//!
//! The root company agrees on all of it ([`Agreed`]): the list of members, the book of tokens, the names of
//! what runs in the cluster. Here changes are decided and applied; the clock is given, and secrets come
//! as their digests. Not here: keys and certificates, what is written to disk, and who is reachable.

mod agreed;
mod leases;
mod members;
mod names;
mod token;
mod tokens;

pub use agreed::{Agreed, Change};
pub use leases::Leases;
pub use members::{MEMBERS_MAX, Members, NAME_BYTES_MAX, check_machine, is_name};
pub use names::{LEASE_SECONDS, NAMES_MAX, Named, Names, VALUE_BYTES_MAX};
pub use token::{Token, TokenError};
pub use tokens::{Issued, Standing, TokenBook, Uses};

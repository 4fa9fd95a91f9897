//! Who belongs to a cluster, and who may come in.
//!
//! The root keeps both: the book of tokens, and the list of members. Here is what it decides; the clock is
//! given, and secrets come as their digests. Not here: keys and certificates, what is written to disk, and
//! who is reachable at the moment.

mod members;
mod token;
mod tokens;

pub use members::{MEMBERS_MAX, Members, NAME_BYTES_MAX, check_machine, is_name};
pub use token::{Token, TokenError};
pub use tokens::{Issued, Standing, TokenBook, Uses};

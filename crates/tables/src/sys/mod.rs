//! SQLite's side of a table: the objects that its interface for virtual tables asks for.

mod adapter;

pub(crate) use adapter::{Entry, module};

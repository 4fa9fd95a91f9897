//! System calls of a remote thread, which its deputy at home makes.

use super::memory::{Placement, compare, two_nodes};
use super::outcome::Outcome;
use super::session::Session;
use super::tcp;
use anyhow::Context;

const CALLS: usize = 8192;

/// `syscall.deputy`.
pub(crate) fn deputy(session: &mut Session) -> anyhow::Result<Outcome> {
    compare(
        session,
        "us",
        Placement::OneProcessor,
        |session, sides| tcp::round_trip(session, sides, CALLS, 64),
        |session, sides| {
            let numbers = two_nodes(session, sides, &["calls", &CALLS.to_string()])?;
            numbers.get("p50").copied().context("no median")
        },
    )
}

//! The numbers that shape the protocol without changing what is correct.

use banyan_wire::ids::{Microseconds, NodeId};

/// Times and sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// The node that knows, for every extent, a node that knows its owner.
    pub home: NodeId,
    /// After a page was granted for writing, it stays there at least this long, so that two writers both
    /// progress.
    pub hold: Microseconds,
    /// A page that its writers want back at once stays longer, up to about this; see the head of `hold`.
    pub hold_max: Microseconds,
    /// A thread that asks for a page again, and has not run for longer than this at a stretch since the page
    /// was lost, was not done with it.
    pub regret: Microseconds,
    /// A node's turn with the pages that many fight over ends after this long; zero turns turns off.
    pub turn_max: Microseconds,
    /// After this long without an answer, whatever waits for one asks again.
    pub retry: Microseconds,
    /// Grants of more pages than this go by the bulk connection.
    pub urgent_pages: u32,
    /// Pages that the second fault of an ascending stream asks for. Zero turns prefetch off.
    pub window_first: u32,
    /// The window doubles with every further fault of the stream, up to this.
    pub window_max: u32,
    /// How many windows are requested beyond the one that the reader has begun.
    pub windows_ahead: u32,
    /// When nodes in turn have read and then written a page this often, its readers get it for writing at
    /// once. Zero turns this off.
    pub migrates_after: u8,
    /// Whether an extent that is empty when first asked for becomes the asker's own.
    pub give_empty: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            home: NodeId::HOME,
            hold: Microseconds(50),
            hold_max: Microseconds(3_000),
            regret: Microseconds(200),
            turn_max: Microseconds(20_000),
            retry: Microseconds(50_000),
            urgent_pages: 16,
            window_first: 4,
            window_max: 256,
            windows_ahead: 2,
            migrates_after: 2,
            give_empty: true,
        }
    }
}

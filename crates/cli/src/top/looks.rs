//! Looks at a node over its socket, one a second or so, in a thread of their own: a node that is silent must
//! not keep the screen from answering keys.

use banyan_node::{Cell, QueryError, QueryMessage};
use banyan_view::{Live, Look, PageRange, View};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// What is wanted of the next looks.
pub(super) enum Wish {
    /// Look now, and at these pages too from now on.
    Now(Option<PageRange>),
}

/// The thread that looks.
pub(super) struct Looks {
    pub(super) wishes: SyncSender<Wish>,
    pub(super) views: Receiver<Result<Box<View>, String>>,
}

/// Looks once, and makes a view of it.
pub(super) fn look(socket: &Path, live: &mut Live, pages: Option<PageRange>) -> Result<View, QueryError> {
    let question = live.question(pages);
    let mut look = Look::of(&question);
    banyan_node::query(socket, &question.sql(), true, &mut |message| {
        match message {
            QueryMessage::Rows(cells) => {
                for pair in cells.chunks(2) {
                    if let [Cell::Text(table), Cell::Text(row)] = pair {
                        look.take(table, row);
                    }
                }
            }
            QueryMessage::Warning(text) => look.lacks(text),
            _ => {}
        }
        true
    })?;
    Ok(live.take(look))
}

/// Starts to look.
pub(super) fn start(socket: PathBuf, every: Duration) -> std::io::Result<Looks> {
    // One of each: what is not taken yet needs no successor.
    let (wishes, wished) = sync_channel(4);
    let (sender, views) = sync_channel(1);
    let look_on = move || {
        let (mut live, mut pages) = (Live::default(), None);
        loop {
            let begun = Instant::now();
            let result = look(&socket, &mut live, pages);
            let result = result.map(Box::new).map_err(|error| error.to_string());
            if sender.send(result).is_err() {
                return;
            }
            match wished.recv_timeout(every.saturating_sub(begun.elapsed())) {
                Ok(Wish::Now(wanted)) => pages = wanted,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    std::thread::Builder::new().name("looks".into()).spawn(look_on)?;
    Ok(Looks { wishes, views })
}

//! What an observer outside sees of the events: a span of `tracing` around each, and counts of `metrics` for
//! each turn. Both are features of the crate, since a span costs as much as a small event, or more.

use crate::configuration::event::Event;
use crate::system::directory::Entry;

/// An event under way, for those that trace.
#[cfg(feature = "tracing")]
pub(super) fn span(entry: &Entry, event: &Event) -> tracing::span::EnteredSpan {
    let generation = event.generation & Event::GENERATION;
    let message = event.proper_message().type_name();
    let (configuration, slot) = (entry.name.as_str(), event.slot);
    tracing::trace_span!(target: "banyan_actors", "event", configuration, slot, generation, message).entered()
}

/// Nothing that is traced.
#[cfg(not(feature = "tracing"))]
pub(super) struct Untraced;

/// An event under way, for those that trace.
#[cfg(not(feature = "tracing"))]
#[inline(always)]
pub(super) fn span(_: &Entry, _: &Event) -> Untraced {
    Untraced
}

/// Events of one turn.
#[inline(always)]
pub(super) fn count(entry: &Entry, completed: u64, failed: u64) {
    #[cfg(feature = "metrics")]
    {
        let name = || entry.name.clone();
        if completed > 0 {
            metrics::counter!("banyan_actors_events_total", "configuration" => name()).increment(completed);
        }
        if failed > 0 {
            metrics::counter!("banyan_actors_failures_total", "configuration" => name()).increment(failed);
        }
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (entry, completed, failed);
}

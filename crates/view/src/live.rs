//! A cluster over time: each look, beside the one before it, becomes a view.
//!
//! Not for what was shown before, which is `history`.

use crate::look::{Look, Memory};
use crate::question::{Depth, PageRange, Question};
use crate::rows::EventRow;
use crate::view::{Span, View};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Events that a view shows at most.
const EVENTS_MAX: usize = 100;
/// Looks between two that ask for everything.
const WHOLE_EVERY: u32 = 5;
/// A look that is older says nothing about the present one.
const SPAN_MAX_S: f64 = 120.0;

/// What is kept from look to look.
#[derive(Debug, Default)]
pub struct Live {
    latest: Option<Look>,
    /// Of the last whole look.
    memory: Memory,
    looks: u32,
    /// The newest, oldest first.
    events: VecDeque<EventRow>,
    /// The node's process, and the number of its next event.
    next_event: BTreeMap<String, (Option<u64>, u64)>,
}

impl Live {
    /// What to ask next.
    #[must_use]
    pub fn question(&self, pages: Option<PageRange>) -> Question {
        let depth = if self.looks.is_multiple_of(WHOLE_EVERY) { Depth::Whole } else { Depth::Quick };
        let events_from = self.next_event.iter().map(|(node, (_, next))| (node.clone(), *next)).collect();
        Question { depth, events_from, pages }
    }

    /// Takes what was found, and makes a view of it and of what was found before.
    pub fn take(&mut self, mut look: Look) -> View {
        look.settle();
        self.looks = self.looks.wrapping_add(1);
        if let Some(memory) = look.memory.take() {
            self.memory = memory;
        }
        self.take_events(&mut look);
        let span = self.latest.as_ref().and_then(|earlier| {
            let seconds = look.at_s - earlier.at_s;
            (seconds > 0.0 && seconds <= SPAN_MAX_S).then_some(Span { earlier, seconds })
        });
        let view = View::new(span, &look, &self.memory, self.events.iter().cloned().collect());
        self.latest = Some(look);
        view
    }

    fn take_events(&mut self, look: &mut Look) {
        for node in &look.nodes {
            let known = self.next_event.entry(node.node.clone()).or_default();
            // Another process counts its events anew; one that is silent has not ended for that.
            if node.process.is_some() && known.0 != node.process {
                *known = (node.process, 0);
            }
        }
        let there: BTreeSet<&str> = look.nodes.iter().map(|node| node.node.as_str()).collect();
        self.next_event.retain(|node, _| there.contains(node.as_str()));
        let mut fresh = std::mem::take(&mut look.events);
        fresh.retain(|event| self.next_event.get(&event.node).is_none_or(|(_, next)| event.number >= *next));
        for event in &fresh {
            if let Some((_, next)) = self.next_event.get_mut(&event.node) {
                *next = (*next).max(event.number.saturating_add(1));
            }
        }
        fresh.sort_by(|one, other| one.at_s.total_cmp(&other.at_s).then(one.number.cmp(&other.number)));
        self.events.extend(fresh);
        let surplus = self.events.len().saturating_sub(EVENTS_MAX);
        self.events.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number after it is none: the count stays.
    #[test]
    fn an_event_may_have_the_last_number_of_all() {
        let mut live = Live::default();
        let mut look = Look::of(&live.question(None));
        look.take("nodes", r#"{"node":"n","process":7}"#);
        look.take("log", r#"{"node":"n","number":18446744073709551615}"#);
        let _view = live.take(look);
        assert_eq!(live.question(None).events_from["n"], u64::MAX);
    }
}

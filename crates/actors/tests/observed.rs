//! What an observer outside sees: a span for each event, the log's lines, and counts.
#![cfg(all(feature = "tracing", feature = "metrics"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use banyan_actors::simulation::Ending;
use banyan_actors::{Addr, Configuration, Context, Failure, Quota, Simulation, closure};
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

/// Spans and events as text, in their order.
#[derive(Clone, Default)]
struct Seen {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Seen {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut text = Text(attributes.metadata().name().to_owned());
        attributes.record(&mut text);
        self.lines.lock().unwrap().push(text.0);
        Id::from_u64(1 + self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text("line".to_owned());
        event.record(&mut text);
        self.lines.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {
        self.lines.lock().unwrap().push("exit".to_owned());
    }
}

#[derive(Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<String, u64>>>);

struct Count(Counts, String);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }

    fn absolute(&self, value: u64) {
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels = key.labels().fold(String::new(), |text, label| text + " " + label.value());
        Counter::from_arc(Arc::new(Count(self.clone(), format!("{}{labels}", key.name()))))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn events_are_spans_and_counts() {
    let (seen, counts) = (Seen::default(), Counts::default());
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let actor = closure((), |(), number: &u32, _: &mut Context<'_>| match number {
        0 => Err(Failure::because("on purpose")),
        _ => Ok(()),
    });
    let actor: Addr<u32> = simulation.create(Configuration::new("counted").with_behaviour(actor)).typed();
    [1, 2, 0].into_iter().for_each(|number| simulation.send(&actor, number));
    let ending = tracing::subscriber::with_default(seen.clone(), || {
        metrics::with_local_recorder(&counts, || simulation.run(1_000))
    });
    assert_eq!(ending, Ending::Drained);
    let span = "event configuration=\"counted\" slot=0 generation=0 message=\"u32\"";
    let line = "line message=counted actor 0.0: on purpose";
    assert_eq!(*seen.lines.lock().unwrap(), [span, "exit", span, "exit", span, "exit", line]);
    let counts = counts.0.lock().unwrap();
    let of = |name: &str| counts.get(name).copied();
    assert_eq!(of("banyan_actors_events_total counted"), Some(2));
    assert_eq!(of("banyan_actors_failures_total counted"), Some(1));
}

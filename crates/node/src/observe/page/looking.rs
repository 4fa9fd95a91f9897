//! Looks at the cluster for all who watch: one look a second for however many, fewer when nobody does.

use super::super::sql::{self, Facts};
use banyan_view::{History, Live, Look, Moment, View, metrics};
use banyan_wire::sql::{Cell, QueryMessage};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between two looks while somebody watches.
const WATCHED: Duration = Duration::from_secs(1);
/// Between two looks while nobody does: what can be replayed later is this dense.
const UNWATCHED: Duration = Duration::from_secs(5);
/// Who has asked within this time watches.
const INTEREST: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Debug)]
pub(super) struct Views {
    history: Mutex<History>,
    metrics: Mutex<Arc<str>>,
    latest: watch::Sender<Option<Moment>>,
    interest: Mutex<Interest>,
    woken: Condvar,
}

/// Who watches.
#[derive(Debug, Default)]
struct Interest {
    streams: usize,
    asked: Option<Instant>,
}

impl Interest {
    fn is_watched(&self) -> bool {
        self.streams > 0 || self.asked.is_some_and(|asked| asked.elapsed() < INTEREST)
    }
}

/// A stream of views that somebody reads, until it is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    views: Arc<Views>,
    latest: watch::Receiver<Option<Moment>>,
    /// The first view is the one that there is.
    has_begun: bool,
}

impl Views {
    pub(super) fn new() -> Self {
        Self {
            history: Mutex::default(),
            metrics: Mutex::new(Arc::from("")),
            latest: watch::Sender::new(None),
            interest: Mutex::default(),
            woken: Condvar::new(),
        }
    }

    /// Looks as long as the process lives.
    pub(super) fn look_on(&self, facts: &Arc<dyn Facts>) {
        let mut live = Live::default();
        loop {
            let begun = Instant::now();
            if let Some(view) = look(facts, &mut live) {
                self.keep(&view);
            }
            self.wait(begun);
        }
    }

    fn keep(&self, view: &View) {
        let Ok(json) = serde_json::to_string(view) else { return };
        *self.metrics.lock() = metrics(view).into();
        let moment = self.history.lock().push(view.at_s, json.into());
        self.latest.send_replace(Some(moment));
    }

    /// Waits until the next look is due: earlier when somebody begins to watch.
    fn wait(&self, begun: Instant) {
        let mut interest = self.interest.lock();
        loop {
            let pause = if interest.is_watched() { WATCHED } else { UNWATCHED };
            if self.woken.wait_until(&mut interest, begun + pause).timed_out() {
                return;
            }
        }
    }

    /// Somebody asks for the present: looks are dense for a while. The answer is what there is.
    pub(super) fn latest(&self) -> Option<Moment> {
        self.interest.lock().asked = Some(Instant::now());
        self.woken.notify_all();
        self.latest.borrow().clone()
    }

    /// Somebody begins to watch. None if too many do.
    pub(super) fn watch(self: &Arc<Self>, most: usize) -> Option<Watcher> {
        let mut interest = self.interest.lock();
        if interest.streams >= most {
            return None;
        }
        interest.streams += 1;
        self.woken.notify_all();
        Some(Watcher { views: Arc::clone(self), latest: self.latest.subscribe(), has_begun: false })
    }

    /// The view that was the newest at a number, which may have been dropped meanwhile.
    pub(super) fn at(&self, number: u64) -> Option<Moment> {
        self.history.lock().at(number).cloned()
    }

    /// Numbers and times of what can be replayed, oldest first.
    pub(super) fn moments(&self) -> Vec<(u64, f64)> {
        self.history.lock().moments().map(|moment| (moment.number, moment.at_s)).collect()
    }

    /// The latest view as metrics.
    pub(super) fn metrics(&self) -> Arc<str> {
        Arc::clone(&self.metrics.lock())
    }
}

impl Watcher {
    /// The next view. Views that come faster than they are taken are left out.
    pub(super) async fn next(&mut self) -> Option<Moment> {
        loop {
            if std::mem::replace(&mut self.has_begun, true) {
                self.latest.changed().await.ok()?;
            }
            let latest = self.latest.borrow_and_update().clone();
            if latest.is_some() {
                return latest;
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.views.interest.lock().streams -= 1;
    }
}

/// Looks once. None if the query failed as a whole; the next one may succeed.
fn look(facts: &Arc<dyn Facts>, live: &mut Live) -> Option<View> {
    let question = live.question(None);
    let mut look = Look::of(&question);
    let mut is_whole = false;
    let asked = sql::answer(facts, &question.sql(), true, || true, &mut |message| {
        match message {
            QueryMessage::Rows(cells) => {
                for pair in cells.chunks(2) {
                    if let [Cell::Text(table), Cell::Text(row)] = pair {
                        look.take(table, row);
                    }
                }
            }
            QueryMessage::Warning(text) => look.lacks(text.clone()),
            QueryMessage::End => is_whole = true,
            _ => {}
        }
        Ok(())
    });
    (asked.is_ok() && is_whole).then(|| live.take(look))
}

//! The state of the screen: which view is shown, where the person is in it, and what a key does.
//!
//! Pure: a view or a key comes in, and `panes` and `detail` make lines of what is here.

use banyan_view::{PageRange, View};
use crossterm::event::KeyCode;
use std::cmp::Ordering;

/// Pages that are shown around one that was chosen.
const PAGES_SHOWN: u64 = 8;

/// What is on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Node(String),
    Job(u64),
    Thread { job: u64, thread: u64 },
    Pages { job: u64, first: u64, chosen: u64 },
}

/// A list that a person can go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Nodes,
    Jobs,
    Hot,
    Links,
    Events,
    Threads,
}

/// What the terminal has to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Draw.
    Draw,
    /// Look at once, for what is wanted has changed.
    Look,
    Quit,
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct Model {
    view: View,
    /// Came while the screen stands still.
    newest: Option<View>,
    is_paused: bool,
    /// Why there is no newer view.
    pub(super) trouble: Option<String>,
    places: Vec<Place>,
    focus: usize,
    /// In the list that has the focus.
    cursor: usize,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) shows_help: bool,
    /// Of nodes, jobs and hot pages: by which of their orders.
    orders: [usize; 3],
}

/// Names of the orders in which a list can be; `s` goes through them.
pub(super) fn orders(pane: Pane) -> &'static [&'static str] {
    match pane {
        Pane::Nodes => &["name", "busy", "faults", "sent"],
        Pane::Jobs => &["lost", "cpus", "faults", "memory", "program"],
        Pane::Hot => &["now", "moves", "address"],
        Pane::Links | Pane::Events | Pane::Threads => &[],
    }
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            view: View::default(),
            newest: None,
            is_paused: false,
            trouble: None,
            places: vec![Place::Overview],
            focus: 1,
            cursor: 0,
            filter: String::new(),
            is_typing: false,
            shows_help: false,
            orders: [0; 3],
        }
    }

    /// A view has come.
    pub(super) fn take(&mut self, view: View) {
        self.trouble = None;
        if self.is_paused {
            // What was asked for while the screen stands still is shown all the same.
            self.view.pages.clone_from(&view.pages);
            self.newest = Some(view);
        } else {
            self.view = view;
        }
        self.keep_in_bounds();
    }

    /// A look has failed.
    pub(super) fn fail(&mut self, reason: String) {
        self.trouble = Some(reason);
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) fn place(&self) -> &Place {
        self.places.last().unwrap_or(&Place::Overview)
    }

    /// The lists of this place, in the order of the Tab key.
    fn panes(&self) -> &'static [Pane] {
        match self.place() {
            Place::Overview => &[Pane::Nodes, Pane::Jobs, Pane::Links, Pane::Hot, Pane::Events],
            Place::Job(_) => &[Pane::Threads, Pane::Hot],
            Place::Node(_) => &[Pane::Links, Pane::Jobs],
            Place::Thread { .. } | Place::Pages { .. } => &[],
        }
    }

    /// The list that the arrow keys go through.
    pub(super) fn focus(&self) -> Option<Pane> {
        self.panes().get(self.focus).copied()
    }

    /// Which line of a list is chosen, if it has the focus.
    pub(super) fn chosen(&self, pane: Pane) -> Option<usize> {
        (self.focus() == Some(pane)).then_some(self.cursor)
    }

    /// The name of the order of a list.
    pub(super) fn order(&self, pane: Pane) -> Option<&'static str> {
        orders(pane).get(self.orders[order_of(pane)?]).copied()
    }

    /// What must be looked at beside the usual.
    pub(super) fn wants(&self) -> Option<PageRange> {
        match self.place() {
            Place::Pages { job, first, .. } => {
                Some(PageRange { job: *job, first: *first, pages: PAGES_SHOWN })
            }
            _ => None,
        }
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyCode) -> Effect {
        if self.shows_help {
            self.shows_help = false;
            return Effect::Draw;
        }
        if self.is_typing {
            self.type_filter(key);
            return Effect::Draw;
        }
        match key {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.shows_help = true,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('s') => self.next_order(),
            KeyCode::Char(' ') => self.pause(),
            KeyCode::Tab => self.next_pane(1),
            KeyCode::BackTab => self.next_pane(self.panes().len().saturating_sub(1)),
            KeyCode::Up | KeyCode::Char('k') => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.cursor += 1,
            KeyCode::PageUp => self.cursor = self.cursor.saturating_sub(10),
            KeyCode::PageDown => self.cursor += 10,
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = usize::MAX,
            KeyCode::Left => return self.turn_pages(false),
            KeyCode::Right => return self.turn_pages(true),
            KeyCode::Enter => return self.go_into(),
            KeyCode::Esc | KeyCode::Backspace => self.go_back(),
            _ => {}
        }
        self.keep_in_bounds();
        Effect::Draw
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => (self.is_typing, self.filter) = (false, String::new()),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) if self.filter.len() < 40 => self.filter.push(letter),
            _ => {}
        }
        self.cursor = 0;
    }

    fn next_order(&mut self) {
        if let Some(pane) = self.focus()
            && let Some(at) = order_of(pane)
        {
            self.orders[at] = (self.orders[at] + 1) % orders(pane).len();
            self.cursor = 0;
        }
    }

    fn pause(&mut self) {
        self.is_paused = !self.is_paused;
        if let Some(view) = self.newest.take().filter(|_| !self.is_paused) {
            self.view = view;
        }
    }

    fn next_pane(&mut self, by: usize) {
        self.focus = (self.focus + by) % self.panes().len().max(1);
        self.cursor = 0;
    }

    fn turn_pages(&mut self, forward: bool) -> Effect {
        let Some(Place::Pages { first, .. }) = self.places.last_mut() else { return Effect::Draw };
        *first = if forward { *first + PAGES_SHOWN } else { first.saturating_sub(PAGES_SHOWN) };
        Effect::Look
    }

    fn go_into(&mut self) -> Effect {
        let Some(pane) = self.focus() else { return Effect::Draw };
        let at = self.cursor;
        let place = match pane {
            Pane::Nodes => {
                self.nodes().get(at).map(|&node| Place::Node(self.view.nodes[node].row.node.clone()))
            }
            Pane::Jobs => self.jobs().get(at).map(|&job| Place::Job(self.view.jobs[job].row.job)),
            Pane::Links => self.links().get(at).map(|&link| Place::Node(self.view.links[link].node.clone())),
            Pane::Hot => self.hot().get(at).map(|&page| {
                let row = &self.view.hot[page].row;
                Place::Pages { job: row.job, first: row.page - row.page % PAGES_SHOWN, chosen: row.page }
            }),
            Pane::Events => {
                let job = self.events().get(at).and_then(|&event| self.view.events[event].job);
                job.filter(|job| self.view.jobs.iter().any(|one| one.row.job == *job)).map(Place::Job)
            }
            Pane::Threads => self.threads().get(at).map(|&(job, thread)| Place::Thread { job, thread }),
        };
        let Some(place) = place.filter(|place| place != self.place()) else { return Effect::Draw };
        self.places.push(place);
        (self.focus, self.cursor) = (0, 0);
        Effect::Look
    }

    fn go_back(&mut self) {
        if self.places.len() > 1 {
            self.places.pop();
            (self.focus, self.cursor) = (0, 0);
        } else {
            self.filter.clear();
        }
    }

    fn keep_in_bounds(&mut self) {
        let lines = match self.focus() {
            Some(Pane::Nodes) => self.nodes().len(),
            Some(Pane::Jobs) => self.jobs().len(),
            Some(Pane::Hot) => self.hot().len(),
            Some(Pane::Links) => self.links().len(),
            Some(Pane::Events) => self.events().len(),
            Some(Pane::Threads) => self.threads().len(),
            None => 0,
        };
        self.cursor = self.cursor.min(lines.saturating_sub(1));
    }

    fn passes(&self, words: &[&str]) -> bool {
        let wanted = self.filter.to_lowercase();
        wanted.is_empty() || words.iter().any(|word| word.to_lowercase().contains(&wanted))
    }

    /// The nodes that are shown, as places in the view.
    pub(super) fn nodes(&self) -> Vec<usize> {
        let all = &self.view.nodes;
        let mut shown: Vec<usize> = (0..all.len()).filter(|&at| self.passes(&[&all[at].row.node])).collect();
        match self.order(Pane::Nodes) {
            Some("busy") => shown.sort_by(|&one, &other| falling(all[one].busy_share, all[other].busy_share)),
            Some("faults") => {
                shown.sort_by(|&one, &other| falling(all[one].faults_per_s, all[other].faults_per_s));
            }
            Some("sent") => shown.sort_by(|&one, &other| falling(all[one].sent_per_s, all[other].sent_per_s)),
            _ => {}
        }
        shown
    }

    /// The programs that are shown.
    pub(super) fn jobs(&self) -> Vec<usize> {
        let all = &self.view.jobs;
        let mut shown: Vec<usize> = (0..all.len()).filter(|&at| self.is_shown(at)).collect();
        let key = |at: usize| match self.order(Pane::Jobs) {
            Some("lost") => all[at].lost_share,
            Some("cpus") => all[at].cpus_used,
            Some("faults") => all[at].faults_per_s,
            Some("memory") => Some(all[at].row.memory_bytes as f64),
            _ => None,
        };
        if self.order(Pane::Jobs) == Some("program") {
            shown.sort_by(|&one, &other| all[one].row.program.cmp(&all[other].row.program));
        }
        shown.sort_by(|&one, &other| falling(key(one), key(other)));
        shown
    }

    fn is_shown(&self, at: usize) -> bool {
        let job = &self.view.jobs[at];
        let here = match self.place() {
            Place::Node(node) => job.parts.iter().any(|part| part.row.node == *node),
            _ => true,
        };
        let process = job.row.process.map_or_else(String::new, |process| process.to_string());
        here && self.passes(&[&job.row.program, job.row.command.as_deref().unwrap_or_default(), &process])
    }

    /// The hot pages that are shown.
    pub(super) fn hot(&self) -> Vec<usize> {
        let all = &self.view.hot;
        let is_of = |job: u64| match self.place() {
            Place::Job(wanted) => job == *wanted,
            _ => true,
        };
        let passes = |at: &usize| {
            let page = &all[*at];
            let address = format!("{:x}", page.row.address);
            let words = [self.program(page.row.job), page.region.as_deref().unwrap_or_default(), &address];
            is_of(page.row.job) && self.passes(&words)
        };
        let mut shown: Vec<usize> = (0..all.len()).filter(passes).collect();
        match self.order(Pane::Hot) {
            Some("moves") => shown.sort_by_key(|&at| std::cmp::Reverse(all[at].row.moves)),
            Some("address") => shown.sort_by_key(|&at| (all[at].row.job, all[at].row.address)),
            // As the view has them.
            _ => {}
        }
        shown
    }

    /// The links that are shown, the busiest first.
    pub(super) fn links(&self) -> Vec<usize> {
        let all = &self.view.links;
        let is_of = |at: usize| match self.place() {
            Place::Node(node) => all[at].node == *node || all[at].peer == *node,
            _ => true,
        };
        let passes = |at: &usize| is_of(*at) && self.passes(&[&all[*at].node, &all[*at].peer]);
        let mut shown: Vec<usize> = (0..all.len()).filter(passes).collect();
        shown.sort_by(|&one, &other| falling(all[one].sent_per_s, all[other].sent_per_s));
        shown
    }

    /// The events that are shown, the newest first.
    pub(super) fn events(&self) -> Vec<usize> {
        let all = &self.view.events;
        let passes = |at: &usize| self.passes(&[&all[*at].node, &all[*at].kind, &all[*at].text]);
        (0..all.len()).rev().filter(passes).collect()
    }

    /// The threads of the program that is shown: program and thread.
    pub(super) fn threads(&self) -> Vec<(u64, u64)> {
        let Place::Job(job) = self.place() else { return Vec::new() };
        let job = self.view.jobs.iter().find(|one| one.row.job == *job);
        let threads = job.into_iter().flat_map(|job| &job.thread_list);
        let passes = threads.filter(|thread| self.passes(&[&thread.node, &thread.thread.to_string()]));
        passes.map(|thread| (thread.job, thread.thread)).collect()
    }

    /// What the program with a number is called.
    pub(super) fn program(&self, job: u64) -> &str {
        let found = self.view.jobs.iter().find(|one| one.row.job == job);
        found.map_or("a program that has ended", |job| &job.row.program)
    }

    /// The program whose memory the overview shows: the chosen one, or the first.
    pub(super) fn job_in_view(&self) -> Option<usize> {
        let jobs = self.jobs();
        let chosen = self.chosen(Pane::Jobs).and_then(|at| jobs.get(at));
        chosen.or(jobs.first()).copied()
    }

    /// The place of a node among all, which its colour and letter follow.
    pub(super) fn node_number(&self, name: &str) -> Option<usize> {
        self.view.nodes.iter().position(|node| node.row.node == name)
    }
}

fn order_of(pane: Pane) -> Option<usize> {
    match pane {
        Pane::Nodes => Some(0),
        Pane::Jobs => Some(1),
        Pane::Hot => Some(2),
        Pane::Links | Pane::Events | Pane::Threads => None,
    }
}

/// The larger first; what is not known last.
fn falling(one: Option<f64>, other: Option<f64>) -> Ordering {
    let value = |known: Option<f64>| known.unwrap_or(-1.0);
    value(other).total_cmp(&value(one))
}

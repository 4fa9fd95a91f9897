//! The table `job_nodes`: what each job is on each of its nodes; and the view `jobs`, a row for each job.

use super::{Facts, Parts, Scope, Source, Spec, job_id, jobs, names};
use crate::job::Job;
use banyan_tables::{Column, Field, Kind, Scan};
use banyan_wire::ids::NodeId;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) const TABLE: Spec = Spec {
    name: "job_nodes",
    about: "What a program is on each of its nodes. A row for each program and node",
    columns: &[
        Column::key("job", Kind::Integer, "The program's number in the cluster"),
        Column::key("node", Kind::Text, "The node"),
        Column::plain("number", Kind::Integer, "The node's number in the run; 0 is its home"),
        Column::plain("home", Kind::Text, "The node where the program began"),
        Column::plain("program", Kind::Text, "What the kernel calls the program"),
        Column::plain("process", Kind::Integer, "The program's process id; at home only"),
        Column::plain("command", Kind::Text, "The program and its arguments; at home only"),
        Column::plain("state", Kind::Text, "running, or ending"),
        Column::plain("wall_s", Kind::Real, "Since this node takes part"),
        Column::plain("cpu_s", Kind::Real, "Processor time of the program on this node"),
        Column::plain("memory_bytes", Kind::Integer, "The program's memory that is on this node"),
        Column::plain("threads", Kind::Integer, "Threads of the program on all nodes; at home only"),
        Column::plain("moves", Kind::Integer, "How often a thread changed its node; at home only"),
        Column::plain("lost_us", Kind::Integer, "Time for which threads here waited for pages"),
        Column::plain("sent_bytes", Kind::Integer, "Sent to other nodes to keep memory coherent"),
        Column::plain("deputy_calls", Kind::Integer, "System calls made here for threads elsewhere"),
    ],
    scope: Scope::EachNode(1),
    rows: |facts| facts.jobs().len() as u64,
    scan: |facts, scan| Parts::boxed(JobNodes { facts: Arc::clone(facts), scan: Some(scan) }),
};

/// A row for each job, from what its nodes say.
pub(super) const JOBS: &str = "CREATE VIEW jobs AS SELECT job, max(process) AS process, max(program) AS program, \
    max(command) AS command, max(home) AS home, min(state) AS state, count(*) AS nodes, \
    max(threads) AS threads, max(moves) AS moves, max(wall_s) AS wall_s, sum(cpu_s) AS cpu_s, \
    sum(memory_bytes) AS memory_bytes, sum(lost_us) AS lost_us, sum(sent_bytes) AS sent_bytes \
    FROM job_nodes GROUP BY job";

/// What the columns of `jobs` are.
pub(super) const JOBS_COLUMNS: &[Column] = &[
    Column::key("job", Kind::Integer, "The program's number in the cluster"),
    Column::plain("process", Kind::Integer, "Its process id at home, by which banyan job knows it"),
    Column::plain("program", Kind::Text, "What the kernel calls the program"),
    Column::plain("command", Kind::Text, "The program and its arguments"),
    Column::plain("home", Kind::Text, "The node where it began"),
    Column::plain("state", Kind::Text, "running, or ending"),
    Column::plain("nodes", Kind::Integer, "On how many nodes it runs, of those that answer"),
    Column::plain("threads", Kind::Integer, "Its threads that have not ended"),
    Column::plain("moves", Kind::Integer, "How often a thread changed its node"),
    Column::plain("wall_s", Kind::Real, "Since it began"),
    Column::plain("cpu_s", Kind::Real, "Processor time on all nodes"),
    Column::plain("memory_bytes", Kind::Integer, "Memory on all nodes, copies included"),
    Column::plain("lost_us", Kind::Integer, "Time for which its threads waited for pages"),
    Column::plain("sent_bytes", Kind::Integer, "Sent between nodes to keep its memory coherent"),
];

struct JobNodes {
    facts: Arc<dyn Facts>,
    /// Taken when the rows are.
    scan: Option<Scan>,
}

struct Row {
    job: Arc<Job>,
    names: Vec<String>,
    home: Option<crate::job::HomeView>,
}

impl Source for JobNodes {
    type Row = Row;

    fn more(&mut self, rows: &mut Vec<Row>) -> bool {
        let Some(scan) = self.scan.take() else { return false };
        rows.extend(jobs(&*self.facts, &scan, 0).into_iter().map(|job| Row {
            names: names(&*self.facts, &job),
            home: job.home_view(),
            job,
        }));
        false
    }

    fn field<'a>(&'a self, row: &'a Row, column: usize) -> Field<'a> {
        let Row { job, names, home } = row;
        let home = home.as_ref();
        let counters = &job.pager.counters;
        match column {
            0 => job_id(job),
            1 => super::name(names, job.node()),
            2 => Field::Integer(i64::from(job.node().get())),
            3 => super::name(names, NodeId::HOME),
            4 => job.program().into(),
            // A program that has not begun has no process yet.
            5 => home
                .filter(|home| home.process != 0)
                .map_or(Field::Null, |home| Field::count(home.process.into())),
            6 => home.map_or(Field::Null, |home| home.command.as_str().into()),
            7 => job.state().into(),
            8 => Field::Real(job.seconds()),
            9 => Field::Real(job.replica_seconds()),
            10 => Field::count(job.pager.memory().bytes().unwrap_or(0)),
            11 => home.map_or(Field::Null, |home| Field::count(home.threads)),
            12 => home.map_or(Field::Null, |home| Field::count(home.moves)),
            13 => Field::count(counters.wait_nanoseconds.load(Ordering::Relaxed) / 1000),
            14 => Field::count(job.sent_bytes()),
            15 => Field::count(counters.deputy_calls.load(Ordering::Relaxed)),
            _ => Field::Null,
        }
    }
}

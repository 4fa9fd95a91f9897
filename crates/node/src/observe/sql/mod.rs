//! The node's live structures as tables of SQL: jobs, threads, regions, extents, pages, and what else there
//! is to see. Nothing is copied into a database: rows are taken while a query runs.
//!
//! A file for each table says what its rows are ([`Spec`]); `spread` unites the rows of all nodes, `remote`
//! asks another node for its rows and `serving` answers it; `answering` runs a query. The tables are
//! described in docs/reference/sql.md, which `reference` checks. Not here: SQLite (`banyan_tables`), and how
//! a question arrives (`crate::cluster`).
//!
//! Locks: a source takes the locks of what it shows for one part of about [`PART_ROWS`] rows, and holds none
//! while SQLite runs or a row travels.

mod answering;
mod columns;
mod companies;
mod extents;
mod faults;
mod hot_pages;
mod job_nodes;
mod links;
mod log;
mod names;
mod nodes;
mod pages;
#[cfg(test)]
mod reference;
mod regions;
mod remote;
mod serving;
mod spread;
#[cfg(test)]
pub(crate) mod tests;
mod threads;

pub(crate) use answering::answer;
pub(crate) use companies::CompanyView;
pub(crate) use remote::LeftConnections;
pub(crate) use serving::{Served, serve};

use crate::cluster::admin::NameFacts;
use crate::job::Job;
use crate::observe::log::Log;
use crate::transport::Trust;
use banyan_tables::{Column, Field, Rows, Scan};
use banyan_wire::cluster::Machine;
use banyan_wire::control::Place;
use banyan_wire::ids::NodeId;
use std::fmt::Debug;
use std::sync::Arc;

/// Rows that are taken from a structure at a time: more would keep its lock for too long.
const PART_ROWS: usize = 1024;

/// What a node tells the tables of itself.
pub(crate) trait Facts: Debug + Send + Sync {
    /// What this node is called.
    fn name(&self) -> String;
    /// What a node of a job is called.
    fn name_of(&self, place: &Place, number: NodeId) -> String;
    /// The jobs that it takes part in.
    fn jobs(&self) -> Vec<Arc<Job>>;
    /// What it is.
    fn own(&self) -> Own;
    /// The other nodes that a query is about.
    fn others(&self) -> Vec<Other>;
    /// How it reaches them.
    fn trust(&self) -> Trust;
    /// What happened here.
    fn log(&self) -> &Log;
    /// The companies that it takes part in.
    fn companies(&self) -> Vec<CompanyView>;
    /// The names of the cluster.
    fn registered(&self) -> Vec<NameFacts>;
    /// Connections to them that queries have left.
    fn left_connections(&self) -> &LeftConnections;
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// In a cluster.
    pub(crate) member: Option<MemberView>,
    pub(crate) address: String,
    pub(crate) machine: Machine,
    /// When its certificate is over, in seconds since 1970.
    pub(crate) certificate_expires: Option<i64>,
}

/// A member of the cluster, as any other knows it.
#[derive(Clone, Debug)]
pub(crate) struct MemberView {
    pub(crate) id: String,
    pub(crate) role: &'static str,
    /// Seconds since 1970.
    pub(crate) joined: u64,
}

/// Another node.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    pub(crate) name: String,
    pub(crate) place: Place,
    /// What is known of it if it does not answer.
    pub(crate) member: Option<(MemberView, Machine)>,
}

/// Whose rows a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Every node's own, and this column names the node.
    EachNode(usize),
    /// Every node may have some, whatever they say.
    Anywhere,
    /// The same on every node.
    Here,
}

/// A table.
#[derive(Debug)]
struct Spec {
    name: &'static str,
    /// One line, for people.
    about: &'static str,
    columns: &'static [Column],
    scope: Scope,
    /// About how many rows this node has.
    rows: fn(&dyn Facts) -> u64,
    /// Begins to read this node's rows.
    scan: fn(&Arc<dyn Facts>, Scan) -> Box<dyn Rows>,
}

/// All tables.
const TABLES: [&Spec; 13] = [
    &nodes::TABLE,
    &job_nodes::TABLE,
    &threads::TABLE,
    &regions::TABLE,
    &extents::TABLE,
    &pages::TABLE,
    &hot_pages::TABLE,
    &faults::TABLE,
    &links::TABLE,
    &log::TABLE,
    &companies::TABLE,
    &names::TABLE,
    &columns::TABLE,
];

/// Where rows come from, a part at a time.
trait Source {
    /// A row, with what it takes to tell all its columns.
    type Row;

    /// Adds the next rows, about [`PART_ROWS`] at most. False when none follow.
    fn more(&mut self, rows: &mut Vec<Self::Row>) -> bool;

    /// A column of a row that came from here.
    fn field<'a>(&'a self, row: &'a Self::Row, column: usize) -> Field<'a>;
}

/// The rows of a source, one after another.
struct Parts<S: Source> {
    source: S,
    part: Vec<S::Row>,
    /// The row after the present one.
    next: usize,
    follows: bool,
}

impl<S: Source + 'static> Parts<S> {
    fn boxed(source: S) -> Box<dyn Rows> {
        Box::new(Self { source, part: Vec::new(), next: 0, follows: true })
    }
}

impl<S: Source> Rows for Parts<S> {
    fn advance(&mut self) -> Result<bool, String> {
        while self.next == self.part.len() && self.follows {
            self.part.clear();
            self.next = 0;
            self.follows = self.source.more(&mut self.part);
        }
        let there = self.next < self.part.len();
        self.next += usize::from(there);
        Ok(there)
    }

    fn field(&self, column: usize) -> Field<'_> {
        match self.next.checked_sub(1).and_then(|at| self.part.get(at)) {
            Some(row) => self.source.field(row, column),
            None => Field::Null,
        }
    }
}

/// The jobs that a scan is about, if their ids are in this column.
fn jobs(facts: &dyn Facts, scan: &Scan, column: usize) -> Vec<Arc<Job>> {
    let (least, greatest) = scan.range(column);
    let wanted = |job: &Arc<Job>| (least..=greatest).contains(&i64::from(job.id().0));
    let mut jobs = facts.jobs();
    jobs.retain(wanted);
    jobs.sort_by_key(|job| job.id().0);
    jobs
}

/// What the nodes of a job are called, by number.
fn names(facts: &dyn Facts, job: &Job) -> Vec<String> {
    let places = job.places();
    let numbered = places.iter().zip((0..).map_while(NodeId::new));
    numbered.map(|(place, node)| facts.name_of(place, node)).collect()
}

/// One of these names.
fn name(names: &[String], node: NodeId) -> Field<'_> {
    names.get(usize::from(node.get())).map_or(Field::Null, |name| name.as_str().into())
}

fn flag(value: bool) -> Field<'static> {
    Field::Integer(i64::from(value))
}

fn job_id(job: &Job) -> Field<'static> {
    Field::Integer(i64::from(job.id().0))
}

//! The table `nodes`: the machines, each as it says of itself; of one that does not answer, what is known.

use super::{Facts, MemberView, Other, Parts, Scope, Source, Spec};
use crate::observe::process::processor_seconds;
use banyan_tables::{Column, Field, Kind};
use banyan_wire::sql::Cell;
use std::sync::Arc;

pub(super) const TABLE: Spec = Spec {
    name: "nodes",
    about: "The machines of the cluster, or the nodes of a run. A row for each",
    columns: &[
        Column::key("node", Kind::Text, "Its name"),
        Column::plain("id", Kind::Text, "Who it proves to be, in a cluster"),
        Column::plain(
            "role",
            Kind::Text,
            "In a cluster: leader, voter or follower, as the node that is asked sees it",
        ),
        Column::plain("address", Kind::Text, "Where it listens for other nodes"),
        Column::plain("state", Kind::Text, "up, or silent if it did not answer"),
        Column::plain("cpus", Kind::Integer, "Processors"),
        Column::plain("memory_bytes", Kind::Integer, "Memory of the machine"),
        Column::plain(
            "available_bytes",
            Kind::Integer,
            "Memory that programs can still have without swapping",
        ),
        Column::plain(
            "busy_s",
            Kind::Real,
            "Processor time used on the machine since it started, by everything",
        ),
        Column::plain("daemon_s", Kind::Real, "Processor time of its daemon"),
        Column::plain("load_1m", Kind::Real, "How many processes wanted a processor in the last minute"),
        Column::plain("version", Kind::Text, "Version of Banyan"),
        Column::plain("process", Kind::Integer, "Process id of its daemon"),
        Column::plain("jobs", Kind::Integer, "Programs in which it takes part"),
        Column::plain("joined_s", Kind::Integer, "When it joined, in seconds since 1970"),
        Column::plain("cert_expires_s", Kind::Integer, "When its certificate is over, in seconds since 1970"),
    ],
    scope: Scope::EachNode(0),
    rows: |_| 1,
    scan: |facts, _| Parts::boxed(Nodes { facts: Arc::clone(facts), is_read: false }),
};

struct Nodes {
    facts: Arc<dyn Facts>,
    is_read: bool,
}

impl Source for Nodes {
    type Row = Vec<Cell>;

    fn more(&mut self, rows: &mut Vec<Self::Row>) -> bool {
        if !std::mem::replace(&mut self.is_read, true) {
            rows.push(own(&*self.facts));
        }
        false
    }

    fn field<'a>(&'a self, row: &'a Self::Row, column: usize) -> Field<'a> {
        row.get(column).map_or(Field::Null, Into::into)
    }
}

fn integer(number: u64) -> Cell {
    Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// `MemAvailable` of proc_meminfo(5).
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What all processors together did but idling and waiting for disks (proc_stat(5)); a guest's time is in its
/// host's.
fn busy_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((ticks.iter().sum::<u64>() - idle) as f64 / procfs::ticks_per_second() as f64)
}

fn own(facts: &dyn Facts) -> Vec<Cell> {
    let own = facts.own();
    let of_member = |of: fn(&MemberView) -> Cell| own.member.as_ref().map_or(Cell::Null, of);
    vec![
        Cell::Text(facts.name()),
        of_member(|member| Cell::Text(member.id.clone())),
        of_member(|member| Cell::Text(member.role.into())),
        Cell::Text(own.address.clone()),
        Cell::Text("up".into()),
        integer(own.machine.processors.into()),
        integer(own.machine.memory_bytes),
        available_bytes().map_or(Cell::Null, integer),
        busy_seconds().map_or(Cell::Null, Cell::Real),
        Cell::Real(processor_seconds(std::process::id())),
        load().map_or(Cell::Null, Cell::Real),
        Cell::Text(own.machine.version.clone()),
        integer(std::process::id().into()),
        integer(facts.jobs().len() as u64),
        of_member(|member| integer(member.joined)),
        own.certificate_expires.map_or(Cell::Null, Cell::Integer),
    ]
}

/// The row of a node that did not answer.
pub(super) fn silent(other: &Other) -> Vec<Cell> {
    let of_member =
        |of: fn(&MemberView) -> Cell| other.member.as_ref().map_or(Cell::Null, |(member, _)| of(member));
    let machine = other.member.as_ref().map(|(_, machine)| machine);
    vec![
        Cell::Text(other.name.clone()),
        of_member(|member| Cell::Text(member.id.clone())),
        of_member(|member| Cell::Text(member.role.into())),
        Cell::Text(other.place.address.to_string()),
        Cell::Text("silent".into()),
        machine.map_or(Cell::Null, |machine| integer(machine.processors.into())),
        machine.map_or(Cell::Null, |machine| integer(machine.memory_bytes)),
        Cell::Null,
        Cell::Null,
        Cell::Null,
        Cell::Null,
        machine.map_or(Cell::Null, |machine| Cell::Text(machine.version.clone())),
        Cell::Null,
        Cell::Null,
        of_member(|member| integer(member.joined)),
        Cell::Null,
    ]
}

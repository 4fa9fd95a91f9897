//! The table `links`: the connections of each program between two nodes, as the one that sends sees them.

use super::{Facts, Parts, Scope, Source, Spec, job_id, jobs, names};
use crate::job::Job;
use banyan_tables::{Column, Field, Kind, Scan};
use banyan_wire::ids::NodeId;
use std::sync::Arc;

pub(super) const TABLE: Spec = Spec {
    name: "links",
    about: "What nodes send each other for programs. A row for each program, node and other node",
    columns: &[
        Column::key("job", Kind::Integer, "The program"),
        Column::key("node", Kind::Text, "The node that sends"),
        Column::plain("peer", Kind::Text, "The node that it sends to"),
        Column::plain("urgent_bytes", Kind::Integer, "Sent of pages and messages that a thread waits for"),
        Column::plain("bulk_bytes", Kind::Integer, "Sent of long runs of pages"),
        Column::plain("control_bytes", Kind::Integer, "Sent of everything else but threads' system calls"),
        Column::plain(
            "rtt_us",
            Kind::Integer,
            "The shortest time in which an urgent message was acknowledged lately, by the kernel",
        ),
        Column::plain("tls", Kind::Integer, "1 if it is inside TLS"),
    ],
    scope: Scope::EachNode(1),
    rows: |facts| facts.jobs().iter().map(|job| u64::from(job.nodes()) - 1).sum(),
    scan: |facts, scan| Parts::boxed(Links { facts: Arc::clone(facts), scan: Some(scan) }),
};

struct Links {
    facts: Arc<dyn Facts>,
    /// Taken when the rows are.
    scan: Option<Scan>,
}

struct Row(Arc<Job>, Arc<Vec<String>>, NodeId, [u64; 3]);

impl Source for Links {
    type Row = Row;

    fn more(&mut self, rows: &mut Vec<Row>) -> bool {
        let Some(scan) = self.scan.take() else { return false };
        for job in jobs(&*self.facts, &scan, 0) {
            let names = Arc::new(names(&*self.facts, &job));
            for peer in job.peer_nodes() {
                // One that has left meanwhile is no link any more.
                let Some(sent) = job.sent_to(peer) else { continue };
                rows.push(Row(Arc::clone(&job), Arc::clone(&names), peer, sent));
            }
        }
        false
    }

    fn field<'a>(&'a self, Row(job, names, peer, sent): &'a Row, column: usize) -> Field<'a> {
        match column {
            0 => job_id(job),
            1 => super::name(names, job.node()),
            2 => super::name(names, *peer),
            3..=5 => Field::count(sent[column - 3]),
            6 => {
                let round_trip = job.round_trip(*peer);
                round_trip.map_or(Field::Null, |time| Field::count(time.as_micros() as u64))
            }
            7 => super::flag(job.is_encrypted()),
            _ => Field::Null,
        }
    }
}

//! The table `regions`: the program's mappings, as its home has them.

use super::{PART_ROWS, Parts, Scope, Source, Spec, job_id, jobs};
use crate::job::Job;
use banyan_core::regions::{Backing, Region};
use banyan_tables::{Column, Field, Kind};
use rustix::mm::ProtFlags;
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) const TABLE: Spec = Spec {
    name: "regions",
    about: "The memory that programs have mapped. A row for each region with the same rights and contents",
    columns: &[
        Column::key("job", Kind::Integer, "The program"),
        Column::key("start", Kind::Integer, "First address"),
        Column::plain("end", Kind::Integer, "First address after it"),
        Column::plain("bytes", Kind::Integer, "How long it is"),
        Column::plain("prot", Kind::Text, "Rights as letters: r, w, x"),
        Column::plain("kind", Kind::Text, "anonymous, image, file (a copy of one) or kernel (at home only)"),
        Column::plain("file", Kind::Text, "The file it is from"),
    ],
    scope: Scope::Anywhere,
    rows: |facts| 256 * facts.jobs().len() as u64,
    scan: |facts, scan| {
        let jobs = jobs(&**facts, &scan, 0).into();
        let (least, greatest) = scan.range(1);
        let least = least.max(0).unsigned_abs();
        let greatest = u64::try_from(greatest).ok();
        Parts::boxed(RegionRows { jobs, next: least, least, greatest })
    },
};

struct RegionRows {
    jobs: VecDeque<Arc<Job>>,
    next: u64,
    least: u64,
    /// The last address at which a region may start; none if there is none.
    greatest: Option<u64>,
}

struct Row(Arc<Job>, Region, Option<String>);

impl Source for RegionRows {
    type Row = Row;

    fn more(&mut self, rows: &mut Vec<Row>) -> bool {
        let (Some(job), Some(greatest)) = (self.jobs.front(), self.greatest) else { return false };
        let found = job.regions_from(self.next, PART_ROWS);
        let after = found.last().map(|(region, _)| region.start + 1);
        let wanted = found.into_iter().filter(|(region, _)| region.start <= greatest);
        rows.extend(wanted.map(|(region, file)| Row(Arc::clone(job), region, file)));
        match after.filter(|after| *after <= greatest) {
            Some(after) => self.next = after,
            None => {
                self.jobs.pop_front();
                self.next = self.least;
            }
        }
        true
    }

    fn field<'a>(&'a self, Row(job, region, file): &'a Row, column: usize) -> Field<'a> {
        match column {
            0 => job_id(job),
            1 => Field::count(region.start),
            2 => Field::count(region.end),
            3 => Field::count(region.end - region.start),
            4 => rights(region.protection).into(),
            5 => kind(region.backing).into(),
            6 => file.as_deref().map_or(Field::Null, Into::into),
            _ => Field::Null,
        }
    }
}

fn rights(protection: u32) -> String {
    let rights = ProtFlags::from_bits_truncate(protection);
    let letter = |right, letter| if rights.contains(right) { letter } else { '-' };
    [letter(ProtFlags::READ, 'r'), letter(ProtFlags::WRITE, 'w'), letter(ProtFlags::EXEC, 'x')]
        .iter()
        .collect()
}

fn kind(backing: Backing) -> &'static str {
    match backing {
        Backing::Anonymous => "anonymous",
        Backing::Image => "image",
        Backing::File { .. } => "file",
        Backing::Kernel(_) => "kernel",
    }
}

//! Every bench of Banyan, and what each is compared with: a run over nodes, the arena, calls and actors.
//!
//! What is promised in SPECIFICATION.md is measured beside what others would use, in the same run, in turns,
//! so that whatever else the machine does falls on all sides. All benches give [`Row`]s to one [`Report`].
//! They are part of the command `banyan`, which starts itself again for programs that a bench needs
//! (`bench-program`). Not for tests: a figure that is missed is no failure of the code.
//!
//! Unsafe code: where memory is written or a C function called inside what is timed (`arena::{store, nouns,
//! rivals}`, `call`).
#![deny(unsafe_code)]

mod actor;
mod arena;
mod call;
mod plan;
mod report;
mod row;
mod run;
mod selection;
mod statistics;

pub use plan::{Bench, Plan};
pub use report::{Format, Report};
pub use row::{Detail, Row};
pub use run::{grow, program};
pub use selection::Selection;

/// Benches that are measured in one process. Others have another one: what they do to a process's memory,
/// threads and children would change the figures.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    benches: fn() -> Vec<Bench>,
    measure: fn(&Plan, &mut Report) -> anyhow::Result<()>,
}

impl std::fmt::Debug for Family {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Family").field(&self.name).finish()
    }
}

impl Family {
    /// All of its benches, in their order.
    #[must_use]
    pub fn benches(&self) -> Vec<Bench> {
        (self.benches)()
    }

    /// Whether one of its benches is selected.
    #[must_use]
    pub fn is_wanted(&self, selection: &Selection) -> bool {
        self.benches().iter().any(|bench| selection.wants_of(bench.name))
    }

    /// Takes the measurements that are selected. Returns the status to exit with.
    ///
    /// # Errors
    /// What kept the benches from going on, or that nothing was selected.
    pub fn measure(&self, plan: &Plan, format: Format) -> anyhow::Result<u8> {
        let mut report = Report::new(format, plan.selection.clone());
        report.begin();
        (self.measure)(plan, &mut report)?;
        report.end()
    }
}

/// All families.
pub const FAMILIES: &[Family] = &[
    Family { name: "run", benches: run::benches, measure: run::measure },
    Family { name: "arena", benches: arena::benches, measure: arena::measure },
    Family { name: "call", benches: call::benches, measure: call::measure },
    Family { name: "actor", benches: actor::benches, measure: actor::measure },
];

/// Must be called first in `main` of a program with benches: rivals start the program again to be their other
/// end.
pub fn init() {
    #[cfg(feature = "rivals")]
    call::rivals::init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_benches_are_unique() {
        let mut names: Vec<&str> =
            FAMILIES.iter().flat_map(Family::benches).map(|bench| bench.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count >= 40, "{count}");
    }
}

//! What running over several nodes costs, measured as ratios to the same thing without Banyan.
//!
//! Each measure compares two sides in the same run: a remote fault with a raw TCP round trip, a program on
//! one node with the program alone, four throttled nodes with one. The sides take turns, several rounds of
//! each, and medians are compared, so that whatever else the machine does falls on both.

mod calls;
pub mod grow;
mod guard;
mod hostile;
mod input;
mod memory;
mod one_node;
mod outcome;
mod processes;
mod program;
mod scale;
mod session;
mod start;
mod stub;
mod tcp;

pub use program::program;

use crate::plan::Plan;
use crate::report::Report;
use crate::row::Row;
use anyhow::Context;
use outcome::{Bar, Outcome};
use session::Session;

/// One measure.
pub(crate) struct Bench {
    /// Its name: family and what is measured.
    pub(crate) name: &'static str,
    /// What it measures, for people.
    pub(crate) about: &'static str,
    /// What the ratio is to.
    pub(crate) rival: &'static str,
    /// What the ratio must reach.
    pub(crate) bar: Bar,
    measure: fn(&mut Session) -> anyhow::Result<Outcome>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "fault.read",
        about: "remote 4 KiB read fault against a raw TCP round trip of 64 B and 4 KiB",
        rival: "a raw TCP round trip",
        bar: Bar::AtMost(2.0),
        measure: memory::fault_read,
    },
    Bench {
        name: "fault.cpu",
        about: "the daemons' processor time for a remote read fault against a raw TCP round trip's, both sides",
        rival: "a raw TCP round trip",
        bar: Bar::AtMost(2.5),
        measure: memory::fault_processor_time,
    },
    Bench {
        name: "stream.read",
        about: "sequential read of 256 MiB of remote memory against a raw TCP stream",
        rival: "a raw TCP stream",
        bar: Bar::AtLeast(0.6),
        measure: memory::stream_read,
    },
    Bench {
        name: "run1.pigz",
        about: "CPU time of pigz on one node, its daemon included, against pigz alone",
        rival: "pigz alone",
        bar: Bar::AtMost(1.10),
        measure: one_node::pigz,
    },
    Bench {
        name: "run1.xz",
        about: "CPU time of xz on one node, its daemon included, against xz alone",
        rival: "xz alone",
        bar: Bar::AtMost(1.10),
        measure: one_node::xz,
    },
    Bench {
        name: "run1.zstd",
        about: "CPU time of zstd on one node, its daemon included, against zstd alone",
        rival: "zstd alone",
        bar: Bar::AtMost(1.10),
        measure: one_node::zstd,
    },
    Bench {
        name: "run1.first_touch",
        about: "first touch of 1 GiB on one node against the same without Banyan",
        rival: "the same without Banyan",
        bar: Bar::AtMost(1.5),
        measure: one_node::first_touch,
    },
    Bench {
        name: "syscall.deputy",
        about: "getppid of a remote thread against a raw TCP round trip of 64 B and 64 B",
        rival: "a raw TCP round trip",
        bar: Bar::AtMost(2.5),
        measure: calls::deputy,
    },
    Bench {
        name: "fork.exec",
        about: "vfork, exec and wait of /bin/true by a shell on one node, against a native run",
        rival: "the same without Banyan",
        bar: Bar::AtMost(1.5),
        measure: one_node::children,
    },
    Bench {
        name: "fork.copy",
        about: "fork, exit and wait of a process with 1 GiB on one node, against a native run",
        rival: "the same without Banyan",
        bar: Bar::AtMost(2.0),
        measure: one_node::copies,
    },
    Bench {
        name: "scale4.pigz",
        about: "speed of pigz on 4 nodes of 0.2 CPU against one such node",
        rival: "one such node",
        bar: Bar::AtLeast(3.2),
        measure: scale::pigz,
    },
    Bench {
        name: "scale4.mandelbrot",
        about: "speed of mandelbrot on 4 nodes of 0.2 CPU against one such node",
        rival: "one such node",
        bar: Bar::AtLeast(3.2),
        measure: scale::mandelbrot,
    },
    Bench {
        name: "grow.program",
        about: "speed of a program on 8 nodes of 0.1 CPU, 7 of which joined while it ran, against 8 times one",
        rival: "8 times one such node",
        bar: Bar::AtLeast(0.9),
        measure: grow::bench,
    },
    hostile("hostile.stencil", |session| hostile::measure(session, "stencil")),
    hostile("hostile.radix", |session| hostile::measure(session, "radix")),
    hostile("hostile.search", |session| hostile::measure(session, "search")),
    hostile("hostile.solver", |session| hostile::measure(session, "solver")),
    hostile("hostile.elimination", |session| hostile::measure(session, "elimination")),
    hostile("hostile.bodies", |session| hostile::measure(session, "bodies")),
    hostile("hostile.tasks", |session| hostile::measure(session, "tasks")),
    hostile("hostile.barriers", |session| hostile::measure(session, "barriers")),
    hostile("hostile.words", |session| hostile::measure(session, "words")),
    hostile("hostile.allocator", |session| hostile::measure(session, "allocator")),
    start("start.1", |session| start::measure(session, 1), 10.0),
    start("start.3", |session| start::measure(session, 3), 15.0),
    Bench {
        name: "stub.size",
        about: "bytes of the runtime inside each replica against 64 KiB; it must need no symbol and no allocator",
        rival: "64 KiB",
        bar: Bar::AtMost(1.0),
        measure: stub::size,
    },
];

/// A program whose threads share memory, which several nodes must not make slower.
const fn hostile(name: &'static str, measure: fn(&mut Session) -> anyhow::Result<Outcome>) -> Bench {
    Bench {
        name,
        about: "speed of a program that shares on 3 nodes of 0.2 CPU, placed as pays, against one such node",
        rival: "one such node",
        bar: Bar::AtLeast(0.9),
        measure,
    }
}

/// What a start costs, in milliseconds.
const fn start(name: &'static str, measure: fn(&mut Session) -> anyhow::Result<Outcome>, bar: f64) -> Bench {
    Bench {
        name,
        about: "milliseconds that a static program which does nothing takes beyond its native run",
        rival: "a millisecond",
        bar: Bar::AtMost(bar),
        measure,
    }
}

/// The benches, for a list.
pub(crate) fn benches() -> Vec<crate::Bench> {
    BENCHES.iter().map(|bench| crate::Bench { name: bench.name, about: bench.about }).collect()
}

/// Takes the measurements that are selected.
pub(crate) fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let rounds = plan.rounds.or(plan.quick.then_some(1));
    let mut session = Session::new(rounds).context("preparing the benches")?;
    for bench in BENCHES.iter().filter(|bench| plan.selection.wants_of(bench.name)) {
        report.announce(bench.name, bench.about);
        let outcome = (bench.measure)(&mut session);
        report.add(&outcome.map_or_else(
            |error| Row::failed(bench.name, format!("{error:#}")),
            |outcome| outcome.row(bench),
        ));
    }
    Ok(())
}

//! `banyan demo grow`: a program runs on a cluster of one node, machines join, and it becomes faster. Nobody
//! tells the program, or the run.
//!
//! The nodes are of this machine, and each is held to a part of a processor. Not here: how that is done and
//! measured (`banyan_bench::grow`).

use super::chart;
use crate::terminal::{LiveLine, columns, print, style, wrap};
use anyhow::Context;
use banyan_bench::grow::{Event, Growth, Plan, SETTLING, program};
use clap::Args;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Rows of the chart.
const ROWS: usize = 10;

/// Arguments of `banyan demo grow`.
#[derive(Debug, Args)]
pub(crate) struct GrowArguments {
    /// Nodes at the end
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=8))]
    nodes: u8,
    /// Hundredths of a processor that each node gets
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=100))]
    share: u32,
    /// How long the speed is measured for each number of nodes
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Write the chart as a picture, too
    #[arg(long, value_name = "FILE.svg")]
    picture: Option<PathBuf>,
    /// One JSON object on one line instead of the table
    #[arg(long)]
    json: bool,
}

/// Runs the demonstration. Returns the exit status.
pub(super) fn grow(arguments: &GrowArguments) -> anyhow::Result<u8> {
    let plan = Plan {
        nodes: arguments.nodes,
        hundredths: arguments.share,
        measured: Duration::from_secs(arguments.seconds.into()),
        program: program()?,
    };
    let mut line = LiveLine::new();
    line.end(&format!(
        "{} runs on all nodes of a cluster of one node, which has {}% of a processor; others like it join.",
        plan.program.file_name().unwrap_or_default().display(),
        plan.hundredths
    ));
    let mut best: f64 = 0.0;
    let growth = banyan_bench::grow::grow(&plan, &mut |event| match event {
        Event::Joined(1) => line.show("1 node"),
        Event::Joined(nodes) => line.end(&format!("node {nodes} has joined")),
        Event::Speed(sample) if line.is_live() => {
            best = best.max(sample.rate);
            let room = columns().saturating_sub(42).min(60);
            let filled = (sample.rate / best.max(f64::MIN_POSITIVE) * room as f64).round() as usize;
            let bar = "\u{2588}".repeat(filled.min(room));
            let nodes = crate::terminal::count(sample.nodes.into(), "node");
            line.show(&format!("{nodes:>8} {:>8.1} million steps a second {bar}", sample.rate));
        }
        Event::Speed(_) => {}
        Event::Native => line.show("The same work natively, to compare what it prints"),
    })?;
    line.end(&format!("It printed what a native run prints: {}", growth.result));
    if let Some(path) = &arguments.picture {
        let what = || format!("{}: cannot be written", path.display());
        std::fs::write(path, chart::svg(&growth)).with_context(what)?;
    }
    if arguments.json {
        print(&format!("{}\n", json(&plan, &growth)));
        return Ok(0);
    }
    print(&report(&plan, &growth, arguments.picture.as_ref()));
    Ok(0)
}

fn json(plan: &Plan, growth: &Growth) -> serde_json::Value {
    let size = |(index, rate): (usize, &f64)| {
        let nodes = index as u8 + 1;
        serde_json::json!({
            "nodes": nodes,
            "million_steps_per_second": rate,
            "speed_up": rate / growth.rates[0],
            "efficiency": growth.efficiency(nodes),
        })
    };
    serde_json::json!({
        "share_percent": plan.hundredths,
        "result": growth.result,
        "sizes": growth.rates.iter().enumerate().map(size).collect::<Vec<_>>(),
    })
}

fn report(plan: &Plan, growth: &Growth, picture: Option<&PathBuf>) -> String {
    let mut text = format!("\n{}", chart::lines(growth, columns(), ROWS));
    let _ = writeln!(text, "\n{}", style::strong("NODES   MILLION STEPS A SECOND   SPEED-UP   EFFICIENCY"));
    for (nodes, rate) in (1_u8..).zip(&growth.rates) {
        let efficiency = 100.0 * growth.efficiency(nodes);
        let _ = writeln!(text, "{nodes:>5}{rate:>25.1}{:>10.2}x{efficiency:>12.0}%", rate / growth.rates[0]);
    }
    let said = format!(
        "Each speed was measured for {} s, from {} s after a node had joined. All nodes share this machine, and each is \
         held to {}% of a processor, its daemon excepted. Nothing is left of them. On machines of yours:",
        plan.measured.as_secs(),
        SETTLING.as_secs(),
        plan.hundredths,
    );
    let _ = writeln!(text, "\n{}\n", wrap(&said, 0, columns()));
    text.push_str("  banyan up\n  banyan run -n all -- PROGRAM ARGUMENTS...\n  banyan join ...   (the line that `up` prints, on another machine)\n");
    if let Some(path) = picture {
        let _ = writeln!(text, "\nThe chart is in {}.", path.display());
    }
    text
}

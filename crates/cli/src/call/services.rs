//! Looking at running services: `status`, `list` and `top`.

use super::find;
use crate::terminal::{print, print_json, redraw};
use banyan_calls::generate;
use banyan_calls::launch::open_library;
use banyan_calls::monitor::{self, ObservedService};
use banyan_calls::service::{Configuration, Layer};
use std::path::Path;
use std::time::{Duration, Instant};

fn state(layer: &Layer) -> &'static str {
    if layer.active { "on" } else { "off" }
}

/// The layers that a library's sandbox would have here.
fn try_sandbox(library: &Path, json: bool) -> anyhow::Result<u8> {
    let path = find(library)?;
    let exports = generate::Exports::read(&path.canonicalize()?)?;
    let groups = generate::derive_groups(&exports.imports).0;
    let configuration =
        Configuration { library: Some(path), groups, namespaces: true, ..Configuration::default() };
    let connection = open_library(&configuration, None)?;
    let layers = &connection.report().layers;
    if json {
        print_json(layers)?;
    } else {
        for layer in layers {
            print(&format!("{}\t{}\t{}\n", state(layer), layer.name, layer.detail));
        }
    }
    Ok(0)
}

/// Services and the layers of their sandboxes; of one babysitter, or what a library would get.
pub(super) fn status(what: Option<&Path>, json: bool) -> anyhow::Result<u8> {
    let number: Option<u32> = what.and_then(|what| what.to_str()?.parse().ok());
    if let (Some(library), None) = (what, number) {
        return try_sandbox(library, json);
    }
    let mut services = monitor::services();
    services.retain(|seen| number.is_none_or(|number| number == seen.babysitter));
    if let (Some(number), true) = (number, services.is_empty()) {
        eprintln!("banyan: no service has the babysitter {number}; `banyan call list` lists them");
        return Ok(1);
    }
    if json {
        print_json(&services)?;
    } else {
        services.iter().for_each(|seen| print(&description(seen)));
    }
    Ok(0)
}

fn description(seen: &ObservedService) -> String {
    let mut text = format!(
        "{}\n  state      {}, babysitter {}, caller {}\n  workers    {:?} of {}, ready {:?}\n  \
         calls      {}, absorbed crashes {}, workers ended {}\n  sandbox\n",
        seen.what,
        seen.state,
        seen.babysitter,
        seen.caller,
        seen.workers,
        seen.workers_max,
        seen.spares,
        seen.calls,
        seen.absorbed,
        seen.ended
    );
    for layer in &seen.layers {
        text += &format!("    {:3} {} {}\n", state(layer), layer.name, layer.detail);
    }
    text
}

/// One line a service.
pub(super) fn list(json: bool) -> anyhow::Result<u8> {
    let services = monitor::services();
    if services.is_empty() {
        eprintln!("no service is running; `banyan call exec --isolate LIBRARY -- PROGRAM` starts one");
    } else if json {
        print_json(&services)?;
    } else {
        print("SERVICE\tCALLER\tSTATE\tWORKERS\tREADY\tCALLS\tABSORBED\tENDED\tWHAT\n");
        for seen in &services {
            print(&format!(
                "{}\t{}\t{}\t{}/{}\t{}\t{}\t{}\t{}\t{}\n",
                seen.babysitter,
                seen.caller,
                seen.state,
                seen.workers.len(),
                seen.workers_max,
                seen.spares.len(),
                seen.calls,
                seen.absorbed,
                seen.ended,
                seen.what
            ));
        }
    }
    Ok(0)
}

/// Rates of the services, again and again: the lines of services that are there twice in a row.
pub(super) fn top(every: f64, count: Option<u64>, json: bool) -> anyhow::Result<u8> {
    anyhow::ensure!((0.01..=3600.0).contains(&every), "--every must be from 0.01 to 3600 seconds");
    let mut before = monitor::services();
    let mut shown = 0;
    while count.is_none_or(|count| shown < count) {
        shown += 1;
        let start = Instant::now();
        std::thread::sleep(Duration::from_secs_f64(every));
        let now = monitor::services();
        let seconds = start.elapsed().as_secs_f64();
        let mut text = String::from("SERVICE\tCALLS/S\tLATENCY_US\tENDED/S\tABSORBED\tWORKERS\tWHAT\n");
        for seen in &now {
            let Some(old) = before.iter().find(|old| old.babysitter == seen.babysitter) else { continue };
            let rate = seen.since(old, seconds);
            if json {
                print_json(&[serde_json::json!({ "service": seen, "rate": rate })])?;
                continue;
            }
            let latency = rate.latency_us.map_or_else(|| "-".into(), |latency| format!("{latency:.1}"));
            text += &format!(
                "{}\t{:.0}\t{latency}\t{:.1}\t{}\t{}/{}\t{}\n",
                seen.babysitter,
                rate.calls_per_second,
                rate.ended_per_second,
                seen.absorbed,
                seen.workers.len(),
                seen.workers_max,
                seen.what
            );
        }
        // Where it cannot be shown any more, the reader has gone.
        if !json && redraw(&text).is_err() {
            return Ok(0);
        }
        before = now;
    }
    Ok(0)
}

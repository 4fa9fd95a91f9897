//! A view as Prometheus reads it: counters as they stand, in the text format 0.0.4. The names are in
//! docs/reference/page-api.md.

use crate::view::View;
use std::fmt::Write;

/// A value with its labels.
type Sample = (Vec<(&'static str, String)>, f64);

/// The metrics of a view.
#[must_use]
pub fn metrics(view: &View) -> String {
    let mut text = String::new();
    of_nodes(view, &mut text);
    of_jobs(view, &mut text);
    of_faults(view, &mut text);
    text
}

fn of_nodes(view: &View, text: &mut String) {
    let each = |value: &dyn Fn(&crate::NodeView) -> Option<f64>| -> Vec<Sample> {
        let sample = |node| Some((vec![("node", node_name(node))], value(node)?));
        view.nodes.iter().filter_map(sample).collect()
    };
    let count = |value: Option<u64>| value.map(|value| value as f64);
    let up = each(&|node| Some(f64::from(u8::from(node.row.state == "up"))));
    family(text, "banyan_node_up", "gauge", "1 if the node answers", &up);
    family(text, "banyan_node_cpus", "gauge", "Processors", &each(&|node| count(node.row.cpus)));
    let memory = each(&|node| count(node.row.memory_bytes));
    family(text, "banyan_node_memory_bytes", "gauge", "Memory of the machine", &memory);
    let left = each(&|node| count(node.row.available_bytes));
    family(text, "banyan_node_available_bytes", "gauge", "Memory that programs can still have", &left);
    let busy = each(&|node| node.row.busy_s);
    family(text, "banyan_node_busy_seconds_total", "counter", "Processor time used on the machine", &busy);
    let daemon = each(&|node| node.row.daemon_s);
    family(
        text,
        "banyan_node_daemon_seconds_total",
        "counter",
        "Processor time of the node's daemon",
        &daemon,
    );
    family(text, "banyan_node_jobs", "gauge", "Programs on the node", &each(&|node| count(node.row.jobs)));
}

fn node_name(node: &crate::NodeView) -> String {
    node.row.node.clone()
}

fn of_jobs(view: &View, text: &mut String) {
    let each = |value: &dyn Fn(&crate::JobView) -> Option<f64>| -> Vec<Sample> {
        let labels = |job: &crate::JobView| {
            let process = job.row.process.map_or_else(String::new, |process| process.to_string());
            vec![("job", job.row.job.to_string()), ("process", process), ("program", job.row.program.clone())]
        };
        view.jobs.iter().filter_map(|job| Some((labels(job), value(job)?))).collect()
    };
    let count = |value: Option<u64>| value.map(|value| value as f64);
    family(
        text,
        "banyan_job_nodes",
        "gauge",
        "Nodes of the program",
        &each(&|job| Some(job.row.nodes as f64)),
    );
    family(text, "banyan_job_threads", "gauge", "Its threads", &each(&|job| count(job.row.threads)));
    let memory = each(&|job| Some(job.row.memory_bytes as f64));
    family(text, "banyan_job_memory_bytes", "gauge", "Its memory on all nodes, copies included", &memory);
    let cpu = each(&|job| Some(job.row.cpu_s));
    family(text, "banyan_job_cpu_seconds_total", "counter", "Its processor time on all nodes", &cpu);
    let lost = each(&|job| Some(job.row.lost_us as f64 / 1e6));
    family(text, "banyan_job_lost_seconds_total", "counter", "Time its threads waited for pages", &lost);
    let sent = each(&|job| Some(job.row.sent_bytes as f64));
    family(text, "banyan_job_sent_bytes_total", "counter", "Sent to keep its memory coherent", &sent);
    let moves = each(&|job| count(job.row.moves));
    family(text, "banyan_job_thread_moves_total", "counter", "How often a thread changed its node", &moves);
}

fn of_faults(view: &View, text: &mut String) {
    let faults = || view.jobs.iter().flat_map(|job| &job.faults);
    let labels = |fault: &crate::FaultRow| {
        vec![("job", fault.job.to_string()), ("node", fault.node.clone()), ("cause", fault.cause.clone())]
    };
    let counts: Vec<Sample> = faults().map(|fault| (labels(&fault.row), fault.row.count as f64)).collect();
    family(text, "banyan_faults_total", "counter", "Page faults that went to other nodes", &counts);
    let slow = |fault: &crate::FaultRow| Some((labels(fault), fault.p99_us? / 1e6));
    let slow: Vec<Sample> = faults().filter_map(|fault| slow(&fault.row)).collect();
    family(text, "banyan_fault_p99_seconds", "gauge", "What 99 of 100 faults did not exceed", &slow);
    let link = |link: &crate::LinkView| {
        (vec![("node", link.node.clone()), ("peer", link.peer.clone())], link.sent_bytes as f64)
    };
    let links: Vec<Sample> = view.links.iter().map(link).collect();
    // It goes down when a program ends: its connections end with it.
    family(text, "banyan_link_sent_bytes", "gauge", "Sent from node to peer for programs that run", &links);
}

fn family(text: &mut String, name: &str, kind: &str, help: &str, samples: &[Sample]) {
    if samples.is_empty() {
        return;
    }
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in samples {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(text, "{name}{{{}}} {value}", labels.join(","));
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

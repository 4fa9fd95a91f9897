//! One node against none: what being watched costs a program that shares with nobody.

use super::input;
use super::outcome::Outcome;
use super::processes::{self, Finished, Launch, On};
use super::session::Session;
use crate::report::list_of;
use crate::row::Detail;
use crate::row::rounded;
use crate::statistics::median;
use anyhow::Context;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(120);
const TOUCH_MEGABYTES: usize = 1024;
const CHILDREN: usize = 500;
/// Memory of a process that is copied.
const COPIED_MEGABYTES: usize = 1024;

/// Whether a program is missing; if so, how to get it.
pub(crate) fn missing(program: &str) -> Option<Outcome> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    (!found).then(|| {
        let package = if program == "xz" { "xz-utils" } else { program };
        Outcome::Skipped(format!("{program} is not installed: apt-get install {package}"))
    })
}

/// Runs `words` alone, or on one node.
fn run(session: &mut Session, words: &[String], nodes: Option<u8>) -> anyhow::Result<Finished> {
    processes::run(Launch {
        words: words.to_vec(),
        on: nodes.map_or(On::Nothing, On::Nodes),
        processors: None,
        run: session.next_run(),
        place: None,
        deadline: DEADLINE,
    })
}

fn compressor(
    session: &mut Session,
    program: &str,
    megabytes: usize,
    options: &[&str],
) -> anyhow::Result<Outcome> {
    if let Some(skipped) = missing(program) {
        return Ok(skipped);
    }
    let input = input::text(session, megabytes)?;
    let words: Vec<String> = std::iter::once(program)
        .chain(options.iter().copied())
        .chain(std::iter::once(path_text(&input)?))
        .map(str::to_owned)
        .collect();
    let (mut alone, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..session.rounds() {
        alone.push(run(session, &words, None)?);
        ours.push(run(session, &words, Some(1))?);
        anyhow::ensure!(
            alone.last().map(|run| &run.output) == ours.last().map(|run| &run.output),
            "the output on one node differs from that of {program} alone"
        );
    }
    let cpu = |runs: &[Finished]| -> Vec<f64> { runs.iter().map(Finished::cpu_seconds).collect() };
    let wall = |runs: &[Finished]| median(runs.iter().map(|run| run.wall_seconds));
    let value = median(cpu(&ours));
    let mut detail = Detail::new();
    detail.insert("command".into(), json!(format!("{program} {} on {megabytes} MiB", options.join(" "))));
    detail.insert("banyan_cpu_seconds".into(), list_of(&cpu(&ours)));
    detail.insert("alone_cpu_seconds".into(), list_of(&cpu(&alone)));
    let daemon = median(ours.iter().map(|run| run.daemon_seconds.iter().sum()));
    detail.insert("daemon_cpu_seconds".into(), json!(rounded(daemon)));
    detail.insert("wall_ratio".into(), json!(rounded(wall(&ours) / wall(&alone))));
    Ok(Outcome::measured(value, "s", value / median(cpu(&alone)), detail))
}

/// A path as an argument.
pub(crate) fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the directory for temporary files has a name that is no text")
}

/// `run1.pigz`.
pub(crate) fn pigz(session: &mut Session) -> anyhow::Result<Outcome> {
    compressor(session, "pigz", 160, &["-n", "-p", "8", "-k", "-c"])
}

/// `run1.xz`.
pub(crate) fn xz(session: &mut Session) -> anyhow::Result<Outcome> {
    compressor(session, "xz", 24, &["-2", "-T", "4", "--block-size=4MiB", "-k", "-c"])
}

/// `run1.zstd`.
pub(crate) fn zstd(session: &mut Session) -> anyhow::Result<Outcome> {
    compressor(session, "zstd", 96, &["-9", "-T4", "-q", "-k", "-c"])
}

/// `run1.first_touch`.
pub(crate) fn first_touch(session: &mut Session) -> anyhow::Result<Outcome> {
    let words: Vec<String> = ["/proc/self/exe", "bench-program", "first-touch", &TOUCH_MEGABYTES.to_string()]
        .iter()
        .map(|word| (*word).to_owned())
        .collect();
    let (mut alone, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..session.rounds() {
        for (runs, nodes) in [(&mut alone, None), (&mut ours, Some(1))] {
            processes::warm_memory(session.next_run(), TOUCH_MEGABYTES * 5 / 4)?;
            let finished = run(session, &words, nodes)?;
            let seconds = finished.numbers()?.get("seconds").copied().context("no time")?;
            runs.push((seconds, finished.cpu_seconds()));
        }
    }
    let seconds = |runs: &[(f64, f64)]| -> Vec<f64> { runs.iter().map(|run| run.0).collect() };
    let cpu = |runs: &[(f64, f64)]| median(runs.iter().map(|run| run.1));
    let value = median(seconds(&ours));
    let pages = (TOUCH_MEGABYTES << 20) as f64 / 4096.0;
    let mut detail = Detail::new();
    detail.insert("banyan_seconds".into(), list_of(&seconds(&ours)));
    detail.insert("alone_seconds".into(), list_of(&seconds(&alone)));
    detail.insert("banyan_us_a_page".into(), json!(rounded(value / pages * 1e6)));
    detail.insert("cpu_ratio_of_whole_runs".into(), json!(rounded(cpu(&ours) / cpu(&alone))));
    detail.insert("huge_pages".into(), json!(huge_pages()));
    Ok(Outcome::measured(value, "s", value / median(seconds(&alone)), detail))
}

/// `fork.exec`: by a shell that has `vfork`. The C library's `posix_spawn`, which asks for the disposition of
/// every signal, is in the detail.
pub(crate) fn children(session: &mut Session) -> anyhow::Result<Outcome> {
    if let Some(skipped) = missing("dash") {
        return Ok(skipped);
    }
    let script = "while test $1 -gt 0; do /bin/true; set -- $(($1 - 1)); done";
    let shell = |count: usize| ["dash", "-c", script, "dash", &count.to_string()].map(str::to_owned);
    let spawner = ["/proc/self/exe", "bench-program", "children", &CHILDREN.to_string()].map(str::to_owned);
    let (mut alone, mut ours) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for _ in 0..session.rounds() {
        for (runs, nodes) in [(&mut alone, None), (&mut ours, Some(1))] {
            let start = run(session, &shell(0), nodes)?.wall_seconds;
            let all = run(session, &shell(CHILDREN), nodes)?.wall_seconds;
            runs.0.push((all - start) / CHILDREN as f64 * 1e6);
            let numbers = run(session, &spawner, nodes)?.numbers()?;
            runs.1.push(numbers.get("p50").copied().context("no median")?);
        }
    }
    let middle = |times: &[f64]| median(times.iter().copied());
    let value = middle(&ours.0);
    let mut detail = Detail::new();
    detail.insert("banyan_us".into(), list_of(&ours.0));
    detail.insert("alone_us".into(), list_of(&alone.0));
    detail.insert("posix_spawn_banyan_us".into(), list_of(&ours.1));
    detail.insert("posix_spawn_alone_us".into(), list_of(&alone.1));
    detail.insert("posix_spawn_ratio".into(), json!(rounded(middle(&ours.1) / middle(&alone.1))));
    Ok(Outcome::measured(value, "us", value / middle(&alone.0), detail))
}

/// Forks, waits, and prints what each took at the median, in microseconds: arguments are the bytes of memory
/// and how often.
const COPIES: &str = r#"
use Time::HiRes "time";
use POSIX ();
my ($bytes, $count) = @ARGV;
my $memory = "x" x $bytes;
my @times;
for (1 .. $count) {
    my $begin = time;
    my $copy = fork() // die "fork: $!";
    if ($copy == 0) { POSIX::_exit(0) }
    waitpid($copy, 0);
    push @times, time - $begin;
}
print "p50 ", (sort { $a <=> $b } @times)[$count / 2] * 1e6, "\n";
"#;

/// `fork.copy`. That of a small process, and of one on two nodes, is in the detail.
pub(crate) fn copies(session: &mut Session) -> anyhow::Result<Outcome> {
    if let Some(skipped) = missing("perl") {
        return Ok(skipped);
    }
    let words = |megabytes: usize| {
        let bytes = (megabytes << 20).to_string();
        ["perl", "-e", COPIES, &bytes, "15"].map(str::to_owned)
    };
    let sides = [
        ("alone_us", COPIED_MEGABYTES, None),
        ("banyan_us", COPIED_MEGABYTES, Some(1)),
        ("small_alone_us", 1, None),
        ("small_banyan_us", 1, Some(1)),
        ("small_two_nodes_us", 1, Some(2)),
        ("two_nodes_us", COPIED_MEGABYTES, Some(2)),
    ];
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); sides.len()];
    for _ in 0..session.rounds() {
        for (times, (_, megabytes, nodes)) in times.iter_mut().zip(sides) {
            let numbers = run(session, &words(megabytes), nodes)?.numbers()?;
            times.push(numbers.get("p50").copied().context("no median")?);
        }
    }
    let middle = |times: &[f64]| median(times.iter().copied());
    let detail: Detail =
        sides.iter().zip(&times).map(|((name, ..), times)| ((*name).into(), list_of(times))).collect();
    Ok(Outcome::measured(middle(&times[1]), "us", middle(&times[1]) / middle(&times[0]), detail))
}

/// Whether the kernel gives anonymous memory in huge pages unasked, which native programs then profit from.
fn huge_pages() -> String {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let chosen = text.split_whitespace().find(|word| word.starts_with('['));
    chosen.map_or_else(|| "unknown".into(), |word| word.trim_matches(['[', ']']).to_owned())
}

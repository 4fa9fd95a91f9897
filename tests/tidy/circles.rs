//! Circles: files of a crate of which each uses names of the next, round to the first. Who reads one of them
//! must read them all.

use crate::crates::{libraries, metadata};
use crate::nothing_wrong;
use crate::source::Modules;
use banyan_tests::workspace;
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Files in a circle.
const LARGEST: usize = 4;

/// Which names a file takes from another.
type Uses = BTreeMap<(String, String), Vec<String>>;

#[test]
fn no_circle_of_files_is_large() {
    let mut problems = Vec::new();
    for library in libraries(&metadata()) {
        let uses = uses(&Modules::read(Path::new(&library)));
        for circle in circles(&uses).into_iter().filter(|circle| circle.len() > LARGEST) {
            let mut problem = format!("a circle of {} files, more than {LARGEST}:", circle.len());
            for ((from, to), names) in &uses {
                if circle.contains(from) && circle.contains(to) {
                    write!(problem, "\n  {from} takes from {to}: {}", names.join(", ")).unwrap();
                }
            }
            problems.push(problem);
        }
    }
    nothing_wrong(&problems);
}

fn uses(modules: &Modules) -> Uses {
    let root = workspace::root().canonicalize().unwrap();
    let short = |path: &Path| path.strip_prefix(&root).unwrap_or(path).display().to_string();
    let mut uses = Uses::new();
    for (path, module) in &modules.0 {
        for used in &module.paths {
            let Some(definer) = modules.defines(path, used) else { continue };
            let (from, to) = (short(&module.file), short(&modules.0[definer].file));
            // A module is part of those that it lies in: it uses their names, and they use it.
            if from == to || path.starts_with(definer) {
                continue;
            }
            let names = uses.entry((from, to)).or_default();
            let name = used.last().unwrap();
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    uses
}

/// The circles of two files or more.
fn circles(uses: &Uses) -> Vec<Vec<String>> {
    let edges = uses.keys().map(|(from, to)| (from.as_str(), to.as_str()));
    let graph: DiGraphMap<&str, ()> = edges.collect();
    let found = tarjan_scc(&graph).into_iter().filter(|circle| circle.len() > 1);
    found.map(|circle| circle.into_iter().map(str::to_owned).collect()).collect()
}

//! Links in the documents.

use crate::{nothing_wrong, read, with_extension};
use banyan_tests::workspace;

#[test]
fn links_in_documents_lead_somewhere() {
    let mut problems = Vec::new();
    for path in with_extension("md") {
        let document = read(&path);
        let directory = workspace::root().join(path.parent().unwrap());
        for link in links(&document) {
            let target = link.split('#').next().unwrap_or_default();
            let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !is_elsewhere && !directory.join(target).exists() {
                problems.push(format!("{}: the link {link} leads nowhere", path.display()));
            }
        }
    }
    nothing_wrong(&problems);
}

/// The targets of `[text](target)`, outside of code.
fn links(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // Every other part between backticks is code.
        let prose: Vec<&str> = line.split('`').step_by(2).collect();
        for rest in prose.join("`").split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                found.push(target.split_whitespace().next().unwrap_or_default().to_owned());
            }
        }
    }
    found
}

#[test]
fn links_are_seen_outside_of_code_only() {
    assert_eq!(links("see [a](b.md#c) and `[x](y)`\n```\n[z](w)\n```\n"), ["b.md#c"]);
}

//! The document of the tables, which must say what the tables are.
//!
//! After a change of a table: `BANYAN_REGENERATE=1 cargo test -p banyan-node the_reference`.

use super::columns::described;
use std::fmt::Write;
use std::path::Path;

/// What stands between these lines is written by the test.
const BEGIN: &str = "<!-- The tables, as the test of the reference writes them. -->\n";
const END: &str = "<!-- The end of the tables. -->\n";

#[test]
fn the_reference_says_what_the_tables_are() {
    let mut tables = String::new();
    for (name, about, columns) in described() {
        let _ = write!(tables, "\n### `{name}`\n\n{about}.\n\n| column | type | |\n|---|---|---|\n");
        for column in columns {
            let kind = column.kind.name().to_lowercase();
            let key = if column.key { ", key" } else { "" };
            let _ = writeln!(tables, "| `{}` | {kind}{key} | {} |", column.name, column.meaning);
        }
    }
    tables.push('\n');
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/sql.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if std::env::var_os("BANYAN_REGENERATE").is_some() {
        std::fs::write(&path, [before, BEGIN, &tables, END, after].concat()).unwrap();
        return;
    }
    assert!(found == tables, "docs/reference/sql.md is out of date; BANYAN_REGENERATE=1 writes it");
}

#[test]
fn the_names_of_columns_say_the_unit_and_are_each_once() {
    for (name, _, columns) in described() {
        let mut names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        assert!(
            names.iter().all(|name| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), columns.len(), "{name}");
        assert!(columns.len() < 63, "{name}: the last bit of what is used stands for more than one column");
    }
}

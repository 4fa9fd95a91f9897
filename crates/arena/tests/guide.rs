//! The programs of the guide: what is printed there is what is compiled, and it does what is said.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The built example, as its source is now. All tests of a workspace are built together with its examples:
/// a run of them all names the binary that it tests, and nothing is to be built again.
fn example(name: &str) -> PathBuf {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let built = test.ancestors().nth(2).unwrap().to_owned();
        if std::env::var_os("BANYAN").is_none() {
            // The folder has the name of the profile, but for one.
            let folder = built.file_name().and_then(|name| name.to_str()).unwrap();
            let profile = if folder == "debug" { "dev" } else { folder };
            let mut cargo = Command::new(env!("CARGO"));
            cargo.current_dir(root()).args(["build", "--quiet", "-p", "banyan-arena", "--examples"]);
            assert!(cargo.args(["--profile", profile]).status().unwrap().success());
        }
        built
    });
    built.join("examples").join(name)
}

#[test]
fn the_guide_shows_the_examples() {
    let guide = std::fs::read_to_string(root().join("docs/guides/arena.md")).unwrap();
    for name in ["restarts", "squares", "visits"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).with_extension("rs");
        let source = std::fs::read_to_string(path).unwrap();
        // Without the line that says what it is.
        let program = source.split_once('\n').unwrap().1.trim();
        assert!(guide.contains(program), "docs/guides/arena.md does not show examples/{name}.rs as it is");
    }
}

#[test]
fn restarts_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    for times in 1..=5 {
        let output = Command::new(example("restarts")).current_dir(directory.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("started {times} times\n"), "{output:?}");
    }
}

#[test]
fn visits_are_counted_beside_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = Command::new(example("visits")).current_dir(directory.path()).output().unwrap();
        let expected = "ada saw / at 9\nada saw /guide at 10\nat noon the pages' names had 17 bytes\n";
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
    }
}

#[test]
fn a_map_of_a_million_entries_survives_kills() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let mut child = Command::new(example("squares"))
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(30 + 40 * round));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for _ in 0..2 {
        let output = Command::new(example("squares")).current_dir(directory.path()).output().unwrap();
        let expected = format!("1000000 squares; that of 765432 is Some({})\n", 765_432_u64 * 765_432);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
    }
}

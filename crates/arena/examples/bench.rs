//! Runs the arena's measurements in a directory (the first argument) and prints a JSON object a line. With the
//! second argument `nouns`, only those that do not depend on the disk.

use banyan_arena::tool::{BenchOptions, bench, bench_nouns};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let directory = tempfile::tempdir_in(parent)?;
    let chosen = if std::env::args().nth(2).as_deref() == Some("nouns") { bench_nouns } else { bench };
    chosen(directory.path(), BenchOptions::default(), &mut |row| println!("{}", row.json()))?;
    Ok(())
}

//! Runs the arena's measurements in a directory (the first argument) and prints a JSON object a line.

use banyan_arena::tool::{BenchOptions, bench};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let directory = tempfile::tempdir_in(parent)?;
    bench(directory.path(), BenchOptions::default(), &mut |row| println!("{}", row.json()))?;
    Ok(())
}

//! Runs the arena's measurements in a directory (the first argument) and prints a JSON object a line; with a
//! second argument, only commits, drawn as an SVG in the file of that name; with the second argument `nouns`, only
//! what does not depend on the disk.

use banyan_arena::tool::{BenchOptions, bench, bench_nouns, bench_plot};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().unwrap_or_else(|| ".".to_owned());
    let directory = tempfile::tempdir_in(parent)?;
    let mut report = |row: banyan_arena::tool::BenchRow| println!("{}", row.json());
    match arguments.next().as_deref() {
        Some("nouns") => bench_nouns(directory.path(), BenchOptions::default(), &mut report)?,
        Some(plot) => {
            std::fs::write(plot, bench_plot(directory.path(), BenchOptions::default(), &mut report)?)?;
        }
        None => bench(directory.path(), BenchOptions::default(), &mut report)?,
    }
    Ok(())
}

//! Takes the arena's measurements in a directory, the first argument, and prints a JSON object a line: those whose
//! names begin with one of the further arguments, or all. An argument that ends in `.svg` is where commits are drawn.

use banyan_arena::tool::{BenchOptions, bench, commit_plot};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().unwrap_or_else(|| ".".to_owned());
    let (plots, names): (Vec<String>, Vec<String>) =
        arguments.partition(|argument| argument.ends_with(".svg"));
    let directory = tempfile::tempdir_in(parent)?;
    let wanted = |name: &str| names.is_empty() || names.iter().any(|start| name.starts_with(start.as_str()));
    let points =
        bench(directory.path(), BenchOptions::default(), &wanted, &mut |row| println!("{}", row.json()))?;
    for plot in plots {
        std::fs::write(plot, commit_plot(&points))?;
    }
    Ok(())
}

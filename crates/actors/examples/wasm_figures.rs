//! Prints what the containment of WebAssembly actors costs, one JSON object a line.
//!
//! `cargo run --release -p banyan-actors --example wasm_figures`

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for figure in banyan_actors::wasm::bench::all()? {
        println!("{}", serde_json::to_string(&figure)?);
    }
    Ok(())
}

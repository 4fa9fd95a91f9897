//! `banyan call` on its own: `cargo run --release -p banyan-calls --features cli --example call -- bench`.
//! With the features `cli,rivals`, other libraries take turns with it.

use clap::Parser;

#[global_allocator]
static ALLOCATOR: banyan_calls::allocations::Counting = banyan_calls::allocations::Counting;

fn main() {
    #[cfg(feature = "rivals")]
    banyan_calls::bench::rivals::init();
    let status = banyan_calls::cli::CallCommand::parse().run().unwrap_or_else(|error| {
        eprintln!("{error}");
        1
    });
    std::process::exit(status);
}

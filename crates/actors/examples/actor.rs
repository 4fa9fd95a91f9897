//! `banyan actor` by itself: `cargo run --release -p banyan-actors --features cli --example actor -- run zoo`.

use clap::Parser;

fn main() -> std::process::ExitCode {
    match banyan_actors::cli::ActorCommand::parse().run() {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("actor: {error}");
            125.into()
        }
    }
}

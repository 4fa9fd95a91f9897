//! Measures what is promised of actors: `cargo run --release -p banyan-actors --features rivals --example actor_bench`.

fn main() {
    banyan_actors::bench::run(|row| {
        let ratio = row.ratio.map_or(String::new(), |ratio| format!("{ratio:.2} x"));
        let ok = row.ok.map_or("", |ok| if ok { "ok" } else { "missed" });
        println!(
            "{:<28} {:>12.1} {:<4} {ratio:>8} {ok:<7} {} ({})",
            row.name, row.value, row.unit, row.bar, row.detail
        );
    });
}

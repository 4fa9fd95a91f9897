use banyan_core::coherence::Faithful;
use banyan_sim::simulation::{self, Shape};
#[test]
fn trace() {
    let seed: u64 = std::env::var("SEED").unwrap().parse().unwrap();
    let (r, t) = simulation::run_shape(seed, Shape::retiring(seed), &Faithful, Some(String::new()));
    std::fs::write("/tmp/w/trace.txt", t.unwrap()).unwrap();
    println!("{:?} {:?}", r.err().map(|e| e.to_string()), Shape::retiring(seed));
}

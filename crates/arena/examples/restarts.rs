//! Counts how often it was started. Kill it whenever you like.
use banyan_arena::{Arena, ArenaOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arena = Arena::open_or_create("counter.arena".as_ref(), ArenaOptions::default())?;
    *arena.boxed("restarts", || 0_u64)? += 1;
    arena.commit(0, 0)?;
    println!("started {} times", *arena.boxed("restarts", || 0_u64)?);
    Ok(())
}

//! Keeps a map of a million squares, ten thousand of them an event; killed, it goes on where it was.
use banyan_arena::events::{EventOptions, EventRunner};
use banyan_arena::{Arena, ArenaOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arena = Arena::open_or_create("squares.arena".as_ref(), ArenaOptions::default())?;
    let mut runner = EventRunner::new(arena, EventOptions::default());
    while runner.arena().map::<u64, u64>("squares")?.len() < 1_000_000 {
        runner.event(|state| {
            let mut squares = state.map::<u64, u64>("squares")?;
            for number in squares.len() as u64.. {
                squares.insert(number, number * number)?;
                if squares.len() % 10_000 == 0 {
                    break;
                }
            }
            Ok::<_, banyan_arena::collections::CollectionError>(())
        })?;
    }
    let squares = runner.arena().map::<u64, u64>("squares")?;
    println!("{} squares; that of 765432 is {:?}", squares.len(), squares.get(&765_432));
    Ok(())
}

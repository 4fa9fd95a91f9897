//! Keeps an ordered map in an arena, and has a thread read a snapshot of it while the map goes on.
use banyan_arena::collections::Nested;
use banyan_arena::{Arena, ArenaOptions};
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arena = Arena::open_or_create("visits.arena".as_ref(), ArenaOptions::default())?;
    let mut visits = arena.ordered::<str, Nested<u64, str>>("visits")?;
    let mut of_ada = visits.open_nested("ada")?;
    for (hour, page) in [(9, "/"), (10, "/guide"), (14, "/reference")] {
        of_ada.insert(&hour, page)?;
    }
    for (hour, page) in of_ada.range(..12) {
        println!("ada saw {page} at {hour}");
    }

    arena.snapshot("noon", 0, 0)?;
    let noon = arena.reader("noon")?;
    let counting = std::thread::spawn(move || {
        let visits = noon.ordered::<str, Nested<u64, str>>("visits")?;
        let of_ada = visits.map(|visits| visits.nested("ada")).transpose()?.flatten();
        let mut seen = 0;
        if let Some(of_ada) = of_ada {
            of_ada.visit(.., |_, page| {
                seen += page.len();
                ControlFlow::Continue(())
            })?;
        }
        Ok::<_, banyan_arena::collections::FrozenError>(seen)
    });
    arena.ordered::<str, Nested<u64, str>>("visits")?.remove("ada");
    arena.commit(0, 1)?;
    let seen = counting.join().map_err(|_| "the reader panicked")??;
    println!("at noon the pages' names had {seen} bytes");
    arena.drop_snapshot("noon")?;
    Ok(())
}

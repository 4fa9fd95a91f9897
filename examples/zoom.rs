//! Zooms into the Mandelbrot set with many threads: `zoom [TILES [THREADS]]`.
//!
//! Each thread draws the next tile until there are enough, or, without a number or with 0, until its standard
//! input ends. Ten times a second it prints how many million steps were computed so far, since tiles differ
//! in what they cost; at the end how many tiles were drawn and a checksum, which depends on nothing else. A
//! plain program: it knows of threads, and of nothing else.

#[path = "mandelbrot.rs"]
#[expect(dead_code, reason = "a program of its own, which draws one picture")]
mod mandelbrot;

use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Width and height of a tile, in points.
const SIDE: u64 = 128;
/// Tiles of a frame, in each direction.
const ACROSS: u64 = 4;
const LIMIT: u32 = 400;
/// What is zoomed into.
const CENTRE: (f64, f64) = (-0.743_643_887_037_151, 0.131_825_904_205_330);

/// The checksum of one tile, and the steps that it took: tiles go row by row through a frame, and frame by
/// frame into the picture.
fn draw(tile: u64) -> (u64, u64) {
    let (frame, place) = (tile / (ACROSS * ACROSS), tile % (ACROSS * ACROSS));
    // Frames repeat after this number, so that none lies deeper than a double can tell points apart.
    let width = 3.0 * 0.9_f64.powi((frame % 200) as i32);
    let point = width / (ACROSS * SIDE) as f64;
    let (left, top) = (place % ACROSS * SIDE, place / ACROSS * SIDE);
    let (mut sum, mut work) = (tile, 0);
    for row in 0..SIDE {
        let y = CENTRE.1 - width / 2.0 + (top + row) as f64 * point;
        for column in 0..SIDE {
            let x = CENTRE.0 - width / 2.0 + (left + column) as f64 * point;
            let taken = u64::from(mandelbrot::steps(x, y, LIMIT));
            work += taken;
            sum = (sum ^ taken).wrapping_mul(0x100_0000_01b3);
        }
    }
    (sum, work)
}

/// Draws `tiles`, or until the input ends if that is 0. Returns how many and their checksum.
fn zoom(tiles: u64, threads: usize) -> (u64, u64) {
    let (next, done, enough) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        let (mut sum, mut drawn) = (0_u64, 0);
        while !enough.load(Ordering::Relaxed) {
            let tile = next.fetch_add(1, Ordering::Relaxed);
            if tiles != 0 && tile >= tiles {
                break;
            }
            let (of_tile, steps) = draw(tile);
            sum = sum.wrapping_add(of_tile);
            drawn += 1;
            done.fetch_add(steps, Ordering::Relaxed);
        }
        (drawn, sum)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        if tiles == 0 {
            scope.spawn(|| {
                let mut input = std::io::stdin().lock();
                // What cannot be read has ended.
                while input.read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
                enough.store(true, Ordering::Relaxed);
            });
        }
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(100));
            println!("{}", done.load(Ordering::Relaxed) as f64 / 1e6);
            // Who reads it wants to know now.
            let _ = std::io::stdout().flush();
        }
        let parts = workers.into_iter().map(|worker| worker.join().expect("a thread panicked"));
        parts.fold((0, 0_u64), |(tiles, sum), (drawn, part)| (tiles + drawn, sum.wrapping_add(part)))
    })
}

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse());
    let (tiles, threads) = match (numbers.next().unwrap_or(Ok(0)), numbers.next().unwrap_or(Ok(4))) {
        (Ok(tiles), Ok(threads)) => (tiles, threads.clamp(1, 1024) as usize),
        _ => {
            eprintln!("usage: zoom [TILES [THREADS]]");
            return ExitCode::FAILURE;
        }
    };
    let (tiles, sum) = zoom(tiles, threads);
    println!("{tiles} tiles, checksum {sum:016x}");
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_does_not_depend_on_the_threads() {
        assert_eq!(zoom(40, 1), zoom(40, 3));
        assert_ne!(zoom(40, 1).1, zoom(41, 1).1);
    }
}

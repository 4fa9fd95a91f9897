//! Draws the Mandelbrot set with many threads: `mandelbrot [SIZE [THREADS [FILE.pgm]]]`.
//!
//! Each thread takes the next block of rows until none is left. It prints a checksum of the picture, and
//! writes it to a file if one is named. A plain program: it knows of threads, and of nothing else.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const ROWS_PER_BLOCK: usize = 8;
const LIMIT: u32 = 255;

/// How many steps the point needs to leave the circle, up to a limit.
pub(crate) fn steps(x: f64, y: f64, limit: u32) -> u32 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    for step in 0..limit {
        let (real_squared, imaginary_squared) = (real * real, imaginary * imaginary);
        if real_squared + imaginary_squared > 4.0 {
            return step;
        }
        imaginary = 2.0 * real * imaginary + y;
        real = real_squared - imaginary_squared + x;
    }
    limit
}

fn draw_row(row: usize, size: usize) -> Vec<u8> {
    let scale = 3.0 / size as f64;
    let y = row as f64 * scale - 1.5;
    (0..size).map(|column| steps(column as f64 * scale - 2.25, y, LIMIT) as u8).collect()
}

/// The picture, row after row.
pub(crate) fn draw(size: usize, threads: usize) -> Vec<u8> {
    let next_block = AtomicUsize::new(0);
    let blocks = size.div_ceil(ROWS_PER_BLOCK);
    let mut drawn: Vec<(usize, Vec<u8>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut own = Vec::new();
                    loop {
                        let block = next_block.fetch_add(1, Ordering::Relaxed);
                        if block >= blocks {
                            return own;
                        }
                        let rows = block * ROWS_PER_BLOCK..size.min((block + 1) * ROWS_PER_BLOCK);
                        own.push((block, rows.flat_map(|row| draw_row(row, size)).collect()));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a thread panicked")).collect()
    });
    drawn.sort_unstable_by_key(|(block, _)| *block);
    drawn.into_iter().flat_map(|(_, rows)| rows).collect()
}

/// FNV-1a.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, usual: usize| arguments.get(place).map_or(Ok(usual), |word| word.parse());
    let (Ok(size @ 1..=20_000), Ok(threads @ 1..=1024)) = (number(0, 1200), number(1, 8)) else {
        eprintln!("usage: mandelbrot [SIZE up to 20000 [THREADS up to 1024 [FILE.pgm]]]");
        return ExitCode::from(2);
    };
    let picture = draw(size, threads);
    println!("{size} x {size}, checksum {:016x}", checksum(&picture));
    if let Some(path) = arguments.get(2) {
        let mut file = format!("P5\n{size} {size}\n255\n").into_bytes();
        file.extend_from_slice(&picture);
        if let Err(error) = std::fs::write(path, file) {
            eprintln!("mandelbrot: {path}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

//! The programs that the benches run: plain ones, with threads and memory and nothing of Banyan in them,
//! which time their own loads and system calls. A hidden subcommand holds them, so that the one binary is
//! enough.
//!
//! Each prints lines of a name and a number.

use super::{guard, tcp};
use anyhow::Context;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

#[path = "../../../../examples/mandelbrot.rs"]
#[expect(dead_code, reason = "its main function is for the example itself")]
mod mandelbrot;

const PAGE: usize = 4096;

/// Runs one of the programs: its name, and what that takes.
///
/// # Errors
/// What the program failed at, or that there is no such program.
pub fn program(words: &[String]) -> anyhow::Result<()> {
    let number = |word: &String| word.parse::<usize>().with_context(|| format!("{word:?} is no number"));
    match words {
        [name, pages] if name == "fault-read" => fault_read(number(pages)?),
        [name, megabytes] if name == "stream-read" => stream_read(number(megabytes)?),
        [name, count] if name == "calls" => calls(number(count)?),
        [name, megabytes] if name == "first-touch" => {
            first_touch(number(megabytes)?);
            Ok(())
        }
        [name, count] if name == "children" => children(number(count)?),
        [name, size, threads] if name == "mandelbrot" => {
            println!("checksum {}", mandelbrot::checksum(&mandelbrot::draw(number(size)?, number(threads)?)));
            Ok(())
        }
        [name] if name == "tcp-server" => tcp::serve(),
        [name, port, count, reply] if name == "tcp-client" => {
            tcp::ask(number(port)? as u16, number(count)?, number(reply)?)
        }
        [name, port, megabytes] if name == "tcp-stream" => {
            tcp::take(number(port)? as u16, number(megabytes)?)
        }
        // When its standard input ends.
        [name, mark, directory] if name == "guard" => guard::guard(mark, Path::new(directory)),
        _ => anyhow::bail!("there is no program {words:?}"),
    }
}

/// What it takes to ask for the time twice, at the median. Next to nothing, unless asking is itself a call.
pub(crate) fn clock_cost() -> Duration {
    let mut times: Vec<Duration> = (0..1001).map(|_| Instant::now().elapsed()).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Prints what part of the times lies below what, in microseconds, less the time that asking for the time
/// took.
pub(crate) fn print_quantiles(mut times: Vec<Duration>, clock: Duration) {
    println!("clock {}", clock.as_secs_f64() * 1e6);
    for time in &mut times {
        *time = time.saturating_sub(clock);
    }
    times.sort_unstable();
    for (name, part) in [("p10", 10), ("p50", 50), ("p90", 90), ("p99", 99)] {
        let place = (times.len() * part / 100).min(times.len().saturating_sub(1));
        println!("{name} {}", times.get(place).map_or(0.0, Duration::as_secs_f64) * 1e6);
    }
    println!("mean {}", times.iter().sum::<Duration>().as_secs_f64() * 1e6 / times.len().max(1) as f64);
}

/// Gives the bench time to put its processes where they belong.
fn settle() {
    std::thread::sleep(Duration::from_millis(400));
}

/// The numbers below `count` in an order without ascending neighbours to speak of. Always the same.
fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for place in (1..count).rev() {
        // Xorshift: any order will do that nobody guesses.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(place, (state % (place as u64 + 1)) as usize);
    }
    order
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))
}

fn fault_read(pages: usize) -> anyhow::Result<()> {
    // Only every other page is read, so that no two reads are neighbours.
    let mut memory = vec![0_u8; pages * 2 * PAGE];
    for (number, page) in memory.chunks_exact_mut(PAGE).enumerate() {
        page.fill(number as u8 | 1);
    }
    settle();
    let (times, clock) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let clock = clock_cost();
            let order = shuffled(pages);
            let mut times = vec![Duration::ZERO; pages];
            for (time, number) in times.iter_mut().zip(order) {
                let place = &memory[number * 2 * PAGE + 64];
                let begin = Instant::now();
                let value = black_box(*black_box(place));
                *time = begin.elapsed();
                assert_eq!(value, (number * 2) as u8 | 1, "page {number} has wrong contents");
            }
            (times, clock)
        });
        joined(reader)
    })?;
    print_quantiles(times, clock);
    Ok(())
}

fn stream_read(megabytes: usize) -> anyhow::Result<()> {
    let words = (megabytes << 20) / size_of::<u64>();
    let memory: Vec<u64> = (0..words as u64).collect();
    settle();
    let (seconds, sum) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let begin = Instant::now();
            let sum = black_box(&memory).iter().fold(0_u64, |sum, word| sum.wrapping_add(*word));
            (begin.elapsed().as_secs_f64(), sum)
        });
        joined(reader)
    })?;
    let words = words as u64;
    anyhow::ensure!(sum == (words.wrapping_mul(words - 1)) / 2, "the memory has wrong contents");
    println!("seconds {seconds}");
    Ok(())
}

fn calls(count: usize) -> anyhow::Result<()> {
    settle();
    let (times, clock) = std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let clock = clock_cost();
            let expected = std::os::unix::process::parent_id();
            let mut times = vec![Duration::ZERO; count];
            for time in &mut times {
                let begin = Instant::now();
                let parent = std::os::unix::process::parent_id();
                *time = begin.elapsed();
                assert_eq!(parent, expected, "the parent has changed");
            }
            (times, clock)
        });
        joined(caller)
    })
    .context("making calls")?;
    print_quantiles(times, clock);
    Ok(())
}

fn first_touch(megabytes: usize) {
    let mut memory = vec![0_u8; megabytes << 20];
    let begin = Instant::now();
    for page in black_box(&mut memory).chunks_exact_mut(PAGE) {
        page[0] = 1;
    }
    println!("seconds {}", begin.elapsed().as_secs_f64());
    black_box(&memory);
}

/// Executes `/bin/true` the given number of times, one after the other.
fn children(count: usize) -> anyhow::Result<()> {
    let mut times = vec![Duration::ZERO; count];
    for time in &mut times {
        let begin = Instant::now();
        // The standard library has the C library's `posix_spawn` do it.
        let status = std::process::Command::new("/bin/true").status().context("executing /bin/true")?;
        *time = begin.elapsed();
        anyhow::ensure!(status.success(), "/bin/true ended with {status}");
    }
    print_quantiles(times, clock_cost());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_holds_every_number_once() {
        let mut order = shuffled(1000);
        let ascending = order.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
        assert!(ascending < 20, "{ascending}");
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
    }
}

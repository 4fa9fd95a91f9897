//! Functions of one's own program that cannot take it down: one crashes, one never ends.
//!
//! The worker is this program started again; it never reaches `main`.

use banyan_calls::{CallError, isolated};

/// The first number of a line; crashes on an empty one, as a parser in C might.
#[isolated(deadline = "5s")]
fn first_number(line: String) -> u32 {
    if line.is_empty() {
        std::process::abort();
    }
    line.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Never returns for odd numbers.
#[isolated(deadline = "200ms")]
fn half(number: u32) -> u32 {
    if number % 2 == 1 {
        loop {
            std::hint::spin_loop();
        }
    }
    number / 2
}

fn main() {
    for line in ["17 and more", "", "4"] {
        match first_number(line.to_owned()) {
            Ok(number) => println!("{line:?} begins with {number}"),
            Err(CallError::Crashed { signal, .. }) => println!("{line:?} crashed it: signal {signal}"),
            Err(error) => println!("{line:?}: {error}"),
        }
    }
    for number in [6, 7] {
        match half(number) {
            Ok(half) => println!("half of {number} is {half}"),
            Err(error) => println!("half of {number}: {error}"),
        }
    }
}

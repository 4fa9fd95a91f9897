//! Starts other programs by the standard library, from several threads.

use std::io::Write;
use std::process::{Command, Stdio};

fn start(number: i32) {
    let status = Command::new("sh").args(["-c", &format!("exit {number}")]).status().unwrap();
    assert_eq!(status.code(), Some(number));
    let output = Command::new("sh").args(["-c", "echo $WORD; pwd"]).env("WORD", "x").current_dir("/").output().unwrap();
    assert_eq!(output.stdout, b"x\n/\n");
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"through").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"through");
    let mut sleeper = Command::new("sleep").arg("100").spawn().unwrap();
    sleeper.kill().unwrap();
    assert_eq!(sleeper.wait().unwrap().code(), None);
    assert!(Command::new("/nothing/here").spawn().is_err());
}

fn main() {
    start(1);
    std::thread::scope(|scope| {
        for number in 2..8 {
            scope.spawn(move || start(number));
        }
    });
    println!("ok");
}

//! Erlang, where it is installed: four of the programs, run by `erl` in a process of its own, which tells how
//! long they took without its start.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

const PROGRAMS: &str = include_str!("programs.erl");

/// The programs, compiled, in a directory that is removed with this.
pub(super) struct Erlang {
    directory: PathBuf,
}

impl Erlang {
    /// `None` where `erl` is not installed, or cannot compile.
    pub(super) fn find() -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("banyan-erlang-{}", std::process::id()));
        std::fs::create_dir_all(&directory).ok()?;
        let erlang = Self { directory };
        std::fs::write(erlang.directory.join("programs.erl"), PROGRAMS).ok()?;
        let compile = "case compile:file(\"programs\") of {ok, _} -> halt(0); _ -> halt(1) end.";
        let done = erlang.command(compile).stdout(Stdio::null()).status().ok()?;
        done.success().then_some(erlang)
    }

    fn command(&self, evaluate: &str) -> Command {
        let mut command = Command::new("erl");
        command.current_dir(&self.directory).args(["-noshell", "-eval", evaluate]);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs a program; `None` if it failed.
    pub(super) fn run(&self, program: &str, count: usize) -> Option<Duration> {
        let output = self.command(&format!("programs:run({program}, {count}).")).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(Duration::from_nanos(text.trim().parse().ok()?))
    }
}

impl Drop for Erlang {
    fn drop(&mut self) {
        // A directory that stays behind is in the way of nobody.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

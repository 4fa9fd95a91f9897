//! How a program of a run executes another one in its place: the process executes Banyan as the interpreter
//! of a script that begins a run like the one before (execve(2), interpreter scripts). So the kernel itself
//! passes on the arguments, the environment, and all that a process keeps.
//!
//! The script is a memory file: the `#!` line, the run's settings as one line of JSON, then the program's
//! path, what it is called by, the number of a device and that of the program's file, and the signals that
//! the program blocks, each with a zero behind it, which the stub appends. The numbers of files may be
//! missing. Only the same build reads it.

use super::settings::{Children, JobSettings, Nodes, Placement, Run, Summary};
use crate::sys::{descriptors, signals};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The hidden command that reads the script.
pub const COMMAND: &str = "again";
/// The kernel reads this much of the first line (`BINPRM_BUF_SIZE`).
const LINE_MAX: usize = 255;

/// What of a run is not the program's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Again {
    nodes: Nodes,
    node: Option<Vec<u8>>,
    placement: Placement,
    move_every: Option<Duration>,
    children: Children,
    summary: Summary,
}

impl Again {
    pub(crate) fn of(settings: &JobSettings) -> Self {
        let JobSettings { placement, move_every, children, summary, .. } = *settings;
        let (nodes, node) = (settings.nodes.clone(), settings.node.clone());
        Self { nodes, node, placement, move_every, children, summary }
    }

    /// Of what a child executes, which prints no summary: that is the program's.
    pub(crate) fn of_child(&self) -> Self {
        Self { summary: Summary::None, ..self.clone() }
    }

    /// Of what cannot be native although it ought to be: it stays on one node.
    pub(crate) fn alone(&self) -> Self {
        Self { nodes: Nodes::Exactly(1), node: None, move_every: None, ..self.of_child() }
    }

    /// Whether what children execute is a run, too.
    pub(crate) fn follows_children(&self) -> bool {
        self.children == Children::Followed
    }

    /// The script, but for the program.
    ///
    /// # Errors
    /// The system's; `InvalidFilename` if this executable's path is too long for a script.
    pub(crate) fn script(&self) -> io::Result<OwnedFd> {
        let banyan = std::env::current_exe()?;
        let mut line = b"#!".to_vec();
        line.extend(banyan.as_os_str().as_bytes());
        line.extend([b" ", COMMAND.as_bytes(), b"\n"].concat());
        if line.len() > LINE_MAX || banyan.as_os_str().as_bytes().contains(&b' ') {
            let reason = format!("no script can name {}", banyan.display());
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, reason));
        }
        let mut script = File::from(rustix::fs::memfd_create("banyan-again", MemfdFlags::CLOEXEC)?);
        script.write_all(&line)?;
        serde_json::to_writer(&script, self)?;
        script.write_all(b"\n")?;
        Ok(script.into())
    }
}

/// Reads a script, which then is complete, and makes the run of the program in it, with these arguments.
/// `script` is its path, as the kernel names it: that of a descriptor that came through exec. It is closed
/// here, and the calling thread, which came with all signals blocked, blocks what the program did.
///
/// # Errors
/// The system's; `InvalidData` if it is none.
pub fn read(script: &Path, arguments: Vec<OsString>) -> io::Result<Run> {
    let number = script.file_name().and_then(|name| name.to_str()?.parse().ok());
    let mut script = File::from(descriptors::take(number.ok_or(io::ErrorKind::InvalidData)?)?);
    let mut bytes = Vec::new();
    script.rewind()?;
    script.read_to_end(&mut bytes)?;
    let parsed = parse(&bytes, arguments).ok_or(io::ErrorKind::InvalidData)?;
    let Script { mut run, device, file, mask } = parsed;
    signals::set_mask(mask)?;
    let take =
        |number: Option<i32>| Ok::<_, io::Error>(number.map(descriptors::take).transpose()?.map(Arc::new));
    (run.fault_device, run.file) = (take(device)?, take(file)?);
    Ok(run)
}

/// What a script says.
#[derive(Debug)]
struct Script {
    /// The run, but for its descriptors.
    run: Run,
    /// Numbers of descriptors: of the device, and of the program's file.
    device: Option<i32>,
    file: Option<i32>,
    /// The signals that the program blocks.
    mask: u64,
}

fn parse(script: &[u8], arguments: Vec<OsString>) -> Option<Script> {
    let mut lines = script.splitn(3, |byte| *byte == b'\n');
    let (_, settings, program) = (lines.next()?, lines.next()?, lines.next()?);
    let again: Again = serde_json::from_slice(settings).ok()?;
    let mut words = program.split(|byte| *byte == 0);
    let [path, zeroth] = [words.next()?, words.next()?].map(|word| OsString::from_vec(word.to_vec()));
    let mut number = || match words.next()? {
        [] => Some(None),
        number => Some(Some(str::from_utf8(number).ok()?.parse().ok()?)),
    };
    let [device, file] = [number()?, number()?];
    let mask = str::from_utf8(words.next()?).ok()?.parse().ok()?;
    if words.next() != Some(&[]) || words.next().is_some() {
        return None;
    }
    let run = Run {
        words: std::iter::once(path).chain(arguments).collect(),
        nodes: again.nodes,
        node: again.node.map(|path| OsString::from_vec(path).into()),
        page: None,
        placement: again.placement,
        move_every: again.move_every,
        children: again.children,
        summary: again.summary,
        zeroth: Some(zeroth),
        fault_device: None,
        file: None,
    };
    Some(Script { run, device, file, mask })
}

/// What a fuzzer calls: a script is refused, or says what a run needs.
///
/// # Panics
/// When decoding is wrong.
pub fn fuzz(script: &[u8]) {
    let Some(Script { run, device, file, mask }) = parse(script, Vec::new()) else { return };
    let words = [&run.words[0], run.zeroth.as_ref().expect("it is called by something")];
    assert!(words.iter().all(|word| !word.as_bytes().contains(&0)), "a word with a zero in it");
    let number = |number: Option<i32>| number.map_or_else(String::new, |number| number.to_string());
    let program = [number(device), number(file), mask.to_string()].map(|word| word + "\0").concat();
    let again = Again {
        nodes: run.nodes,
        node: run.node.map(|path| path.into_os_string().into_vec()),
        placement: run.placement,
        move_every: run.move_every,
        children: run.children,
        summary: run.summary,
    };
    let settings = serde_json::to_vec(&again).expect("plain data can be encoded");
    let written = [b"#!\n", &settings[..], b"\n", words[0].as_bytes(), b"\0", words[1].as_bytes(), b"\0"];
    let written = [&written.concat(), program.as_bytes()].concat();
    let read = parse(&written, Vec::new()).expect("what was written can be read");
    assert_eq!((read.device, read.file, read.mask), (device, file, mask));
    assert_eq!(read.run.words, [words[0].clone()]);
}

/// A script for a fuzzer to begin with.
///
/// # Panics
/// If this executable has a path that no script can name.
#[must_use]
pub fn fuzz_inputs() -> Vec<Vec<u8>> {
    let settings = JobSettings { node: Some(b"/run/socket".to_vec()), ..JobSettings::example() };
    let mut script = File::from(Again::of(&settings).script().expect("this executable has a short path"));
    let mut bytes = Vec::new();
    let read = script.rewind().and_then(|()| script.read_to_end(&mut bytes));
    read.expect("it is in memory");
    bytes.extend_from_slice(b"./program\0-name\x0017\0\x0018446744073709551615\0");
    vec![bytes]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_as_it_was_written() {
        let settings = JobSettings { node: Some(b"/run/so\ncket".to_vec()), ..JobSettings::example() };
        let again = Again::of(&settings);
        let mut bytes = Vec::new();
        let mut script = File::from(again.script().unwrap());
        script.write_all(b"./a b\0-name\n\0\0\x0018446744073709551615\0").unwrap();
        script.rewind().unwrap();
        script.read_to_end(&mut bytes).unwrap();
        assert!(bytes.starts_with(b"#!/"));
        let Script { run, device, file, mask } = parse(&bytes, vec!["x".into()]).unwrap();
        assert_eq!((device, file, mask), (None, None, u64::MAX));
        let without = &bytes[..bytes.len() - 23];
        let with = |rest: &[u8]| {
            let script = parse(&[without, rest].concat(), Vec::new())?;
            Some((script.device, script.file, script.mask))
        };
        assert_eq!(with(b"17\0\x005\0"), Some((Some(17), None, 5)));
        assert_eq!(with(b"\x0023\x000\0"), Some((None, Some(23), 0)));
        for damaged in [&b"-\0\x001\0"[..], b"1\0", b"\0\0\0", b"1\x002", b"\0\x001\0\0", b"\0\x00-1\0"] {
            assert_eq!(with(damaged), None, "{damaged:?}");
        }
        assert_eq!(run.words, ["./a b", "x"]);
        assert_eq!((run.zeroth, run.node), (Some("-name\n".into()), Some("/run/so\ncket".into())));
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end], Vec::new()).is_none(), "{end}");
        }
    }
}

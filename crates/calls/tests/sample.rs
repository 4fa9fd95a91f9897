//! A sample of Debian's libraries, each isolated under a program of Debian's: what it prints and writes is
//! that of the program as it is, or the library is refused before the program starts.
//!
//! A third of them runs at a time, in turn by the day. The whole writes the table of
//! `docs/reference/isolated-libraries.md`: `cargo test --release -p banyan-calls --test sample -- --ignored`.
//! What is not installed is named and left out; `tests/needs.sh` installs all that it can.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test may fail by panicking")]

mod common;
#[path = "sample/subjects.rs"]
mod subjects;

use banyan_calls::generate::{WrapError, wrap};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};
use subjects::{SUBJECTS, Subject};

/// Libraries whose program does something else when they are isolated, and what is known of it.
const DIFFERENT: &[(&str, &str)] = &[];

/// How it went with one library.
enum Verdict {
    Equal { plain: Duration, isolated: Duration },
    Different(String),
    Refused(String),
    Missing(String),
}

struct Result {
    version: String,
    coverage: f64,
    exports: usize,
    verdict: Verdict,
}

fn library(name: &str) -> Option<PathBuf> {
    let places = ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu"];
    places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists())
}

/// The version of the package that owns a file.
fn version(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // Packages from before the directories were merged name their files without /usr.
    let ask = |file: &Path| {
        let output = Command::new("dpkg").arg("-S").arg(file).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let package = text.split_once(": ")?.0.to_owned();
        let output = Command::new("dpkg-query").args(["-W", "-f", "${Version}", &package]).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let short = real.strip_prefix("/usr").map(|rest| Path::new("/").join(rest));
    ask(&real).or_else(|| ask(&short.ok()?)).unwrap_or_else(|| "unknown".into())
}

fn has(program: &str) -> bool {
    program.starts_with('/') && Path::new(program).exists()
        || std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .any(|place| place.join(program).is_file())
}

/// What the subjects' commands work on.
fn inputs(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).unwrap();
    let lines = |count: u32| {
        (0..count).fold(String::new(), |mut all, number| {
            writeln!(all, "line {number} of the text: {}", number.wrapping_mul(2_654_435_761) % 100_003)
                .unwrap();
            all
        })
    };
    put("text", lines(10_000).as_bytes());
    put("more", lines(50_000).as_bytes());
    let (width, height) = (320_u32, 240_u32);
    let mut image = format!("P6\n{width} {height}\n255\n").into_bytes();
    let mut bits = format!("P4\n{width} {height}\n").into_bytes();
    for y in 0..height {
        for x in 0..width {
            image.extend([(x ^ y) as u8, (x * y / 200) as u8, (x + y * 2) as u8]);
        }
        bits.extend((0..width / 8).map(|x| if (x / 4 + y / 30) % 3 == 0 { 0xff } else { (x & y) as u8 }));
    }
    put("image.ppm", &image);
    put("image.pbm", &bits);
    let samples = 88_200_u32;
    let mut sound = Vec::new();
    for word in [0x4646_4952, 36 + samples * 2, 0x4556_4157, 0x2074_6d66, 16, 0x0001_0001, 44_100, 88_200] {
        sound.extend(word.to_le_bytes());
    }
    sound.extend([2, 0, 16, 0]);
    sound.extend(*b"data");
    sound.extend((samples * 2).to_le_bytes());
    let wave = |at: u32| ((f64::from(at) / 20.0).sin() * 9000.0 + f64::from(at % 97)) as i16;
    sound.extend((0..samples).flat_map(|at| wave(at).to_le_bytes()));
    put("sound.wav", &sound);
    let items = |one: fn(u32) -> String| (0..3000).map(one).collect::<Vec<_>>();
    let page = items(|number| format!("<item id=\"{number}\">text &amp; {number}</item>")).concat();
    put("page.xml", format!("<?xml version=\"1.0\"?>\n<page>{page}</page>\n").as_bytes());
    let data = items(|number| format!("{{\"name\":\"name{number}\",\"number\":{number}}}")).join(",");
    put("data.json", format!("[{data}]\n").as_bytes());
    put("png.py", PNG.as_bytes());
}

/// Makes a PNG of `image.ppm`: name.
const PNG: &str = "import struct, sys, zlib\n\
    data = open('image.ppm', 'rb').read()[15:]\n\
    rows = b''.join(b'\\0' + data[y * 960:(y + 1) * 960] for y in range(240))\n\
    part = lambda kind, body: struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))\n\
    header = struct.pack('>IIBBBBB', 320, 240, 8, 2, 0, 0, 0)\n\
    open(sys.argv[1], 'wb').write(b'\\x89PNG\\r\\n\\x1a\\n' + part(b'IHDR', header) + part(b'IDAT', zlib.compress(rows)) + part(b'IEND', b''))\n";

/// Runs a command in a directory of its own; `drop_in` is put before what stands behind `$RUN`.
fn run(subject: &Subject, directory: &Path, drop_in: Option<&Path>) -> (Output, Duration) {
    let _ = std::fs::remove_dir_all(directory);
    inputs(directory);
    let shell = |script: &str, prefix: &str| {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", "60", "sh", "-c", script]).current_dir(directory).stdin(Stdio::null());
        command.env("RUN", prefix).env("LC_ALL", "C.UTF-8").output().unwrap()
    };
    let made = shell(subject.prepare, "");
    assert!(made.status.success(), "{}: {}", subject.library, String::from_utf8_lossy(&made.stderr));
    let prefix = drop_in.map_or_else(String::new, |drop_in| {
        let place = drop_in.parent().unwrap().display();
        format!("env LD_LIBRARY_PATH={place} LD_PRELOAD={}", drop_in.display())
    });
    let start = Instant::now();
    let output = shell(subject.command, &prefix);
    (output, start.elapsed())
}

fn try_out(subject: &Subject) -> Result {
    common::configuration();
    let missing = |what: String| Result {
        version: String::new(),
        coverage: 0.0,
        exports: 0,
        verdict: Verdict::Missing(what),
    };
    let Some(path) = library(subject.library) else {
        return missing(format!("{} is not installed", subject.library));
    };
    if !has(subject.program) {
        return missing(format!(
            "{} is not installed: it is in the package {}",
            subject.program, subject.package
        ));
    }
    let base = common::directory().join(format!("{}-{}", subject.library, subject.program.replace('/', "")));
    let version = version(&path);
    let outcome = match wrap(&path, &[], None, &base.join("isolated")) {
        Ok(outcome) => outcome,
        Err(WrapError::Library { reason, .. }) => {
            return Result { version, coverage: 0.0, exports: 0, verdict: Verdict::Refused(reason) };
        }
        Err(error) => panic!("{}: {error}", subject.library),
    };
    let work = base.join("work");
    let best = |drop_in: Option<&Path>| {
        let mut runs: Vec<_> = (0..2).map(|_| run(subject, &work, drop_in)).collect();
        runs.sort_by_key(|(_, time)| *time);
        runs.swap_remove(0)
    };
    let ((plain, plain_time), (isolated, isolated_time)) = (best(None), best(Some(&outcome.library)));
    assert!(plain.status.success(), "{}: {}", subject.library, String::from_utf8_lossy(&plain.stderr));
    let show = |output: &Output| {
        let all = [&output.stdout[..], b"|", &output.stderr].concat();
        let text = String::from_utf8_lossy(&all).into_owned();
        format!("{}: {}", output.status, text.chars().take(300).collect::<String>())
    };
    // A drop-in has a worker program beside it: together they would fill a disk.
    let _ = std::fs::remove_dir_all(&base);
    let verdict = if plain.stdout == isolated.stdout && plain.status == isolated.status {
        Verdict::Equal { plain: plain_time, isolated: isolated_time }
    } else {
        Verdict::Different(format!("{} in place, {} isolated", show(&plain), show(&isolated)))
    };
    Result { version, coverage: outcome.share(), exports: outcome.coverage.len(), verdict }
}

/// Tries these; what is wrong with them.
fn wrong(
    subjects: &mut dyn Iterator<Item = &'static Subject>,
) -> (Vec<String>, Vec<(&'static Subject, Result)>) {
    let (mut wrong, mut results) = (Vec::new(), Vec::new());
    for subject in subjects {
        let result = try_out(subject);
        match &result.verdict {
            Verdict::Equal { .. } => {}
            Verdict::Refused(reason) => eprintln!("{}: refused: {reason}", subject.library),
            Verdict::Missing(what) => eprintln!("left out: {what}"),
            Verdict::Different(how) if DIFFERENT.iter().any(|(library, _)| *library == subject.library) => {
                eprintln!("{}: {how}", subject.library);
            }
            Verdict::Different(how) => {
                wrong.push(format!("{} under {}: {how}", subject.library, subject.program));
            }
        }
        results.push((subject, result));
    }
    (wrong, results)
}

#[test]
fn a_third_of_the_sample_is_as_in_place() {
    let days = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 86_400;
    let turn = (days % 3) as usize;
    let (wrong, _) = wrong(&mut SUBJECTS.iter().skip(turn).step_by(3));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "takes minutes and writes the table of the reference: `make sample` runs it, every test run a third"]
fn the_whole_sample_makes_the_table() {
    let (wrong, results) = wrong(&mut SUBJECTS.iter());
    let mut table = String::from(
        "| library | version | field | program | exports, and the share without annotation | output | in place, isolated |\n|---|---|---|---|---|---|---|\n",
    );
    let (mut equal, mut refused, mut tried) = (0, 0, 0);
    for (subject, result) in &results {
        let reason =
            DIFFERENT.iter().find(|(library, _)| *library == subject.library).map_or("", |(_, why)| why);
        let (output, slower) = match &result.verdict {
            Verdict::Missing(_) => continue,
            Verdict::Equal { plain, isolated } => {
                equal += 1;
                let (plain, isolated) = (plain.as_millis().max(1), isolated.as_millis());
                ("equal".into(), format!("{plain} ms, {isolated} ms"))
            }
            Verdict::Different(_) => (format!("differs: {reason}"), String::new()),
            Verdict::Refused(_) => {
                refused += 1;
                ("refused before the start: its interface is in C++".into(), String::new())
            }
        };
        tried += 1;
        let coverage = match result.exports {
            0 => String::new(),
            exports => format!("{exports}, {:.0} %", result.coverage * 100.0),
        };
        let program = subject.program.rsplit('/').next().unwrap();
        writeln!(
            table,
            "| {} | {} | {} | {program} | {coverage} | {output} | {slower} |",
            subject.library, result.version, subject.field
        )
        .unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/isolated-libraries.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, _) = text.split_once("<!-- made by the sample -->").unwrap();
    let summary = format!("{tried} libraries: {equal} equal, {refused} refused before the start.");
    std::fs::write(&path, format!("{head}<!-- made by the sample -->\n\n{summary}\n\n{table}")).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

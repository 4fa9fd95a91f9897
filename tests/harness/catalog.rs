//! The real programs that Banyan must run, each with its input: the tests run each once on each node
//! count, and `make soak` again and again.

use std::sync::OnceLock;

use crate::case::Case;
use crate::input;
use crate::workspace;

/// The real programs, by name.
#[must_use]
pub fn real_programs() -> Vec<Case> {
    let named = |name: &str, case: Case| case.named(name).on_every_node();
    vec![
        named("pigz", tool("/usr/bin/pigz", "-p8 -k -n -c data")),
        named("pigz to a file", tool("/usr/bin/pigz", "-p6 -9 -n data")),
        named("xz", tool("/usr/bin/xz", "-T6 --block-size=512KiB -1 -k -c data")),
        named("zstd", tool("/usr/bin/zstd", "-q -T6 -B512K -3 -k data -o data.zst")).any_stderr(),
        named("pbzip2", tool("/usr/bin/pbzip2", "-p6 -b2 -k -c data")),
        named("lbzip2", tool("/usr/bin/lbzip2", "-n6 -k -c data")),
        named("7zz", tool("/usr/bin/7zz", "a -mmt=6 -m0=lzma2:d=256k:c=1m -mx=3 -bso0 -bsp0 data.7z data")),
        named("7zz bzip2", tool("/usr/bin/7zz", "a -tbzip2 -mmt=6 -mx=1 -bso0 -bsp0 data.bz2 data")),
        named("sysbench cpu", sysbench("cpu --cpu-max-prime=2000 --threads=6 --events=300")),
        named(
            "sysbench mutex",
            sysbench("mutex --threads=6 --mutex-num=8 --mutex-locks=40 --mutex-loops=50"),
        ),
        named(
            "sysbench threads",
            sysbench("threads --threads=6 --events=60 --thread-locks=4 --thread-yields=5"),
        ),
        named("python hashlib threads", python("hash_threads.py", &["data"]).file("data", data().to_vec())),
        named("python thread pool", python("thread_pool.py", &[])),
        named("python shared objects", python("shared_objects.py", &[])),
    ]
}

/// One of the real programs. Panics when there is no such name, which is a mistake in a test.
#[must_use]
pub fn real(name: &str) -> Case {
    match real_programs().into_iter().find(|case| case.name == name) {
        Some(case) => case,
        None => panic!("no real program is named {name}"),
    }
}

/// A few MiB that most programs get as `data`: prose with some noise in the middle.
#[must_use]
pub fn data() -> &'static [u8] {
    static DATA: OnceLock<Vec<u8>> = OnceLock::new();
    DATA.get_or_init(|| {
        let mut data = input::text(3 << 20, 1);
        data.extend(input::noise(300_000, 2));
        data.extend(input::text(3 << 20, 3));
        data
    })
}

/// A script of the test programs, under the system's Python.
#[must_use]
pub fn python(script: &str, arguments: &[&str]) -> Case {
    let mut words = vec![workspace::program_source(script).into_os_string()];
    words.extend(arguments.iter().map(|argument| (*argument).into()));
    Case::new("/usr/bin/python3", words).says_ok().deadline(120)
}

fn tool(path: &str, arguments: &str) -> Case {
    Case::new(path, arguments.split(' ')).file("data", data().to_vec()).deadline(120)
}

fn sysbench(arguments: &str) -> Case {
    let case = Case::new("/usr/bin/sysbench", arguments.split(' ').chain(["--time=0", "run"]));
    case.normalise(without_timings).deadline(120)
}

// What sysbench prints of its settings and of the work done; the rest are times.
fn without_timings(output: &[u8]) -> Vec<u8> {
    const LASTING: [&str; 6] = [
        "sysbench",
        "Number of",
        "Prime numbers",
        "total number of events",
        "Threads started",
        "Initializing",
    ];
    String::from_utf8_lossy(output)
        .lines()
        .filter(|line| LASTING.iter().any(|start| line.trim_start().starts_with(start)))
        .flat_map(|line| [line, "\n"])
        .collect::<String>()
        .into_bytes()
}

//! Interpreters, virtual machines, servers and tools as Debian has them, each with a program that does what
//! its kind does: threads, children, copies of its process. What is not installed is named and left out;
//! `tests/needs.sh` brings the small ones.
//!
//! `docs/reference/compatibility.md` has the table of them. `BANYAN_REGENERATE=1` writes it anew, with the
//! versions that are installed: those that run with the same result on one, two and three nodes.

use banyan_tests::{Case, Place, check, workspace};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// A program that is installed, or not.
struct Runtime {
    /// As in the table.
    name: &'static str,
    /// The file without which it is left out.
    file: &'static str,
    /// A shell command whose first line has the version.
    version: &'static str,
    /// What it does in the test.
    tried: &'static str,
    /// A script in which `$RUN` stands before the program and `$SOURCES` is where the test programs lie.
    script: &'static str,
}

const RUNTIMES: [Runtime; 21] = [
    Runtime {
        name: "Lua",
        file: "/usr/bin/lua5.4",
        version: "lua5.4 -v",
        tried: "children by `popen` and `execute`",
        script: "$RUN lua5.4 $SOURCES/spawning.lua",
    },
    Runtime {
        name: "zsh",
        file: "/usr/bin/zsh",
        version: "zsh --version",
        tried: "substitutions, jobs",
        script: "$RUN zsh $SOURCES/jobs.zsh",
    },
    Runtime {
        name: "Ruby",
        file: "/usr/bin/ruby",
        version: "ruby --version",
        tried: "children, threads, `fork`, signals, ractors",
        script: "$RUN ruby -W0 $SOURCES/spawning.rb",
    },
    Runtime {
        name: "R",
        file: "/usr/bin/Rscript",
        version: "R --version",
        tried: "children, `mclapply`, a cluster of processes, linear algebra",
        script: "$RUN Rscript $SOURCES/forking.R",
    },
    Runtime {
        name: "Erlang",
        file: "/usr/bin/escript",
        version: "dpkg-query -W -f '${Version}' erlang-base",
        tried: "processes over all schedulers, a command",
        script: "$RUN escript $SOURCES/processes.erl",
    },
    Runtime {
        name: "OCaml",
        file: "/usr/bin/ocaml",
        version: "ocaml -version",
        tried: "threads, a command, `fork`",
        script: "$RUN ocaml -I +threads unix.cma threads.cma $SOURCES/forking.ml",
    },
    Runtime {
        name: "Node.js",
        file: "/usr/bin/node",
        version: "node --version",
        tried: "`child_process` in every form, `worker_threads`",
        script: "$RUN node $SOURCES/spawning.js",
    },
    Runtime {
        name: "OpenJDK, serial collector",
        file: "/usr/bin/javac",
        version: "java --version",
        tried: "`ProcessBuilder`, a parallel stream, threads",
        script: "$RUN java -XX:+UseSerialGC $SOURCES/Spawning.java",
    },
    Runtime {
        name: "OpenJDK, G1",
        file: "/usr/bin/javac",
        version: "java --version",
        tried: "the same",
        script: "$RUN java -XX:+UseG1GC $SOURCES/Spawning.java",
    },
    Runtime {
        name: "Go",
        file: "/usr/bin/go",
        version: "go version",
        tried: "`os/exec` from many goroutines, signals, channels, the collector",
        script: "export GOCACHE=$(mktemp -d) GO111MODULE=off; /usr/bin/go build -o program $SOURCES/spawning.go; \
                 $RUN ./program; rm -rf $GOCACHE program",
    },
    Runtime {
        name: "GNU make, GCC",
        file: "/usr/bin/make",
        version: "make --version",
        tried: "`make -j4` of a small C project",
        script: "for i in 1 2 3 4 5 6; do echo \"int f$i(void) { return $i; }\" > f$i.c; done; \
                 echo 'int f3(void); int main(void) { return f3() - 3; }' > main.c; \
                 $RUN make -j4 -f $SOURCES/project.mk && ./program && echo made; rm -f *.o program",
    },
    Runtime {
        name: "SQLite",
        file: "/usr/bin/sqlite3",
        version: "sqlite3 --version",
        tried: "four processes that write into one database",
        script: "$RUN sh $SOURCES/writers.sh",
    },
    Runtime {
        name: "Redis",
        file: "/usr/bin/redis-server",
        version: "redis-server --version",
        tried: "threads for connections, a saved copy, clients",
        script: ". $SOURCES/redis.sh",
    },
    Runtime {
        name: "memcached",
        file: "/usr/bin/memcached",
        version: "memcached --version",
        tried: "`-t 4`, eight connections",
        script: ". $SOURCES/memcached.sh",
    },
    Runtime {
        name: "nginx",
        file: "/usr/sbin/nginx",
        version: "/usr/sbin/nginx -v 2>&1",
        tried: "two worker processes with a pool of threads, a configuration read again",
        script: ". $SOURCES/nginx.sh",
    },
    Runtime {
        name: "PostgreSQL",
        file: "/usr/lib/postgresql",
        version: "psql --version",
        tried: "`initdb`, a server, `pgbench -c 4`, a parallel query",
        script: ". $SOURCES/postgresql.sh",
    },
    Runtime {
        name: "FFmpeg with x264",
        file: "/usr/bin/ffmpeg",
        version: "ffmpeg -version",
        tried: "two seconds of video by four threads",
        script: "$RUN ffmpeg -v error -nostdin -f lavfi -i testsrc=size=320x240:rate=25 -t 2 -c:v libx264 -threads 4 -f md5 -",
    },
    Runtime {
        name: "ImageMagick",
        file: "/usr/bin/convert-im6.q16",
        version: "convert-im6.q16 -version",
        tried: "a picture blurred by OpenMP's threads",
        script: "$RUN convert-im6.q16 -size 300x300 gradient:red-blue -blur 0x4 -resize 50% rgb:- | sha256sum",
    },
    Runtime {
        name: "Perl",
        file: "/usr/bin/perl",
        version: "perl -e 'print $^V'",
        tried: "threads of the interpreter",
        script: "$RUN perl -Mthreads -e 'print join(\",\", map { $_->join } map { my $k = $_; \
                 threads->create(sub { my $s = 0; $s += $_ * $k for 1..20000; $s }) } 1..4), \"\\n\"'",
    },
    Runtime {
        name: "Python, asyncio",
        file: "/usr/bin/python3",
        version: "/usr/bin/python3 --version",
        tried: "children, signals, an executor and sockets of one loop",
        script: "$RUN /usr/bin/python3 $SOURCES/loop.py",
    },
    Runtime {
        name: "musl",
        file: "/usr/bin/musl-gcc",
        version: "dpkg-query -W -f '${Version}' musl",
        tried: "a static program",
        script: "printf '#include <stdio.h>\\nint main(void) { return puts(\"musl\") < 0; }' > m.c; musl-gcc -static -o m m.c; \
                 $RUN ./m; rm m",
    },
];

impl Runtime {
    fn is_there(&self) -> bool {
        let there = Path::new(self.file).exists();
        if !there {
            eprintln!("left out: {} is not installed", self.name);
        }
        there
    }

    fn case(&self) -> Case {
        let sources = workspace::program_source("runtimes");
        let script = format!("SOURCES='{}'\n{}", sources.display(), self.script);
        Case::script(&script).named(self.name).any_stderr().deadline(180)
    }

    fn row(&self) -> String {
        let said = Command::new("sh").args(["-c", self.version]).output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        format!("| {} | {} | {} |\n", self.name, version(&said), self.tried)
    }
}

/// The first word of the first line that looks like a version.
fn version(said: &str) -> &str {
    let is_number = |word: &&str| word.contains('.') && word.contains(|c: char| c.is_ascii_digit());
    let mut words = said.lines().next().unwrap_or_default().split([' ', ',', '/', '=']);
    words.find(is_number).unwrap_or("?").trim_start_matches('v')
}

/// Tries those with these names.
fn run(names: &[&str]) {
    for runtime in RUNTIMES.iter().filter(|runtime| names.contains(&runtime.name)) {
        if runtime.is_there() {
            check(&runtime.case());
            // As people run it, who say nothing of places.
            check(&runtime.case().place(Place::Auto));
        }
    }
}

#[test]
fn small_interpreters_run() {
    run(&["Lua", "zsh", "Perl", "Python, asyncio", "OCaml", "musl"]);
}

#[test]
fn ruby_and_r_run() {
    run(&["Ruby", "R"]);
}

#[test]
fn erlang_runs() {
    run(&["Erlang"]);
}

#[test]
fn nodejs_starts_children_and_workers() {
    run(&["Node.js"]);
}

#[test]
fn a_java_machine_runs_with_two_collectors() {
    run(&["OpenJDK, serial collector", "OpenJDK, G1"]);
}

#[test]
fn go_starts_children_from_goroutines() {
    run(&["Go"]);
}

#[test]
fn tools_of_many_processes_and_threads_run() {
    run(&["GNU make, GCC", "SQLite", "FFmpeg with x264", "ImageMagick"]);
}

#[test]
fn servers_with_threads_serve() {
    run(&["Redis", "memcached"]);
}

#[test]
fn servers_of_many_processes_serve() {
    run(&["nginx", "PostgreSQL"]);
}

const BEGIN: &str = "<!-- made by the tests -->\n";
const END: &str = "<!-- end -->\n";

/// Every one is tried by a test, and is in the table.
#[test]
fn the_table_of_compatibility_has_them_all() {
    let path = workspace::root().join("docs/reference/compatibility.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    if std::env::var_os("BANYAN_REGENERATE").is_some() {
        let mut table = String::from("\n| program | version | what was tried |\n|---|---|---|\n");
        for runtime in RUNTIMES.iter().filter(|runtime| runtime.is_there()) {
            check(&runtime.case());
            write!(table, "{}", runtime.row()).unwrap();
        }
        std::fs::write(&path, format!("{before}{BEGIN}{table}\n{END}{after}")).unwrap();
        return;
    }
    for runtime in &RUNTIMES {
        assert!(table.contains(&format!("| {} |", runtime.name)), "{}: BANYAN_REGENERATE=1", runtime.name);
    }
}

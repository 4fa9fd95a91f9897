//! A drop-in is checked against its library: what can be exercised without harm is, in a scratch process.
//!
//! The process loads both. It compares what exported variables hold, and calls the functions that only
//! compute (see `computing`) in place and from afar, with the same numbers. Not for functions that do
//! something: of those nothing is known before a program calls them.

use super::WrapError;
use super::computing::{Computing, computing};
use super::convention::{Passing, Returned};
use super::emit::{Entry, Plan, literal, parts, version_literal};
use super::exports::Export;
use super::wrap::file_error;
use crate::shared::frame::WANT_ST0;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Seconds for all of a library's checks, of which each takes microseconds.
const SECONDS: &str = "20";

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Equal,
    /// How it differs.
    Different(String),
}

/// What is compared of a function's result, as the program below numbers it; for 0, in which registers the
/// result may be: whether in a vector register, and bytes of rax.
fn compared(passing: &Passing, result_bytes: u64, code: Computing) -> Option<(u32, u64, u64)> {
    let is_declared = *passing != Passing::UNKNOWN;
    match (passing.returned, code) {
        (_, Computing::Unknown) => None,
        (Returned::Zero, _) if is_declared && u64::from(passing.results) == WANT_ST0 => Some((4, 0, 0)),
        (Returned::Zero, Computing::Plain { general, vector }) if !is_declared => {
            Some((0, vector.into(), general.into()))
        }
        (Returned::Zero, _) => None,
        (Returned::Float, _) => Some((2, 0, 0)),
        (Returned::Double, _) => Some((3, 0, 0)),
        // Of a narrow result the upper bits mean nothing. A function without a result has none to compare.
        (Returned::Signed | Returned::Unsigned, _) => Some((0, 0, result_bytes)),
    }
}

/// Checks the drop-in at `output`; what was found, by the exports' names. Without a compiler or a process
/// nothing is.
///
/// # Errors
/// [`WrapError`], if the program cannot be written.
pub(super) fn check(plan: &Plan<'_>, output: &Path) -> Result<BTreeMap<String, Found>, WrapError> {
    let mut items = String::new();
    let mut names = Vec::new();
    for entry in plan.entries.iter().filter(|entry| !entry.is_refused && !entry.rule.abort) {
        if let Some((kind, vector, bytes)) = compared_of(entry) {
            item(&mut items, entry.export, kind, vector, bytes);
            names.push(entry.export.name.clone());
        }
    }
    for variable in plan.variables {
        let inside = parts(variable).into_iter().filter(|(_, is_symbol)| !is_symbol);
        let unknown =
            |range: &std::ops::Range<u64>| variable.pointers.iter().any(|one| range.contains(&one.at));
        for (range, _) in inside.filter(|(range, _)| !unknown(range)) {
            item(&mut items, variable, 5, range.start, range.end - range.start);
            names.push(variable.name.clone());
        }
    }
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let base = plan.directory.join(format!("{}.check", plan.exports.soname));
    let source = base.with_extension("check.c");
    let paths = format!(
        "static const char real[] = {}, drop_in[] = {};\n",
        literal(&plan.library.to_string_lossy()),
        literal(&output.to_string_lossy())
    );
    let text =
        format!("{PROLOGUE}{paths}static const struct item items[] = {{\n{items}    {{0}}\n}};\n{MAIN}");
    std::fs::write(&source, text).map_err(file_error(&source))?;
    let made = Command::new("gcc").args(["-O1", "-w", "-o"]).arg(&base).arg(&source).status();
    let found = if made.is_ok_and(|status| status.success()) { run(&base, &names) } else { BTreeMap::new() };
    for path in [&base, &source] {
        std::fs::remove_file(path).or_else(gone).map_err(file_error(path))?;
    }
    Ok(found)
}

fn gone(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn compared_of(entry: &Entry<'_>) -> Option<(u32, u64, u64)> {
    compared(&entry.passing, entry.scalar_bytes, computing(&entry.export.data, entry.export.address))
}

fn item(items: &mut String, export: &Export, kind: u32, offset: u64, bytes: u64) {
    let (name, version) = (literal(&export.name), version_literal(export));
    let _ = writeln!(items, "    {{{name}, {version}, {kind}, {offset}ul, {bytes}ul}},");
}

/// Runs the program; each line that it prints is the number of an item, and what differs, if anything does.
fn run(program: &Path, names: &[String]) -> BTreeMap<String, Found> {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", SECONDS]).arg(program).env_remove("LD_PRELOAD");
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let (number, how) = line.split_once(' ').unwrap_or((line, ""));
        let Some(name) = number.parse().ok().and_then(|number: usize| names.get(number)) else { continue };
        if !how.is_empty() {
            found.insert(name.clone(), Found::Different(how.to_owned()));
        } else if !found.contains_key(name) {
            found.insert(name.clone(), Found::Equal);
        }
    }
    found
}

const PROLOGUE: &str = r"/* Compares a drop-in with its library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
struct item { const char *name, *version; int kind; unsigned long offset, bytes; };
";

const MAIN: &str = r#"struct both { long general; double vector; };
#define NUMBERS(n) n, n + 1, n * 3, -n, n << 9, n ^ 5, 1.5 * n, n - 0.5, -2.25, 3.0, 4.0, 5.0, 6.0, 7.0, 8l, 9l, 10l, 11l, 12l, 13l
#define KINDS long, long, long, long, long, long, double, double, double, double, double, double, double, double, long, long, long, long, long, long
static int is_address(long value)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)value, 1};
    return value > 65535 && process_vm_readv(getpid(), &here, 1, &there, 1, 0) == 1;
}
/* Both sides have their own addresses of things. */
static int same(long a, long b) { return a == b || (is_address(a) && is_address(b)); }
static void *find(void *library, const struct item *item)
{
    return item->version ? dlvsym(library, item->name, item->version) : dlsym(library, item->name);
}
static int compare(const struct item *item, void *here, void *there, long n)
{
    if (item->kind == 5) {
        int equal = !memcmp((char *)here + item->offset, (char *)there + item->offset, item->bytes);
        if (!equal)
            printf(" its bytes differ");
        return equal;
    }
    if (item->kind == 4) {
        long double (*f)(KINDS) = here, (*g)(KINDS) = there, a = f(NUMBERS(n)), b = g(NUMBERS(n));
        if (memcmp(&a, &b, 10))
            return printf(" %La in place, %La isolated", a, b), 0;
        return 1;
    }
    if (item->kind == 2) {
        float (*f)(KINDS) = here, (*g)(KINDS) = there, a = f(NUMBERS(n)), b = g(NUMBERS(n));
        if (memcmp(&a, &b, 4))
            return printf(" %a in place, %a isolated", a, b), 0;
        return 1;
    }
    struct both (*f)(KINDS) = here, (*g)(KINDS) = there, a = f(NUMBERS(n)), b = g(NUMBERS(n));
    long x = 0, y = 0;
    memcpy(&x, &a.general, item->bytes);
    memcpy(&y, &b.general, item->bytes);
    if (!same(x, y))
        return printf(" %#lx in place, %#lx isolated", x, y), 0;
    if ((item->kind == 3 || item->offset) && memcmp(&a.vector, &b.vector, 8))
        return printf(" %a in place, %a isolated", a.vector, b.vector), 0;
    return 1;
}
int main(void)
{
    /* A crash in place costs the one export. */
    for (int next = 0; items[next].name;) {
        int done[2];
        if (pipe(done))
            return 1;
        pid_t child = fork();
        if (!child) {
            void *here = dlopen(real, RTLD_NOW | RTLD_LOCAL), *there = dlopen(drop_in, RTLD_NOW | RTLD_LOCAL);
            if (!here || !there)
                _exit(1);
            for (int i = next; items[i].name; i++) {
                void *a = find(here, &items[i]), *b = find(there, &items[i]);
                if (write(done[1], &i, sizeof i) < 0 || !a || !b)
                    continue;
                printf("%d", i);
                for (long n = 0; n < 4 && compare(&items[i], a, b, n * n * 7); n++) {}
                puts("");
                fflush(stdout);
            }
            _exit(0);
        }
        close(done[1]);
        int status = 0, last = -1, one;
        while (read(done[0], &one, sizeof one) == sizeof one)
            last = one;
        close(done[0]);
        waitpid(child, &status, 0);
        if (WIFEXITED(status) || last < 0)
            break;
        next = last + 1;
    }
    return 0;
}
"#;

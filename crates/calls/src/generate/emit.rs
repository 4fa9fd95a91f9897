//! The text of a drop-in, in C and assembly, and its making by `gcc`.
//!
//! Beside the drop-in go the runtime it loads, the worker program, and what it was made from. Not
//! for deciding how an export is handled; that is `wrap`.

use super::convention::Passing;
use super::exports::{Export, Exports, Pointer};
use super::wrap::file_error;
use super::{FunctionPolicy, WrapError};
use crate::caller::launch::find_worker_program;
use crate::caller::shim::{ABORT, OURS, POLICY};
use crate::shared::service::Configuration;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One function of the drop-in.
pub(super) struct Entry<'a> {
    pub(super) export: &'a Export,
    pub(super) passing: Passing,
    /// Bytes of its result, if that is one number.
    pub(super) scalar_bytes: u64,
    /// What a failed call returns, and whether in a vector register.
    pub(super) failure: (u64, bool),
    pub(super) rule: FunctionPolicy,
    pub(super) is_refused: bool,
}

/// All that a drop-in is made from.
pub(super) struct Plan<'a> {
    pub(super) library: &'a Path,
    pub(super) directory: &'a Path,
    pub(super) exports: &'a Exports,
    pub(super) entries: Vec<Entry<'a>>,
    pub(super) variables: &'a [&'a Export],
    pub(super) configuration: &'a Configuration,
    pub(super) deadline_ms: u64,
}

/// A C string literal.
pub(super) fn literal(text: &str) -> String {
    let mut literal = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                literal.push('\\');
                literal.push(byte as char);
            }
            0x20..=0x7e => literal.push(byte as char),
            _ => {
                let _ = write!(literal, "\\{byte:03o}");
            }
        }
    }
    literal.push('"');
    literal
}

pub(super) fn version_literal(export: &Export) -> String {
    export.version.as_deref().map_or_else(|| "0".into(), literal)
}

const PROLOGUE: &str = r#"/* Made by the generator of isolated libraries; make it anew rather than changing it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#define HIDDEN __attribute__((visibility("hidden")))
struct function {
    const char *name, *version;
    uint64_t failure, deadline_us;
    uint8_t general, vector, stack, results, retries, on_failure, named, failure_in_vector;
    uint32_t error, result_bytes;
    uint32_t refused, cpu_ms;
};
struct variable {
    const char *name, *version;
    void *here;
    const char *first;
    uint64_t offset, bytes;
    uint32_t writable, symbol;
};
struct library {
    const char *path, *directory, *configuration;
    const struct function *functions;
    uint32_t count, state;
    void *connection;
    uint64_t deadline_us;
    const struct variable *variables;
    uint64_t variable_count;
};
extern uint64_t banyan_calls_entry(void);
extern void banyan_calls_open(const struct library *);
extern int banyan_calls_free(uint64_t);
extern void banyan_calls_locale(void);
extern int banyan_calls_usable(uint64_t, uint64_t *);
HIDDEN uint64_t banyan_entry;
extern HIDDEN struct library banyan_library;
extern HIDDEN const char banyan_soname[];

/* A program that opens the library's file gets the drop-in. What is not ours goes on by a jump: the C library
 * looks at the return address for whose search path counts. */
static __attribute__((noinline)) int is_library(const char *path)
{
    struct stat asked, real;
    return strchr(path, '/') && !stat(path, &asked) && !stat(banyan_library.path, &real) &&
           asked.st_dev == real.st_dev && asked.st_ino == real.st_ino;
}
void *dlopen(const char *path, int mode)
{
    static void *(*next)(const char *, int);
    if (!next)
        next = dlsym(RTLD_NEXT, "dlopen");
    if (path && is_library(path))
        path = banyan_soname;
    return next(path, mode);
}

/* What the library allocated is freed where it lies; all else goes to the program's own allocator. */
extern void __libc_free(void *);
extern void *__libc_realloc(void *, size_t);
void free(void *p)
{
    static void (*next)(void *);
    if (!p || banyan_calls_free((uint64_t)p))
        return;
    if (!next && !(next = dlsym(RTLD_NEXT, "free")))
        next = __libc_free;
    next(p);
}
void *realloc(void *p, size_t size)
{
    static void *(*next)(void *, size_t);
    uint64_t old;
    if (!next && !(next = dlsym(RTLD_NEXT, "realloc")))
        next = __libc_realloc;
    if (!p || !banyan_calls_usable((uint64_t)p, &old))
        return next(p, size);
    if (!size) {
        banyan_calls_free((uint64_t)p);
        return 0;
    }
    char *copy = next(0, size);
    if (!copy)
        return 0;
    for (size_t i = 0; i < size && i < old; i++)
        copy[i] = ((char *)p)[i];
    banyan_calls_free((uint64_t)p);
    return copy;
}
void *reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? realloc(p, PTRDIFF_MAX) : realloc(p, bytes);
}
size_t malloc_usable_size(void *p)
{
    static size_t (*next)(void *);
    uint64_t bytes;
    if (p && banyan_calls_usable((uint64_t)p, &bytes))
        return bytes;
    if (!next && !(next = dlsym(RTLD_NEXT, "malloc_usable_size")))
        return 0;
    return next(p);
}
"#;

/// Left out where the library has a function of that name.
const LOCALE: &str = r#"
/* The library's locale is the program's. */
char *setlocale(int category, const char *name)
{
    static char *(*next)(int, const char *);
    if (!next)
        next = dlsym(RTLD_NEXT, "setlocale");
    char *now = next(category, name);
    if (now && name)
        banyan_calls_locale();
    return now;
}
"#;

/// The name under which an export stands in the assembly: with several versions, each needs its own.
fn label(plan: &Plan<'_>, export: &Export, number: usize, text: &mut String) -> String {
    let name = &export.name;
    if plan.exports.symbols.iter().filter(|other| other.name == *name).count() == 1 {
        return name.clone();
    }
    let label = format!("banyan_{}_{number}", if export.is_function { "entry" } else { "variable" });
    if let Some(version) = &export.version {
        let at = if export.is_default { "@@" } else { "@" };
        let _ = writeln!(text, "\".symver {label}, {name}{at}{version}\\n\"");
    }
    label
}

/// What the drop-in does when a function fails.
const fn on_failure(rule: &FunctionPolicy) -> u8 {
    if rule.abort {
        ABORT
    } else if rule.failure.is_some() || rule.refuse {
        POLICY
    } else {
        OURS
    }
}

/// How the runtime is to call a function: its row of the table, but for its name and version.
fn handling(entry: &Entry<'_>) -> String {
    let (rule, passing) = (&entry.rule, &entry.passing);
    format!(
        "{}ull, {}ull, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}",
        entry.failure.0,
        rule.deadline_ms.unwrap_or(0) * 1000,
        passing.general,
        passing.vector,
        passing.stack,
        passing.results,
        rule.retries.unwrap_or(0),
        on_failure(rule),
        passing.named,
        u8::from(entry.failure.1),
        rule.errno.unwrap_or(0),
        passing.result_bytes,
        u8::from(entry.is_refused),
        rule.cpu_ms.unwrap_or(0),
    )
}

/// The entries, in assembly. Names of one function that are handled alike have one entry: a program may
/// compare their addresses.
fn entries(plan: &Plan<'_>, handlings: &[String], assembly: &mut String) {
    let key = |number: usize| {
        let export = plan.entries[number].export;
        (export.address, export.is_chosen, &handlings[number])
    };
    let mut names: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for number in 0..plan.entries.len() {
        names.entry(key(number)).or_default().push(number);
    }
    for number in 0..plan.entries.len() {
        let names = &names[&key(number)];
        if names[0] != number {
            continue;
        }
        let labels: Vec<String> =
            names.iter().map(|&name| label(plan, plan.entries[name].export, name, assembly)).collect();
        assembly.push_str("\".p2align 4\\n\"\n");
        for label in &labels {
            let _ = writeln!(assembly, "\".globl {label}\\n.type {label}, @function\\n{label}:\\n\"");
        }
        let _ = writeln!(
            assembly,
            "\"endbr64\\nlea banyan_library(%rip), %r10\\nmov ${number}, %r11d\\njmp *banyan_entry(%rip)\\n\""
        );
        for label in &labels {
            let _ = writeln!(assembly, "\".size {label}, .-{label}\\n\"");
        }
    }
}

pub(super) fn source(plan: &Plan<'_>) -> String {
    let mut text = String::from(PROLOGUE);
    if !plan.exports.symbols.iter().any(|export| export.name == "setlocale") {
        text.push_str(LOCALE);
    }
    text.push_str("static const struct function functions[] = {\n");
    let handlings: Vec<String> = plan.entries.iter().map(handling).collect();
    for (entry, handling) in plan.entries.iter().zip(&handlings) {
        let (name, version) = (literal(&entry.export.name), version_literal(entry.export));
        let _ = writeln!(text, "    {{{name}, {version}, {handling}}},");
    }
    text.push_str("};\n");
    let mut assembly = String::new();
    entries(plan, &handlings, &mut assembly);
    assembly.push_str("\".data\\n\"\n");
    let mut table = String::new();
    let mut first_bytes = 0;
    for (number, variable) in plan.variables.iter().enumerate() {
        let label = label(plan, variable, number, &mut assembly);
        let _ = writeln!(assembly, "\".globl {label}\\n.type {label}, @object\\n.p2align 5\\n{label}:\\n\"");
        contents(variable, &mut assembly);
        let _ = writeln!(assembly, "\".size {label}, {}\\n\"", variable.size);
        // A constant without addresses in it is what it is; the address is the one that the program uses.
        if variable.is_writable || !variable.pointers.is_empty() {
            let name = literal(&variable.name);
            let _ = writeln!(text, "extern char banyan_at_{number}[] __asm__({});", literal(&label));
            for (range, is_symbol) in parts(variable) {
                let bytes = range.end - range.start;
                let _ = writeln!(
                    table,
                    "    {{{name}, {}, banyan_at_{number}, first + {first_bytes}, {}ull, {bytes}ull, {}, {}}},",
                    version_literal(variable),
                    range.start,
                    u8::from(variable.is_writable),
                    u8::from(is_symbol)
                );
                first_bytes += bytes;
            }
        }
    }
    let count = table.lines().count();
    let _ = writeln!(
        text,
        "static char first[{first_bytes} + 1];\nstatic const struct variable variables[] = {{\n{table}    {{0}}\n}};"
    );
    let _ = writeln!(
        text,
        "const char banyan_soname[] = {};\nHIDDEN struct library banyan_library = {{{}, {}, {}, functions, {}, 0, 0, {}ull, variables, {count}}};",
        literal(&plan.exports.soname),
        literal(&plan.library.to_string_lossy()),
        literal(&plan.directory.to_string_lossy()),
        literal(&serde_json::to_string(plan.configuration).unwrap_or_default()),
        plan.entries.len(),
        plan.deadline_ms * 1000,
    );
    // Addresses inside the library are known only once a worker has loaded it.
    let at_start =
        plan.variables.iter().any(|one| one.pointers.iter().any(|pointer| pointer.symbol.is_none()));
    let open = if at_start { " banyan_calls_open(&banyan_library);" } else { "" };
    let _ = writeln!(
        text,
        "__attribute__((constructor)) static void banyan_start(void)\n{{\n    banyan_entry = banyan_calls_entry();\n    \
         for (const struct variable *v = variables; v->name; v++)\n        for (uint64_t i = 0; i < v->bytes; i++)\n            \
         first[v->first - first + i] = ((char *)v->here)[v->offset + i];\n   {open}\n}}"
    );
    let _ = write!(text, "__asm__(\".text\\n\"\n{assembly}\".text\\n\");\n");
    text
}

/// The parts of a variable: words that hold the address of a symbol, and what lies between.
pub(super) fn parts(variable: &Export) -> Vec<(std::ops::Range<u64>, bool)> {
    let mut symbols: Vec<u64> = variable
        .pointers
        .iter()
        .filter(|one| one.symbol.is_some() && one.at + 8 <= variable.size)
        .map(|one| one.at)
        .collect();
    symbols.sort_unstable();
    let (mut parts, mut start) = (Vec::new(), 0);
    for at in symbols {
        parts.push((start..at, false));
        parts.push((at..at + 8, true));
        start = at + 8;
    }
    parts.push((start..variable.size, false));
    parts.retain(|(range, _)| range.start < range.end);
    parts
}

/// A variable's first value, as the loader would make it.
fn contents(variable: &Export, assembly: &mut String) {
    let mut at = 0;
    while at < variable.size {
        let pointer = variable.pointers.iter().find(|one| one.at == at && at + 8 <= variable.size);
        if let Some(Pointer { symbol, addend, .. }) = pointer {
            let _ = match symbol {
                Some(symbol) => writeln!(assembly, "\".quad {symbol} + {addend}\\n\""),
                None => writeln!(assembly, "\".quad 0\\n\""),
            };
            at += 8;
            continue;
        }
        let zeros = (at..variable.size)
            .take_while(|&at| {
                variable.data.get(at as usize).is_none_or(|&byte| byte == 0)
                    && !variable.pointers.iter().any(|one| one.at == at)
            })
            .count() as u64;
        if zeros > 0 {
            let _ = writeln!(assembly, "\".zero {zeros}\\n\"");
            at += zeros;
        } else {
            let _ =
                writeln!(assembly, "\".byte {}\\n\"", variable.data.get(at as usize).copied().unwrap_or(0));
            at += 1;
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), WrapError> {
    // A hard link would do, but the drop-in may be moved to another machine. Never over a file that
    // a running program has mapped.
    let _ = std::fs::remove_file(to);
    std::fs::copy(from, to).map(|_| ()).map_err(file_error(to))
}

/// The worker program and the runtime of drop-ins, where this build has them.
pub(super) fn programs() -> Result<[PathBuf; 2], WrapError> {
    let program = find_worker_program(None).ok_or_else(|| WrapError::Missing("banyan-call-worker".into()))?;
    let beside = program.parent().unwrap_or(Path::new("."));
    let runtime = [beside.join("libbanyan_calls.so"), beside.join("deps/libbanyan_calls.so")];
    let runtime = runtime
        .into_iter()
        .filter(|path| path.is_file())
        // In a build directory the two may be of different builds.
        .max_by_key(|path| path.metadata().and_then(|found| found.modified()).ok())
        .ok_or_else(|| WrapError::Missing("libbanyan_calls.so".into()))?;
    Ok([program, runtime])
}

pub(super) fn compile(plan: &Plan<'_>, source: &str) -> Result<PathBuf, WrapError> {
    let (directory, exports) = (plan.directory, plan.exports);
    let [program, runtime] = programs()?;
    copy(&program, &directory.join("banyan-call-worker"))?;
    copy(&runtime, &directory.join("libbanyan_calls.so"))?;
    let file = directory.join(format!("{}.c", exports.soname));
    std::fs::write(&file, source).map_err(file_error(&file))?;
    let output = directory.join(&exports.soname);
    let mut command = Command::new("gcc");
    command.args([
        "-shared",
        "-fPIC",
        "-O2",
        "-fno-builtin",
        "-w",
        "-Wl,-rpath,$ORIGIN",
        // Its own runtime, before any of another build that LD_LIBRARY_PATH leads to.
        "-Wl,--disable-new-dtags",
        "-Wl,-z,noexecstack",
    ]);
    command.arg(format!("-Wl,-soname,{}", exports.soname)).arg("-o").arg(&output).arg(&file);
    command.arg("-L").arg(directory).arg("-lbanyan_calls");
    if !exports.versions.is_empty() {
        let mut script = String::new();
        for version in &exports.versions {
            let names: String = exports
                .symbols
                .iter()
                .filter(|export| export.version.as_ref() == Some(version))
                .filter(|export| {
                    exports.symbols.iter().filter(|other| other.name == export.name).count() == 1
                })
                .map(|export| format!("  {};\n", export.name))
                .collect();
            // The linker takes no empty list: of a version whose names all have another one too.
            let list = if names.is_empty() { String::new() } else { format!("global:\n{names}") };
            let _ = writeln!(script, "{version} {{ {list}}};");
        }
        let path = directory.join(format!("{}.map", exports.soname));
        std::fs::write(&path, script).map_err(file_error(&path))?;
        command.arg(format!("-Wl,--version-script={}", path.display()));
    }
    let _ = std::fs::remove_file(&output);
    let result = command.output().map_err(|error| WrapError::Compiler(error.to_string()))?;
    if !result.status.success() {
        return Err(WrapError::Compiler(String::from_utf8_lossy(&result.stderr).into_owned()));
    }
    Ok(output)
}

//! Writes a drop-in: its tables and entries in C and assembly, linked by `gcc`.
//!
//! Beside the drop-in go the runtime it loads, the worker program, and the report.

use super::exports::{Export, Exports, derive_groups};
use super::header::{self, Class, Signature};
use super::{FunctionPolicy, Policy, WrapError};
use crate::service::{Configuration, find_worker_program};
use banyan_sys::sandbox::Groups;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What was made of one export.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// Its name.
    pub name: String,
    /// `full`, `annotated` or `refused`.
    pub status: &'static str,
    /// Why, or what to know.
    pub reason: String,
}

/// What was made.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The drop-in's path.
    pub library: PathBuf,
    /// One entry an export.
    pub coverage: Vec<Coverage>,
    /// Headers that could not be used, with file and line; names in the policy that do not exist.
    pub problems: Vec<String>,
}

impl Outcome {
    /// The share of exports that need no annotation, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        let full = self.coverage.iter().filter(|one| one.status == "full").count();
        full as f64 / self.coverage.len().max(1) as f64
    }
}

struct Entry<'a> {
    export: &'a Export,
    general: usize,
    vector: usize,
    stack: usize,
    results: u8,
    exact: bool,
    failure: i64,
    failure_in_vector: bool,
    policy: FunctionPolicy,
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> WrapError {
    let path = path.to_owned();
    move |source| WrapError::File { path, source }
}

fn entry<'a>(export: &'a Export, signature: Option<&Signature>, policy: FunctionPolicy) -> Entry<'a> {
    let mut entry = Entry {
        export,
        general: 6,
        vector: 8,
        stack: 16,
        results: 2,
        exact: false,
        failure: 0,
        failure_in_vector: false,
        policy,
    };
    if let Some(signature) = signature {
        entry.results = match signature.result {
            Class::Vector | Class::Other => 2,
            Class::LongDouble => 1,
            _ => 0,
        };
        entry.failure = if signature.result == Class::Signed { -1 } else { 0 };
        entry.failure_in_vector = signature.result == Class::Vector;
        if signature.result != Class::Other && !signature.arguments.contains(&Class::Other) {
            let count =
                |wanted: &[Class]| signature.arguments.iter().filter(|class| wanted.contains(class)).count();
            let general = count(&[Class::Signed, Class::Unsigned, Class::Pointer]);
            let (vector, long) = (count(&[Class::Vector]), count(&[Class::LongDouble]));
            if signature.is_variadic {
                entry.stack = 64;
            } else {
                entry.general = general.min(6);
                entry.vector = vector.min(8);
                // A long double is aligned to two words.
                entry.stack = (general.saturating_sub(6) + vector.saturating_sub(8) + long * 3).min(64);
                entry.exact = true;
            }
        }
    }
    entry.failure = entry.policy.failure.unwrap_or(entry.failure);
    entry
}

fn groups(policy: &Policy, exports: &Exports) -> Result<Groups, String> {
    let Some(names) = &policy.library.allow else { return Ok(derive_groups(&exports.imports)) };
    names.iter().try_fold(Groups::default(), |groups, name| {
        let group = match name.as_str() {
            "files-read" => Groups::FILES_READ,
            "files-write" => Groups::FILES_WRITE,
            "network" => Groups::NETWORK,
            "processes" => Groups::PROCESSES,
            "everything" => Groups::EVERYTHING,
            other => return Err(format!("library.allow: no group is called {other}")),
        };
        Ok(groups.with(group))
    })
}

/// Makes a drop-in for `library` in `directory`, with the help of `headers`, under `policy`.
///
/// # Errors
/// [`WrapError`]. A header that does not parse, and a policy for a function that is not there, are
/// problems in the outcome instead: everything else is still made.
pub fn wrap(
    library: &Path,
    headers: &[PathBuf],
    policy: Option<&Path>,
    directory: &Path,
) -> Result<Outcome, WrapError> {
    let library = library.canonicalize().map_err(file_error(library))?;
    let exports = Exports::read(&library)?;
    let rules: Policy = match policy {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(file_error(path))?;
            toml::from_str(&text)
                .map_err(|error| WrapError::Policy { path: path.to_owned(), reason: error.to_string() })?
        }
        None => Policy::default(),
    };
    let mut problems = Vec::new();
    let mut signatures = BTreeMap::new();
    for path in headers {
        match header::read(path) {
            Ok(found) => signatures.extend(found),
            Err(problem) => problems.push(problem.text),
        }
    }
    for name in
        rules.function.keys().filter(|name| !exports.symbols.iter().any(|export| export.name == **name))
    {
        problems.push(format!(
            "{}: function.{name}: the library has no such export",
            policy.unwrap_or(&library).display()
        ));
    }
    std::fs::create_dir_all(directory).map_err(file_error(directory))?;
    let directory = directory.canonicalize().map_err(file_error(directory))?;
    let mut coverage = Vec::new();
    let mut entries = Vec::new();
    for export in exports.symbols.iter().filter(|export| export.is_function) {
        let rule = rules.function.get(&export.name).cloned();
        let signature = signatures.get(&export.name);
        let (status, reason) = match (&rule, signature) {
            (Some(rule), _) if rule.refuse => ("refused", "by the policy".to_owned()),
            (Some(_), _) => ("annotated", "by the policy".to_owned()),
            (None, Some(_)) => ("full", "declared".to_owned()),
            (None, None) => {
                ("full", "not declared: all registers and 16 stack words travel, failure is 0".to_owned())
            }
        };
        coverage.push(Coverage { name: export.name.clone(), status, reason });
        let mut rule = rule.unwrap_or_default();
        rule.retries = rule.retries.or(rules.library.retries);
        entries.push(entry(export, signature, rule));
    }
    for export in exports.symbols.iter().filter(|export| !export.is_function) {
        let internal = export.pointers.iter().any(|(_, name)| name.is_none());
        let (status, reason) = if internal {
            ("refused", "a variable that points into the library")
        } else {
            ("full", "a variable: the program sees its first value")
        };
        coverage.push(Coverage { name: export.name.clone(), status, reason: reason.into() });
    }
    let allowed = groups(&rules, &exports)
        .map_err(|reason| WrapError::Policy { path: policy.unwrap_or(&library).to_owned(), reason })?;
    let mut configuration = Configuration { groups: allowed.0, ..Configuration::default() };
    configuration.heap_bytes = rules.library.heap_bytes.unwrap_or(configuration.heap_bytes);
    configuration.stack_bytes = rules.library.stack_bytes.unwrap_or(configuration.stack_bytes);
    let source = source(
        &library,
        &directory,
        &exports,
        &entries,
        &configuration,
        rules.library.deadline_ms.unwrap_or(0),
    );
    let output = compile(&directory, &exports, &source)?;
    let outcome = Outcome { library: output, coverage, problems };
    let report = directory.join("coverage.json");
    let text = serde_json::to_vec_pretty(&outcome).unwrap_or_default();
    std::fs::write(&report, text).map_err(file_error(&report))?;
    Ok(outcome)
}

/// A C string literal.
fn literal(text: &str) -> String {
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

const PROLOGUE: &str = r#"/* Made by the generator of isolated libraries; make it anew rather than changing it. */
#include <stdint.h>
#define HIDDEN __attribute__((visibility("hidden")))
struct function {
    const char *name, *version;
    uint64_t failure, deadline_us;
    uint8_t general, vector, stack, results, retries, on_failure, exact, failure_in_vector;
    uint32_t error;
};
struct library {
    const char *path, *directory, *configuration;
    const struct function *functions;
    uint32_t count, state;
    void *connection;
    uint64_t deadline_us;
};
extern uint64_t banyan_calls_entry(void);
extern int banyan_calls_free(uint64_t);
extern void __libc_free(void *);
HIDDEN uint64_t banyan_entry;
__attribute__((constructor)) static void banyan_start(void) { banyan_entry = banyan_calls_entry(); }
/* What the library allocated is freed where it lies. */
void free(void *p) { if (!p || !banyan_calls_free((uint64_t)p)) __libc_free(p); }
"#;

fn source(
    library: &Path,
    directory: &Path,
    exports: &Exports,
    entries: &[Entry<'_>],
    configuration: &Configuration,
    deadline_ms: u64,
) -> String {
    let mut text = String::from(PROLOGUE);
    text.push_str("static const struct function functions[] = {\n");
    for entry in entries {
        let version = entry.export.version.as_deref().map_or_else(|| "0".into(), literal);
        let rule = &entry.policy;
        let _ = writeln!(
            text,
            "    {{{}, {version}, {}ull, {}ull, {}, {}, {}, {}, {}, {}, {}, {}, {}}},",
            literal(&entry.export.name),
            entry.failure as u64,
            rule.deadline_ms.unwrap_or(0) * 1000,
            entry.general,
            entry.vector,
            entry.stack,
            entry.results,
            rule.retries.unwrap_or(0),
            u8::from(rule.abort),
            u8::from(entry.exact),
            u8::from(entry.failure_in_vector),
            rule.errno.unwrap_or(0),
        );
    }
    let json = serde_json::to_string(configuration).unwrap_or_default();
    let _ = writeln!(
        text,
        "}};\nHIDDEN struct library banyan_library = {{{}, {}, {}, functions, {}, 0, 0, {}ull}};",
        literal(&library.to_string_lossy()),
        literal(&directory.to_string_lossy()),
        literal(&json),
        entries.len(),
        deadline_ms * 1000,
    );
    text.push_str("__asm__(\".text\\n\"\n");
    for (number, entry) in entries.iter().enumerate() {
        let name = &entry.export.name;
        // A name with several versions needs a name of its own for each.
        let several = exports.symbols.iter().filter(|other| other.name == *name).count() > 1;
        let label = if several { format!("banyan_entry_{number}") } else { name.clone() };
        if several && let Some(version) = &entry.export.version {
            let at = if entry.export.is_default { "@@" } else { "@" };
            let _ = writeln!(text, "\".symver {label}, {name}{at}{version}\\n\"");
        }
        let _ = writeln!(
            text,
            "\".globl {label}\\n.type {label}, @function\\n.p2align 4\\n{label}:\\nendbr64\\nlea banyan_library(%rip), %r10\\n\
             mov ${number}, %r11d\\njmp *banyan_entry(%rip)\\n.size {label}, .-{label}\\n\""
        );
    }
    text.push_str("\".data\\n\"\n");
    for export in exports.symbols.iter().filter(|export| !export.is_function) {
        let name = &export.name;
        let _ = writeln!(text, "\".globl {name}\\n.type {name}, @object\\n.p2align 5\\n{name}:\\n\"");
        let mut at = 0;
        while at < export.size {
            let pointer = export.pointers.iter().find(|(offset, _)| *offset == at && at + 8 <= export.size);
            if let Some((_, symbol)) = pointer {
                let _ = writeln!(text, "\".quad {}\\n\"", symbol.as_deref().unwrap_or("0"));
                at += 8;
            } else {
                let _ = writeln!(text, "\".byte {}\\n\"", export.data.get(at as usize).copied().unwrap_or(0));
                at += 1;
            }
        }
        let _ = writeln!(text, "\".size {name}, {}\\n\"", export.size);
    }
    text.push_str("\".text\\n\");\n");
    text
}

fn copy(from: &Path, to: &Path) -> Result<(), WrapError> {
    // A hard link would do, but the drop-in may be moved to another machine.
    std::fs::copy(from, to).map(|_| ()).map_err(file_error(from))
}

fn compile(directory: &Path, exports: &Exports, source: &str) -> Result<PathBuf, WrapError> {
    let program = find_worker_program(None).ok_or_else(|| WrapError::Missing("banyan-call-worker".into()))?;
    let beside = program.parent().unwrap_or(Path::new("."));
    let runtime = [beside.join("libbanyan_calls.so"), beside.join("deps/libbanyan_calls.so")];
    let runtime = runtime
        .iter()
        .find(|path| path.is_file())
        .ok_or_else(|| WrapError::Missing("libbanyan_calls.so".into()))?;
    copy(&program, &directory.join("banyan-call-worker"))?;
    copy(runtime, &directory.join("libbanyan_calls.so"))?;
    let file = directory.join("drop-in.c");
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
        "-Wl,-z,noexecstack",
    ]);
    command.arg(format!("-Wl,-soname,{}", exports.soname)).arg("-o").arg(&output).arg(&file);
    command.arg("-L").arg(directory).arg("-lbanyan_calls");
    if !exports.versions.is_empty() {
        let mut script = String::new();
        for version in &exports.versions {
            let _ = writeln!(script, "{version} {{ global:");
            for export in exports.symbols.iter().filter(|export| export.version.as_ref() == Some(version)) {
                if exports.symbols.iter().filter(|other| other.name == export.name).count() == 1 {
                    let _ = writeln!(script, "  {};", export.name);
                }
            }
            script.push_str("};\n");
        }
        let path = directory.join("versions.map");
        std::fs::write(&path, script).map_err(file_error(&path))?;
        command.arg(format!("-Wl,--version-script={}", path.display()));
    }
    let result = command.output().map_err(|error| WrapError::Compiler(error.to_string()))?;
    if !result.status.success() {
        return Err(WrapError::Compiler(String::from_utf8_lossy(&result.stderr).into_owned()));
    }
    Ok(output)
}

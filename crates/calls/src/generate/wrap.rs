//! Decides for each export of a library what its drop-in does, writes the drop-in, and reports.
//!
//! What cannot be done is said, export by export, and the rest is made. Not the text of the
//! drop-in; that is `emit`.

use super::check::{Found, check};
use super::convention::{Passing, Returned, Signature, passing};
use super::emit::{Entry, Plan, compile, source};
use super::exports::{Export, Exports};
use super::groups::derive_groups;
use super::header::{self, Header};
use super::{FailureValue, Policy, WrapError};
use crate::shared::service::Configuration;
use crate::sys::sandbox::Groups;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Functions that return twice, or to another frame: nothing of that kind crosses a process.
const FRAME_FUNCTIONS: &[&str] = &[
    "setjmp",
    "_setjmp",
    "sigsetjmp",
    "__sigsetjmp",
    "longjmp",
    "_longjmp",
    "siglongjmp",
    "__longjmp_chk",
    "getcontext",
    "setcontext",
    "swapcontext",
    "makecontext",
    "vfork",
];

/// What was made of one export.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// Its name.
    pub name: String,
    /// `full`, `annotated` or `refused`.
    pub status: &'static str,
    /// Why, or what to know.
    pub reason: String,
    /// What is known of it.
    pub proof: Proof,
}

/// What is known of an export of a drop-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// It was compared with the library in place.
    Checked,
    /// It could not be tried without doing something.
    Expected,
    /// It is not called.
    Refused,
}

/// What was made.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The drop-in's path.
    pub library: PathBuf,
    /// One entry an export.
    pub coverage: Vec<Coverage>,
    /// What could not be used, with file and line: parts of headers, names in the policy that do not exist.
    pub problems: Vec<String>,
}

impl Outcome {
    /// The share of exports that need no annotation, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        let full = self.coverage.iter().filter(|one| one.status == "full").count();
        full as f64 / self.coverage.len().max(1) as f64
    }

    /// How many exports there is such a proof of.
    #[must_use]
    pub fn count(&self, proof: Proof) -> usize {
        self.coverage.iter().filter(|one| one.proof == proof).count()
    }
}

pub(super) fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> WrapError {
    let path = path.to_owned();
    move |source| WrapError::File { path, source }
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

/// The policy's text and what it says; an empty one for no path.
fn read_policy(path: Option<&Path>) -> Result<(String, Policy), WrapError> {
    let Some(path) = path else { return Ok(Default::default()) };
    let text = std::fs::read_to_string(path).map_err(file_error(path))?;
    let rules = toml::from_str(&text)
        .map_err(|error| WrapError::Policy { path: path.to_owned(), reason: error.to_string() })?;
    Ok((text, rules))
}

/// The line of the policy that speaks of a function.
fn line_of(text: &str, function: &str) -> usize {
    let mut lines = text.lines().enumerate();
    lines
        .find(|(_, line)| line.contains("function") && line.contains(function))
        .map_or(1, |(line, _)| line + 1)
}

/// The failure value as the bits of a register, and whether that is a vector register.
fn failure(given: Option<FailureValue>, returned: Returned) -> Result<(u64, bool), &'static str> {
    let in_vector = matches!(returned, Returned::Float | Returned::Double);
    let real = |value: f64| match returned {
        Returned::Float => u64::from((value as f32).to_bits()),
        _ => value.to_bits(),
    };
    match given {
        Some(FailureValue::Integer(value)) if in_vector => Ok((real(value as f64), true)),
        Some(FailureValue::Integer(value)) => Ok((value as u64, false)),
        Some(FailureValue::Real(value)) if in_vector || returned == Returned::Zero => Ok((real(value), true)),
        Some(FailureValue::Real(_)) => Err("failure: the function returns an integer"),
        None if returned == Returned::Signed => Ok((u64::MAX, false)),
        None => Ok((0, in_vector)),
    }
}

/// Makes a drop-in for `library` in `directory`, with the help of `headers`, under `policy`.
///
/// # Errors
/// [`WrapError`]. A declaration that does not parse, and a policy for a function that is not
/// there, are problems in the outcome instead: everything else is still made.
pub fn wrap(
    library: &Path,
    headers: &[PathBuf],
    policy: Option<&Path>,
    directory: &Path,
) -> Result<Outcome, WrapError> {
    let library = library.canonicalize().map_err(file_error(library))?;
    let exports = Exports::read(&library)?;
    refuse_cpp(&library, &exports)?;
    let (policy_text, rules) = read_policy(policy)?;
    let policy = policy.unwrap_or(&library);
    let mut known = Header::default();
    for path in headers {
        std::fs::metadata(path).map_err(file_error(path))?;
        let found = header::read(path);
        known.functions.extend(found.functions);
        known.problems.extend(found.problems);
    }
    let Header { functions: signatures, mut problems } = known;
    for name in
        rules.function.keys().filter(|name| !exports.symbols.iter().any(|export| export.name == **name))
    {
        let line = line_of(&policy_text, name);
        problems.push(format!(
            "{}:{line}: function.{name}: {} exports no such function",
            policy.display(),
            exports.soname
        ));
    }
    let mut coverage = Vec::new();
    let mut entries = Vec::new();
    for export in exports.symbols.iter().filter(|export| export.is_function) {
        if !is_writable_name(&export.name) {
            coverage.push(refused(export, "its name cannot be written in assembly"));
            continue;
        }
        let (entry, covered) = entry(export, signatures.get(&export.name), &rules, |why| {
            let line = line_of(&policy_text, &export.name);
            problems.push(format!("{}:{line}: function.{}: {why}", policy.display(), export.name));
        });
        entries.push(entry);
        coverage.push(covered);
    }
    let variables = variables(&exports, &mut coverage);
    let allowed =
        groups(&rules, &exports).map_err(|reason| WrapError::Policy { path: policy.to_owned(), reason })?;
    let namespaces = rules.library.namespaces.unwrap_or(true);
    let mut configuration = Configuration { groups: allowed.0, namespaces, ..Configuration::default() };
    configuration.heap_bytes = rules.library.heap_bytes.unwrap_or(configuration.heap_bytes);
    configuration.stack_bytes = rules.library.stack_bytes.unwrap_or(configuration.stack_bytes);
    std::fs::create_dir_all(directory).map_err(file_error(directory))?;
    let directory = directory.canonicalize().map_err(file_error(directory))?;
    let plan = Plan {
        library: &library,
        directory: &directory,
        exports: &exports,
        entries,
        variables: &variables,
        configuration: &configuration,
        deadline_ms: rules.library.deadline_ms.unwrap_or(0),
    };
    let output = make(plan, &mut coverage)?;
    let outcome = Outcome { library: output, coverage, problems };
    let report = directory.join("coverage.json");
    let text = serde_json::to_vec_pretty(&outcome).unwrap_or_default();
    std::fs::write(&report, text).map_err(file_error(&report))?;
    Ok(outcome)
}

/// Makes the drop-in and tries it; what turned out wrong is refused by another.
fn make(mut plan: Plan<'_>, coverage: &mut [Coverage]) -> Result<PathBuf, WrapError> {
    let output = compile(&plan, &source(&plan))?;
    let found = check(&plan, &output)?;
    let mut is_wrong = false;
    for one in coverage.iter_mut().filter(|one| one.status != "refused") {
        match found.get(&one.name) {
            Some(Found::Equal) => one.proof = Proof::Checked,
            Some(Found::Different(how)) => {
                (one.status, one.proof) = ("refused", Proof::Refused);
                one.reason = format!("the check found it different: {how}");
                plan.entries.iter_mut().filter(|entry| entry.export.name == one.name).for_each(|entry| {
                    entry.is_refused = true;
                    is_wrong = true;
                });
            }
            None => {}
        }
    }
    if is_wrong { compile(&plan, &source(&plan)) } else { Ok(output) }
}

/// What the drop-in has for a function, and what the report says of it. `problem` takes what is wrong in the
/// policy.
fn entry<'a>(
    export: &'a Export,
    signature: Option<&Signature>,
    rules: &Policy,
    problem: impl FnOnce(&'static str),
) -> (Entry<'a>, Coverage) {
    let mut passing_of = Passing::UNKNOWN;
    let (mut status, mut reason) = ("full", "declared".to_owned());
    match signature {
        Some(signature) => match passing(signature) {
            Ok(found) => passing_of = found,
            Err(why) => (status, reason) = ("refused", format!("{}: {why}", signature.place)),
        },
        None => {
            reason = "not declared: all registers and 16 stack words travel, failure is 0".into();
        }
    }
    if is_cpp(&export.name) {
        (status, reason) = ("refused", CPP_REASON.into());
    }
    if FRAME_FUNCTIONS.contains(&export.name.as_str()) {
        (status, reason) = ("refused", "it returns twice or into another frame".into());
    }
    let rule = rules.function.get(&export.name);
    if let Some(rule) = rule {
        if rule.refuse {
            (status, reason) = ("refused", "by the policy".into());
        } else if status == "full" {
            (status, reason) = ("annotated", "by the policy".into());
        }
    }
    let mut rule = rule.cloned().unwrap_or_default();
    rule.retries = rule.retries.or(rules.library.retries);
    rule.cpu_ms = rule.cpu_ms.or(rules.library.cpu_ms);
    let failure = failure(rule.failure, passing_of.returned).unwrap_or_else(|why| {
        problem(why);
        (0, false)
    });
    let is_refused = status == "refused";
    let proof = if is_refused { Proof::Refused } else { Proof::Expected };
    let scalar_bytes = signature.map_or(0, Signature::scalar_bytes);
    let entry = Entry { export, passing: passing_of, scalar_bytes, failure, rule, is_refused };
    (entry, Coverage { name: export.name.clone(), status, reason, proof })
}

/// The variables that the drop-in has too; what the report says of all is added to it.
fn variables<'a>(exports: &'a Exports, coverage: &mut Vec<Coverage>) -> Vec<&'a Export> {
    let mut variables = Vec::new();
    for export in exports.symbols.iter().filter(|export| !export.is_function) {
        if !is_writable_name(&export.name) {
            coverage.push(refused(export, "its name cannot be written in assembly"));
            continue;
        }
        let reason = if export.is_writable {
            "a variable, kept alike on both sides at each call"
        } else {
            "a constant"
        };
        let (reason, proof) = (reason.into(), Proof::Expected);
        coverage.push(Coverage { name: export.name.clone(), status: "full", reason, proof });
        variables.push(export);
    }
    for (name, reason) in &exports.others {
        let (reason, proof) = ((*reason).to_owned(), Proof::Refused);
        coverage.push(Coverage { name: name.clone(), status: "refused", reason, proof });
    }
    variables
}

const CPP_REASON: &str = "a C++ function: objects and exceptions do not cross processes";

/// Whether a name is one of C++ (Itanium C++ ABI, "Mangling").
fn is_cpp(name: &str) -> bool {
    name.starts_with("_Z")
}

/// Refuses a library whose interface is mostly in C++. A few such names beside functions in C are often parts
/// of the library that were not hidden: those are refused one by one.
fn refuse_cpp(path: &Path, exports: &Exports) -> Result<(), WrapError> {
    let functions = || exports.symbols.iter().filter(|export| export.is_function);
    let count = functions().filter(|export| is_cpp(&export.name)).count();
    if count * 2 <= functions().count() {
        return Ok(());
    }
    let first = functions().find(|export| is_cpp(&export.name)).map_or("", |export| &export.name);
    let reason = format!(
        "its interface is in C++ ({first} and {} more functions): objects and exceptions do not cross processes. \
         Isolate a library in C that it uses, or write functions in C around it",
        count - 1
    );
    Err(WrapError::Library { path: path.to_owned(), reason })
}

fn refused(export: &Export, reason: &str) -> Coverage {
    let (reason, proof) = (reason.into(), Proof::Refused);
    Coverage { name: export.name.clone(), status: "refused", reason, proof }
}

fn is_writable_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$'))
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

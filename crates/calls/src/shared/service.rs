//! What runs in the worker: the configuration that a caller hands to a babysitter, and the report that comes
//! back; and the variables of the environment that name both.
//!
//! Not for starting them; that is `launch`. The configuration travels as JSON, once, before the first call.

pub use crate::sys::sandbox::Groups;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything a babysitter must know.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// The library to load; none for functions of the calling program itself.
    pub library: Option<PathBuf>,
    /// The library's functions, in the order of their numbers.
    pub functions: Vec<FunctionName>,
    /// Variables of the library whose addresses the report gives, in this order.
    pub variables: Vec<FunctionName>,
    /// Functions and streams of the caller's C library, by name, for files that the caller opened.
    pub stdio: Vec<(String, u64)>,
    /// The caller's locale, as `setlocale` writes it.
    pub locale: Option<String>,
    /// The caller's name, as its C library has it.
    pub program: Option<String>,
    /// Workers that may run at once, each with one call. For functions of a Rust program; a library has one.
    pub workers: u32,
    /// Workers that stand ready beside those in use.
    pub spares: u32,
    /// Ended workers whose memory stays readable.
    pub kept: u32,
    /// Bytes of heap that a worker may use.
    pub heap_bytes: u64,
    /// Bytes of other private memory that a worker may use.
    pub data_bytes: u64,
    /// Bytes of stack of a thread of a worker.
    pub stack_bytes: u64,
    /// Which groups of system calls are allowed, as [`Groups`].
    pub groups: u32,
    /// Whether to leave the network and the machine's shared objects.
    pub namespaces: bool,
    /// Whether at most one thread is inside the library at a time. Needed unless all that the
    /// library touches lies in blobs or in its own memory.
    pub serial: bool,
    /// Workers that may end one after the other without having served before callers are refused for a while.
    pub crash_loop: u32,
    /// Milliseconds for loading the library.
    pub start_deadline_ms: u64,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            library: None,
            functions: Vec::new(),
            variables: Vec::new(),
            stdio: Vec::new(),
            locale: None,
            program: None,
            workers: std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8) as u32),
            spares: 1,
            kept: 3,
            heap_bytes: 4 << 30,
            data_bytes: 8 << 30,
            stack_bytes: 8 << 20,
            groups: Groups::EVERYTHING.0,
            namespaces: false,
            serial: true,
            crash_loop: 20,
            start_deadline_ms: 10_000,
        }
    }
}

/// What the babysitter finds in the control memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Where the window lies.
    pub(crate) window: u64,
    /// The caller's process.
    pub(crate) client: u32,
    pub(crate) configuration: Configuration,
}

/// A function of a library.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FunctionName {
    /// Its symbol.
    pub name: String,
    /// Its symbol version, where it has one.
    pub version: Option<String>,
}

/// What a babysitter says once it has loaded the library, or failed to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Why it cannot serve; empty when it can.
    pub problem: String,
    /// The layers of the sandbox.
    pub layers: Vec<Layer>,
    /// Functions that the library does not have.
    pub missing: Vec<String>,
    pub(crate) segments: Vec<Segment>,
    /// Addresses of the functions asked for, in their order; 0 where missing.
    pub(crate) functions: Vec<u64>,
    /// Addresses of the variables asked for, in their order; 0 where missing.
    pub(crate) variables: Vec<u64>,
}

/// One layer of the sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Whether it is in force.
    pub active: bool,
    /// Why it is not, if it is not.
    pub detail: String,
}

/// A piece of the library's own memory that the caller sees at the same address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) address: u64,
    pub(crate) length: u64,
    pub(crate) kind: SegmentKind,
}

impl Segment {
    /// Longest code for which a caller makes entries, and longest segment.
    pub(crate) const CODE_BYTES_MAX: u64 = 16 << 20;
    const BYTES_MAX: u64 = 1 << 32;

    /// Whether a library can have such a segment: a report is another process's word.
    pub(crate) const fn is_possible(&self) -> bool {
        let longest = match self.kind {
            SegmentKind::Code { .. } => Self::CODE_BYTES_MAX,
            SegmentKind::File { .. } | SegmentKind::Data { .. } => Self::BYTES_MAX,
        };
        self.address.is_multiple_of(4096)
            && self.length.is_multiple_of(4096)
            && self.address < 1 << 47
            && self.length > 0
            && self.length <= longest
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SegmentKind {
    /// Pages of a file, unchanged.
    File { path: PathBuf, offset: u64 },
    /// The library's code: the caller gets entries that lead to the worker instead. Where functions begin in
    /// it, as far as that is known.
    Code { starts: Vec<u32> },
    /// Data, shared with the worker, from that offset of its slot.
    Data { slot_offset: u64 },
}

/// Set in the environment of a process that must become a babysitter: whose, as [`FOR_A_LIBRARY`] or the path
/// of the program or shared object that has the functions. A process may have several such objects.
pub(crate) const WORKER_VARIABLE: &str = "BANYAN_CALL_WORKER";
/// Asks the worker program to host a library. No path is so.
pub(crate) const FOR_A_LIBRARY: &str = "library";
/// Names where the calls of a program go, as a [`crate::Discovery`].
pub const FIND_VARIABLE: &str = "BANYAN_CALL_SERVICE";
/// Has a program serve its isolated functions instead of running: `system:NAME`, or `named:NAME=HOST:PORT`,
/// on this machine only if `HOST` is empty.
pub const SERVE_VARIABLE: &str = "BANYAN_CALL_SERVE";

/// What a fuzzer calls: an order, a report or a drop-in's configuration, by the first byte, as the process on
/// the other side reads it. JSON has many spellings; ours is read as the same again.
///
/// # Panics
/// When decoding is wrong.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    fn same<T: Serialize + serde::de::DeserializeOwned>(text: &[u8]) {
        let Ok(value) = serde_json::from_slice::<T>(text) else { return };
        let once = serde_json::to_vec(&value).expect("plain data can be encoded");
        let again: T = serde_json::from_slice(&once).expect("what was written can be read");
        assert_eq!(serde_json::to_vec(&again).expect("plain data can be encoded"), once);
    }
    match bytes.split_first() {
        None => {}
        Some((0, text)) => same::<Order>(text),
        Some((1, text)) => {
            same::<Report>(text);
            let report = serde_json::from_slice::<Report>(text).unwrap_or_default();
            for segment in report.segments.iter().filter(|segment| segment.is_possible()) {
                assert!(segment.address + segment.length < 1 << 48, "it ends beyond all addresses");
            }
        }
        Some((_, text)) => same::<Configuration>(text),
    }
}

/// One of each, for a fuzzer to begin with.
///
/// # Panics
/// Never: plain data can be encoded.
#[doc(hidden)]
#[must_use]
pub fn fuzz_inputs() -> Vec<Vec<u8>> {
    let function = FunctionName { name: "deflate".into(), version: Some("ZLIB_1.2".into()) };
    let configuration = Configuration {
        library: Some("/lib/libz.so".into()),
        functions: vec![function],
        ..Default::default()
    };
    let order = Order { window: 1 << 44, client: 7, configuration: configuration.clone() };
    let code = Segment { address: 1 << 45, length: 4096, kind: SegmentKind::Code { starts: vec![0, 64] } };
    let data = Segment { address: 1 << 46, length: 4096, kind: SegmentKind::Data { slot_offset: 8192 } };
    let layers = vec![Layer { name: "seccomp".into(), active: true, detail: String::new() }];
    let report =
        Report { layers, segments: vec![code, data], functions: vec![1 << 45], ..Default::default() };
    let texts = [serde_json::to_vec(&order), serde_json::to_vec(&report), serde_json::to_vec(&configuration)];
    let texts = texts.map(|text| text.expect("plain data can be encoded"));
    (0..).zip(texts).map(|(kind, text)| [vec![kind], text].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_no_library_has_are_not_possible() {
        let code = || SegmentKind::Code { starts: Vec::new() };
        let data = || SegmentKind::Data { slot_offset: 0 };
        let is_possible = |address, length, kind| Segment { address, length, kind }.is_possible();
        assert!(is_possible(4096, 16 << 20, code()) && is_possible(4096, 1 << 32, data()));
        // Entries for it are as long as the code: four gigabytes of them would be the caller's to pay.
        assert!(!is_possible(4096, 1 << 32, code()));
        assert!(!is_possible(4096, (1 << 32) + 4096, data()));
        assert!(!is_possible(4097, 4096, data()) && !is_possible(4096, 4097, data()));
        assert!(!is_possible(1 << 47, 4096, data()) && !is_possible(4096, 0, code()));
    }
}

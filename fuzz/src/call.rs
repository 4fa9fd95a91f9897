//! Calls in another process: the frames of both ends, and the headers and libraries that the generator reads.
//!
//! What decodes must encode to something that decodes alike.

use crate::Target;
use banyan_calls::discovery::Discovery;
use banyan_calls::frame::{
    FrameReader, FrameWriter, Registers, STACK_WORDS_MAX, Shape, read_arguments, read_results, read_words,
    write_arguments,
};
use banyan_calls::generate::Policy;
use banyan_calls::isolated::value::{decode, encode};
use banyan_calls::message::{Answer, Limits, Payload, Request};
use banyan_calls::service;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Words that make C headers interesting.
const WORDS: &[&str] = &[
    "struct ",
    "union ",
    "enum ",
    "typedef ",
    "{",
    "}",
    "(",
    ")",
    ";",
    "[",
    "]",
    "*",
    "...",
    "int ",
    "long ",
    "double ",
    "unsigned ",
    "char ",
    "_Complex ",
    "_Bool ",
    ": 3",
    "= 1 << 40",
    "sizeof(",
    "void ",
    "# 7 \"x.h\"\n",
    ",",
    "'",
    "\"",
];

/// The targets.
pub const TARGETS: &[Target] = &[
    Target { inputs: frames, ..Target::new("call_request", requests) },
    Target { inputs: frames, ..Target::new("call_reply", replies) },
    Target { inputs: values, ..Target::new("call_value", value) },
    Target { inputs: texts, words: WORDS, inputs_in_test: 2000, ..Target::new("call_header", headers) },
    Target {
        inputs: libraries,
        kept_bytes_max: 4 << 20,
        inputs_in_test: 500,
        ..Target::new("call_library", exports)
    },
    Target { inputs: service::fuzz_inputs, ..Target::new("call_service", service::fuzz) },
    Target {
        inputs: policies,
        words: POLICY_WORDS,
        inputs_in_test: 2000,
        ..Target::new("call_policy", policy)
    },
];

/// Words that make policies interesting.
const POLICY_WORDS: &[&str] = &[
    "[library]\n",
    "[function.f]\n",
    "[[",
    "]]",
    "{",
    "}",
    " = ",
    "\"",
    "\'\'\'",
    "allow = [",
    "\n",
    "#",
    "inf",
    "-nan",
    "0x",
    "1979-05-27T07:32:00Z",
    "failure = ",
    "deadline_ms = ",
    "a.b.c = ",
    "\\u0000",
];

const LIMITS: Limits = Limits { pages: 16384, bulk_bytes: 64 << 20 };

fn read(mut reader: FrameReader<'_>) -> Option<(Registers, [u64; STACK_WORDS_MAX], usize)> {
    let (mut registers, mut words) = (Registers::default(), [0; STACK_WORDS_MAX]);
    let count = read_arguments(&mut reader, &mut registers).ok()?;
    read_words(reader, &mut words[..count]).ok()?;
    Some((registers, words, count))
}

fn arguments(reader: FrameReader<'_>) {
    let Some((registers, words, count)) = read(reader) else { return };
    let mut again = [0; 1024];
    let mut writer = FrameWriter::new(&mut again);
    write_arguments(&mut writer, Shape::unknown(0), &registers, &words[..count]).expect("it fits");
    let used = writer.used();
    assert_eq!(read(FrameReader::new(&again[..used])), Some((registers, words, count)));
}

fn results(reader: FrameReader<'_>) {
    for results in 0..16 {
        let mut registers = Registers { results, ..Registers::default() };
        if let Ok(errno) = read_results(reader, &mut registers) {
            assert!(errno < 4096);
        }
    }
}

fn payload(payload: Payload<'_>, frame: &[u8]) {
    match payload {
        Payload::Inline(bytes) => assert!(bytes.len() < frame.len()),
        Payload::Bulk(length) => assert!(length as u64 <= LIMITS.bulk_bytes),
    }
}

/// A caller's frame, as the worker reads it.
pub fn requests(bytes: &[u8]) {
    match Request::read(bytes, LIMITS) {
        Ok(Request::Call { arguments: rest, errno, .. }) => {
            assert!(errno < 4096);
            arguments(rest);
        }
        Ok(Request::CallBackReturned { results: rest, .. }) => results(rest),
        Ok(Request::CallBytes { arguments, .. }) => payload(arguments, bytes),
        Ok(Request::Fetched(count)) => assert!(count <= 256),
        Err(_) => {}
    }
}

/// A worker's frame, as the caller reads it.
pub fn replies(bytes: &[u8]) {
    match Answer::read(bytes, LIMITS) {
        Ok(Answer::Returned { touched, results: rest }) => {
            assert!(touched.changed <= LIMITS.pages);
            results(rest);
        }
        Ok(Answer::CallBack { touched, arguments: rest, .. }) => {
            assert!(touched.changed <= LIMITS.pages);
            arguments(rest);
        }
        Ok(Answer::Bytes(bytes_of) | Answer::Failed(bytes_of)) => payload(bytes_of, bytes),
        Ok(Answer::Fetch { page, wanted }) => assert!(page < 1 << 35 && wanted <= 256),
        Ok(Answer::Crashed { signal, .. }) => assert!((0..=64).contains(&signal)),
        Ok(Answer::Unwind { touched, depth }) => assert!(touched.changed <= LIMITS.pages && depth < 32),
        Ok(Answer::Refused(_) | Answer::NoFunction) | Err(_) => {}
    }
}

/// One of each kind of type that a value can have.
#[derive(Debug, Serialize, Deserialize)]
enum Any {
    None,
    Flags(bool, Option<char>, Result<i8, u128>),
    Floats { single: f32, double: f64 },
    Text(String),
    Bytes(serde_bytes::ByteBuf),
    Empty(Vec<()>),
    Many(Vec<Any>),
    Named(BTreeMap<String, Any>),
    Inner(Box<Any>),
}

/// Arguments or a result, as the other side reads it.
pub fn value(bytes: &[u8]) {
    let Ok(value) = decode::<Any>(bytes) else { return };
    let (mut once, mut again) = (Vec::new(), Vec::new());
    encode(&value, &mut once).expect("it was no longer");
    let value: Any = decode(&once).expect("its own encoding");
    encode(&value, &mut again).expect("it was no longer");
    assert_eq!(once, again);
}

/// A preprocessed header, as the generator reads it.
pub fn headers(bytes: &[u8]) {
    let found = banyan_calls::generate::parse(&String::from_utf8_lossy(bytes));
    for signature in found.functions.values() {
        let _ = banyan_calls::generate::can_pass(signature);
    }
}

/// A shared library, as the generator reads it.
pub fn exports(bytes: &[u8]) {
    let _ = banyan_calls::generate::Exports::parse(std::path::Path::new("library"), bytes);
}

/// A policy, as the generator reads it, and where calls go, as the environment says it: what is read is said
/// again in the same words.
pub fn policy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // Why it is refused is for people.
    let _ = toml::from_str::<Policy>(&text).map_err(|error| error.to_string());
    if let Ok(discovery) = text.parse::<Discovery>() {
        assert_eq!(discovery.to_string(), text);
    }
}

fn policies() -> Vec<Vec<u8>> {
    let policy = "[library]\ndeadline_ms = 1000\nretries = 2\nallow = [\"files-read\", \"network\"]\n\n\
        [function.deflate]\ndeadline_ms = 50\nfailure = -1\n";
    [policy, "child", "system:images", "named:images=10.0.0.1:7000,:7001"].map(Into::into).to_vec()
}

fn frames() -> Vec<Vec<u8>> {
    vec![
        vec![1, 5, 0, 0, 6, 8, 4, 2, 3, 1, 2, 3, 4, 5, 6],
        vec![3, 0, 0, 7, 9],
        vec![4, 1, 0xff, 0xff, 3, 6, 8, 8, 0, 2],
        vec![6, 0x80, 0x80, 4, 16],
        vec![2, 1, 0, 1, 0x80, 8],
        vec![8, 11, 8, 0x90, 0x10],
        vec![10, 0, b'n', b'o'],
    ]
}

fn values() -> Vec<Vec<u8>> {
    let many = vec![Any::Text("text".into()), Any::Floats { single: 1.5, double: -0.0 }, Any::None];
    let named = BTreeMap::from([("a".into(), Any::Many(many)), ("b".into(), Any::Empty(vec![(); 9]))]);
    let nested =
        (0..40).fold(Any::Flags(true, Some('x'), Err(1 << 100)), |inner, _| Any::Inner(Box::new(inner)));
    let values = [Any::Named(named), nested, Any::Bytes(vec![7; 40].into())];
    let encoded = values.iter().map(|value| {
        let mut bytes = Vec::new();
        encode(value, &mut bytes).expect("it is short");
        bytes
    });
    encoded.collect()
}

fn texts() -> Vec<Vec<u8>> {
    let texts: [&str; 3] = [
        "# 1 \"a.h\"\ntypedef struct { int a : 3; double b[2]; union { char c; long d; } e; } s;\ns f(s a, struct t *b, ...);\n",
        "enum e { A, B = 1 << 3, C = sizeof(long) };\nextern int (*g(int (*)(enum e), char [C]))(void);\nlong double h();\n",
        "typedef unsigned char u8;\nstruct q { u8 a[3]; struct q *n; };\n_Bool k(struct q, float _Complex, const u8 * const *);\n}\nint broken(;\nint m(void);",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn libraries() -> Vec<Vec<u8>> {
    std::fs::read("/lib64/ld-linux-x86-64.so.2").into_iter().collect()
}

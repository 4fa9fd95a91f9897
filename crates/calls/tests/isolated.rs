//! Functions of a Rust program in another process; spawn and sync; blobs.
#![allow(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::blob::Sharing;
use banyan_calls::discovery::{Discovery, Service};
use banyan_calls::isolated::through;
use banyan_calls::parallel::Group;
use banyan_calls::service::Configuration;
use banyan_calls::{Blob, BlobStore, Blobs, CallError, isolated, spawn};
use common::{call, open, options};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

#[isolated(deadline = "5s")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[isolated(deadline = "5s")]
fn reverse(text: String, times: Vec<u32>) -> (String, u64) {
    (text.chars().rev().collect(), times.iter().map(|&time| u64::from(time)).sum())
}

/// A type of the program's own, with others inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    items: BTreeMap<String, u32>,
    within: Duration,
    paid: Result<Option<char>, String>,
}

#[isolated(deadline = "5s")]
fn doubled(mut order: Order, by: u32) -> Order {
    order.items.values_mut().for_each(|count| *count *= by);
    order
}

#[isolated(deadline = "5s")]
fn joined(first: Vec<u8>, second: Vec<u8>) -> Vec<u8> {
    [first, second].concat()
}

/// Arguments with the names that the macro's own code might have.
#[isolated(deadline = "5s")]
fn names(options: u64, output: u64, bytes: u64, body: u64, serve: u64, result: u64, arguments: u64) -> u64 {
    options + output * 2 + bytes * 3 + body * 5 + serve * 7 + result * 11 + arguments * 13
}

#[isolated(deadline = "5s")]
fn crash(really: bool) -> u32 {
    if really {
        // SAFETY: none: this is the crash.
        unsafe { (8 as *mut u32).write_volatile(1) };
    }
    7
}

/// Touches the given number of bytes of new memory.
#[isolated(deadline = "20s")]
fn takes(bytes: usize) -> usize {
    std::hint::black_box(vec![1_u8; bytes]).len()
}

#[isolated(deadline = "20s")]
fn reads_a_file() -> bool {
    std::fs::File::open("/dev/null").is_ok()
}

#[isolated(deadline = "200ms")]
fn hang() {
    loop {
        std::hint::spin_loop();
    }
}

#[isolated(deadline = "5s")]
fn panics(text: String) -> u32 {
    panic!("{text}")
}

#[isolated(retry = 50, deadline = "10s", idempotent)]
fn flaky(seed: u64) -> u64 {
    // Crashes every other time. Not by its process number: those of workers come in steps, so luck would
    // last.
    let mut chance = 0_u8;
    // SAFETY: the kernel writes one byte.
    let got = unsafe { libc::getrandom((&raw mut chance).cast(), 1, 0) };
    if got != 1 || !chance.is_multiple_of(2) {
        std::process::abort();
    }
    seed * 2
}

#[isolated(deadline = "5s")]
fn slow(number: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(20 - number.min(20)));
    number * number
}

/// Numbers that count how often they are written.
#[derive(Deserialize)]
struct Counted(Vec<u64>);

static WRITTEN: AtomicU32 = AtomicU32::new(0);

impl Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        WRITTEN.fetch_add(1, Relaxed);
        self.0.serialize(to)
    }
}

#[isolated(deadline = "20s")]
fn counted(numbers: Counted) -> u64 {
    numbers.0.iter().fold(numbers.0.len() as u64, |sum, &number| sum.wrapping_add(number))
}

/// Functions of libraries that this program does not link.
mod foreign {
    use banyan_calls::isolated;

    #[isolated(library = "libz.so.1", deadline = "5s", retry = 2, idempotent)]
    unsafe extern "C" {
        /// The checksum of `length` bytes.
        pub fn crc32(start: u64, bytes: *const u8, length: u32) -> u64;
        pub fn compress(to: *mut u8, room: *mut u64, from: *const u8, length: u64) -> i32;
        #[allow(non_snake_case, reason = "the library's own name")]
        pub fn zlibVersion() -> *const u8;
    }

    #[isolated(library = "libm.so.6", deadline = "5s")]
    unsafe extern "C" {
        pub fn fmaf(a: f32, b: f32, c: f32) -> f32;
        pub fn ldexp(value: f64, exponent: i32) -> f64;
        pub fn no_such_function() -> i32;
    }

    #[isolated(library = "libc.so.6", deadline = "20s")]
    unsafe extern "C" {
        pub fn strlen(text: *const u8) -> usize;
        pub fn exit(status: i32);
    }

    #[isolated(library = "libc.so.6", deadline = "300ms")]
    unsafe extern "C" {
        pub fn pause() -> i32;
        pub fn toupper(arguments: i32) -> i32;
    }
}

#[test]
fn functions_of_a_c_library_that_is_not_linked() {
    let _ = common::configuration();
    let text = b"the quick brown fox jumps over the lazy dog, again and again and again";
    let mut packed = [0_u8; 200];
    let mut room = packed.len() as u64;
    // SAFETY: the arguments are right for the functions, or the crash is what is wanted.
    unsafe {
        assert_eq!(foreign::crc32(0, b"123456789".as_ptr(), 9), Ok(0xcbf4_3926));
        let done = foreign::compress(packed.as_mut_ptr(), &raw mut room, text.as_ptr(), text.len() as u64);
        assert_eq!(done, Ok(0));
        assert!(
            (&raw const room).read_volatile() < text.len() as u64
                && (&raw const packed[0]).read_volatile() == 0x78
        );
        // The result points into the library's own memory, which the program sees.
        assert_eq!(*foreign::zlibVersion().unwrap(), b'1');
        assert_eq!(foreign::fmaf(2.0, 3.0, 4.0), Ok(10.0));
        assert_eq!(foreign::ldexp(1.5, 4), Ok(24.0));
        assert_eq!(foreign::no_such_function(), Err(CallError::NoFunction));
        let error = foreign::strlen(std::ptr::without_provenance(8)).unwrap_err();
        assert!(matches!(error, CallError::Crashed { signal: libc::SIGSEGV, address: 8, .. }), "{error:?}");
        assert_eq!(foreign::exit(9), Err(CallError::Exited { status: 9 }));
        assert_eq!(foreign::strlen(c"seven b".as_ptr().cast()), Ok(7));
        assert!(matches!(foreign::pause(), Err(CallError::TimedOut { .. })));
        // A busy machine may need more than one deadline for a fresh worker.
        let start = std::time::Instant::now();
        let mut next = foreign::toupper(i32::from(b'a'));
        while matches!(next, Err(CallError::TimedOut { .. })) && start.elapsed() < Duration::from_secs(20) {
            next = foreign::toupper(i32::from(b'a'));
        }
        assert_eq!(next, Ok(i32::from(b'A')));
    }
}

/// Functions that may do little.
mod confined {
    use banyan_calls::isolated;

    #[isolated(library = "libc.so.6", deadline = "20s", memory = "32MiB", allow = "files-read")]
    unsafe extern "C" {
        pub fn malloc(bytes: usize) -> *mut u8;
        pub fn memset(memory: *mut u8, value: i32, bytes: usize) -> *mut u8;
        pub fn open(path: *const u8, flags: i32, mode: u32) -> i32;
        pub fn socket(domain: i32, kind: i32, protocol: i32) -> i32;
    }

    #[isolated(library = "libc.so.6", deadline = "20s", allow = "network")]
    unsafe extern "C" {
        #[allow(dead_code, reason = "the block's first name is its static's")]
        pub fn getpid() -> i32;
        pub fn access(path: *const u8, mode: i32) -> i32;
        pub fn shutdown(socket: i32, how: i32) -> i32;
    }
}

#[test]
fn a_library_has_the_memory_and_the_system_calls_that_its_block_allows() {
    let _ = common::configuration();
    // SAFETY: the arguments are right for the functions.
    unsafe {
        let memory = confined::malloc(8 << 20).unwrap();
        assert!(!memory.is_null());
        assert_eq!(confined::memset(memory, 1, 8 << 20), Ok(memory));
        assert_eq!(confined::malloc(512 << 20), Ok(std::ptr::null_mut()), "more than the block allows");
        assert!(confined::open(c"/dev/null".as_ptr().cast(), libc::O_RDONLY, 0).unwrap() >= 0);
        let socket = confined::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
        assert_eq!(socket, Err(CallError::Refused { call: libc::SYS_socket as u32 }));
        // The other way round.
        assert_eq!(confined::shutdown(-1, 0), Ok(-1));
        let access = confined::access(c"/dev/null".as_ptr().cast(), 0);
        assert!(matches!(access, Err(CallError::Refused { .. })), "{access:?}");
    }
}

#[test]
fn functions_of_the_program_have_the_limits_of_their_service() {
    let _ = common::configuration();
    let configuration = Configuration { groups: 0, data_bytes: 256 << 20, ..Configuration::default() };
    let service = Service::find(&Discovery::Child, &configuration).unwrap();
    through(&service, || {
        assert_eq!(add(1, 2), Ok(3));
        assert_eq!(takes(1 << 20), Ok(1 << 20));
        let error = takes(1 << 30).unwrap_err();
        // It aborts; what it would say of that may be refused.
        assert!(error.is_system(), "{error:?}");
        assert!(matches!(reads_a_file(), Err(CallError::Refused { .. })), "no group has it");
    });
    assert_eq!(reads_a_file(), Ok(true));
}

#[test]
fn functions_of_the_program_itself() {
    assert_eq!(add(2, 40), Ok(42));
    let times: Vec<u32> = (0..100_000).collect();
    assert_eq!(reverse("abc".into(), times), Ok(("cba".into(), 4_999_950_000)), "through the bulk area");
    let error = crash(true).unwrap_err();
    assert!(matches!(error, CallError::Crashed { signal: libc::SIGSEGV, address: 8, .. }), "{error:?}");
    assert_eq!(crash(false), Ok(7));
    assert!(matches!(hang(), Err(CallError::TimedOut { .. })));
    assert_eq!(panics("oops".into()), Err(CallError::Failed("panic: oops".into())));
    assert_eq!(flaky(21), Ok(42));
}

#[test]
fn types_that_serde_knows_travel() {
    let items = BTreeMap::from([("apple".into(), 2), ("pear".into(), 300_000)]);
    let order = Order { items, within: Duration::from_millis(1500), paid: Err("no".into()) };
    let mut twice = order.clone();
    twice.items.values_mut().for_each(|count| *count *= 2);
    assert_eq!(doubled(order, 2), Ok(twice));
    for length in [0, 1, 500, 5 << 20] {
        let (first, second) = (vec![1; length], vec![2; length / 2]);
        assert_eq!(joined(first.clone(), second.clone()), Ok([first, second].concat()), "{length} bytes");
    }
    let error = joined(vec![0; 33 << 20], vec![0; 33 << 20]).unwrap_err();
    assert!(matches!(&error, CallError::Failed(text) if text.contains("the arguments")), "{error}");
    let error = joined(vec![0; 60 << 20], vec![0; 1 << 10]).map(|bytes| bytes.len());
    assert_eq!(error, Ok((60 << 20) + (1 << 10)));
}

#[test]
fn long_arguments_are_encoded_once() {
    for (length, written) in [(10, 1), (1000, 2), (300_000, 2)] {
        WRITTEN.store(0, Relaxed);
        let sum = (u64::MAX / 3).wrapping_mul(length).wrapping_add(length);
        assert_eq!(counted(Counted(vec![u64::MAX / 3; length as usize])), Ok(sum));
        assert_eq!(WRITTEN.load(Relaxed), written, "{length}: in a frame, or else into memory that grows");
    }
}

#[test]
fn arguments_may_have_any_name() {
    assert_eq!(names(1, 10, 100, 1000, 10_000, 100_000, 1_000_000), Ok(14_175_321));
}

/// Functions of one path, as those of two builds are.
mod builds {
    use banyan_calls::{CallError, isolated};

    pub(super) fn first() -> Result<String, CallError> {
        #[isolated(deadline = "5s")]
        fn pay(to: u32, amount: u32) -> String {
            format!("paid {amount} to {to}")
        }
        pay(7, 100)
    }

    pub(super) fn with_other_order() -> Result<String, CallError> {
        #[isolated(deadline = "5s")]
        fn pay(amount: u32, to: u32) -> String {
            format!("paid {amount} to {to}")
        }
        pay(100, 7)
    }

    pub(super) fn with_other_type() -> Result<String, CallError> {
        #[isolated(deadline = "5s")]
        fn pay(to: i32, amount: u32) -> String {
            format!("paid {amount} to {to}")
        }
        pay(7, 100)
    }
}

#[test]
fn a_call_reaches_the_function_of_its_own_signature_alone() {
    for pay in [builds::first, builds::with_other_order, builds::with_other_type] {
        assert_eq!(pay(), Ok("paid 100 to 7".into()));
    }
}

#[test]
fn spawn_and_sync_keep_the_order_and_all_errors() {
    let mut group = Group::new(4);
    for number in 0..12_u64 {
        spawn!(group, slow(number));
    }
    assert_eq!(group.sync().unwrap(), (0..12).map(|number| number * number).collect::<Vec<_>>());
    let mut group = Group::new(2);
    spawn!(group, panics_or_not(false));
    spawn!(group, panics_or_not(true));
    spawn!(group, panics_or_not(false));
    spawn!(group, panics_or_not(true));
    let error = group.sync().unwrap_err();
    assert_eq!((error.index, error.rest.len(), error.rest[0].0), (1, 1, 3));
}

/// As many threads serve a group as it is wide, however many calls wait for their turn.
#[test]
fn a_hundred_thousand_spawns_are_served_by_few_threads() {
    const SPAWNS: u64 = 100_000;
    const WIDTH: usize = 4;
    // Those of the tests beside this one, with theirs.
    const OTHERS: usize = 60;
    let mut group = Group::new(WIDTH);
    for number in 0..SPAWNS {
        spawn!(group, add(number, 1));
        if number % 10_000 == 0 {
            let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
            assert!(threads <= WIDTH + OTHERS, "{threads} threads");
        }
    }
    let values = group.sync().unwrap();
    assert_eq!(values.len() as u64, SPAWNS);
    assert!(values.iter().zip(1..).all(|(&value, expected)| value == expected));
}

#[test]
fn a_group_that_is_given_up_still_runs_what_was_spawned() {
    let (said, heard) = std::sync::mpsc::channel();
    let mut group = Group::new(2);
    for number in 0..10 {
        let said = said.clone();
        group.spawn(move || said.send(number).map_err(|error| CallError::Failed(error.to_string())));
    }
    drop((group, said));
    let mut numbers: Vec<i32> = heard.iter().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_crash_ends_the_call_that_crashed_and_no_other() {
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            scope.spawn(move || {
                for number in 0..40 {
                    match (thread + number) % 3 {
                        0 => assert!(matches!(crash(true), Err(CallError::Crashed { .. }))),
                        1 => assert_eq!(slow(number), Ok(number * number)),
                        _ => assert_eq!(add(thread, number), Ok(thread + number)),
                    }
                }
            });
        }
    });
}

fn panics_or_not(really: bool) -> Result<u32, CallError> {
    if really { panics("on purpose".into()) } else { Ok(1) }
}

#[test]
fn blobs_are_shared_and_constants_enforced() {
    let connection = open(|_| {});
    let blobs = Blobs::new(&connection);
    let mut values = Blob::<i32, _>::new(&blobs, 1000, Sharing::Writable).unwrap();
    for index in 0..1000 {
        values.set(index, index as i32);
    }
    let before = connection.statistics().pages.load(Relaxed);
    call(&connection, "subject_double", &[values.address(), 1000], &options(5000)).unwrap();
    assert!((0..1000).all(|index| values.get(index) == 2 * index as i32));
    assert_eq!(connection.statistics().pages.load(Relaxed), before, "nothing was copied");
    let mut constant = Blob::<i32, _>::new(&blobs, 1000, Sharing::Constant).unwrap();
    constant.set(3, 9);
    assert_eq!(call(&connection, "subject_sum", &[constant.address(), 1000], &options(5000)), Ok(9));
    let error = call(&connection, "subject_double", &[constant.address(), 1000], &options(5000)).unwrap_err();
    assert!(
        matches!(error, CallError::Crashed { signal: libc::SIGSEGV, address, .. } if address == constant.address()),
        "{error:?}"
    );
    assert_eq!(constant.get(3), 9);
    assert_eq!(
        call(&connection, "subject_sum", &[constant.address(), 1000], &options(5000)),
        Ok(9),
        "blobs outlive workers"
    );
    let address = constant.address();
    assert_eq!(blobs.len(address), 4096);
    drop((values, constant));
    assert!(blobs.is_empty());
}

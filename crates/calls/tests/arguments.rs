//! Every way in which C passes something, both directions, against a call in place.
//!
//! A library is loaded as it is and as a drop-in. Its functions are called both ways with the same
//! arguments by the same typed pointer, and results and all memory must come out alike.
#![allow(clippy::unwrap_used, clippy::type_complexity, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::generate::{Outcome, wrap};
use proptest::prelude::*;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn build(source: &str, to: &Path) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library");
    let mut command = Command::new("gcc");
    command
        .args(["-shared", "-fPIC", "-O1", "-w"])
        .arg(format!("-Wl,-soname,{}", to.file_name().unwrap().display()));
    assert!(command.arg("-o").arg(to).arg(directory.join(source)).status().unwrap().success());
}

struct Libraries {
    plain: usize,
    isolated: usize,
    /// Another drop-in, for calls that end its worker.
    fragile: usize,
    hosts: usize,
    outcome: Outcome,
}

const POLICY: &str = "[function.rows_die]\ndeadline_ms = 300\n[function.rows_float]\nfailure = -1.5\n";

fn libraries() -> &'static Libraries {
    static ALL: OnceLock<Libraries> = OnceLock::new();
    ALL.get_or_init(|| {
        common::configuration();
        let directory = common::directory().join("rows");
        std::fs::create_dir_all(&directory).unwrap();
        let (library, hosts) = (directory.join("librows.so.1"), directory.join("libhosts.so.1"));
        build("rows.c", &library);
        build("hosts.c", &hosts);
        let header = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/library/rows.h");
        let policy = directory.join("policy.toml");
        std::fs::write(&policy, POLICY).unwrap();
        let outcome =
            wrap(&library, std::slice::from_ref(&header), Some(&policy), &directory.join("out")).unwrap();
        let load = |path: &Path| {
            let name = CString::new(path.to_str().unwrap()).unwrap();
            // SAFETY: loads libraries that this test has built.
            let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
            assert!(!handle.is_null(), "{}", path.display());
            handle as usize
        };
        let fragile = wrap(&library, &[header], Some(&policy), &directory.join("fragile")).unwrap();
        let (isolated, fragile) = (load(&outcome.library), load(&fragile.library));
        Libraries { plain: load(&library), isolated, fragile, hosts: load(&hosts), outcome }
    })
}

fn symbol(library: usize, name: &str) -> *mut c_void {
    let text = CString::new(name).unwrap();
    // SAFETY: a handle from `dlopen`.
    let address = unsafe { libc::dlsym(library as *mut c_void, text.as_ptr()) };
    assert!(!address.is_null(), "{name}");
    address
}

/// A symbol of the library in place and of the drop-in.
fn both(name: &str) -> [*mut c_void; 2] {
    let libraries = libraries();
    [libraries.plain, libraries.isolated].map(|library| symbol(library, name))
}

fn host(name: &str) -> *mut c_void {
    symbol(libraries().hosts, name)
}

/// The function in place and from afar, as pointers of the type given.
macro_rules! functions {
    ($name:ident: fn($($kind:ty),* $(; $dots:tt)?) $(-> $result:ty)?) => {{
        type Function = unsafe extern "C" fn($($kind),* $(, $dots)?) $(-> $result)?;
        // SAFETY: the type is that of the function in the header.
        both(stringify!($name)).map(|address| unsafe { std::mem::transmute::<*mut c_void, Function>(address) })
    }};
}

/// Calls both ways; the results must be alike.
macro_rules! same {
    ($functions:expr, $($argument:expr),*) => {{
        let [plain, isolated] = $functions;
        // SAFETY: the arguments suit the function.
        let results = unsafe { (plain($($argument),*), isolated($($argument),*)) };
        prop_assert_eq!(results.0, results.1);
    }};
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point(f64, f64);
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mixed(i32, f64);
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Floats(f32, f32, f32);
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair(i64, i64);
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Large(i64, i64, i64, f64, [u8; 8]);
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bits(u32, u32, [u8; 4]);
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct FloatComplex(f32, f32);

/// Finite numbers: of two NaNs nothing can be said.
fn real() -> impl Strategy<Value = f64> {
    -1e9..1e9_f64
}

fn single() -> impl Strategy<Value = f32> {
    -1e9..1e9_f32
}

fn text(range: std::ops::Range<usize>) -> impl Strategy<Value = CString> {
    prop::collection::vec(1_u8..=255, range).prop_map(|bytes| CString::new(bytes).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn integers(a: i8, b: u8, c: i16, d: u16, e: i32, f: u32, (g, h, i, j) in any::<(i64, u64, bool, i32)>()) {
        same!(functions!(rows_integers: fn(i8, u8, i16, u16, i32, u32, i64, u64, bool, c_int) -> i64), a, b, c, d, e, f, g, h, i, j);
    }

    #[test]
    fn reals(a in single(), v in prop::collection::vec(real(), 7), c in single(), j in single(), k: i32) {
        let f = functions!(rows_reals: fn(f32, f64, f32, f64, f64, f64, f64, f64, f64, f32, c_int) -> f64);
        same!(f, a, v[0], c, v[1], v[2], v[3], v[4], v[5], v[6], j, k);
        same!(functions!(rows_float: fn(f32) -> f32), a);
    }

    #[test]
    fn long_doubles(a: i32, b in real(), c in real(), d in real()) {
        // SAFETY: the types are those of the helper.
        let host: unsafe extern "C" fn(*mut c_void, c_int, f64, f64, f64, *mut u8) = unsafe { std::mem::transmute(host("host_long_double")) };
        let results = both("rows_long_double").map(|function| {
            let mut out = [0_u8; 16];
            // SAFETY: as above.
            unsafe { host(function, a, b, c, d, out.as_mut_ptr()) };
            out
        });
        prop_assert_eq!(results[0], results[1]);
        // SAFETY: the types are those of the helper.
        let host: unsafe extern "C" fn(*mut c_void, f64, *mut u8) = unsafe { std::mem::transmute(self::host("host_wide")) };
        let results = both("rows_wide").map(|function| {
            let mut out = [0_u8; 16];
            // SAFETY: as above.
            unsafe { host(function, b, out.as_mut_ptr()) };
            out
        });
        prop_assert_eq!(results[0], results[1]);
    }

    #[test]
    fn structures_by_value((a, b, c, d) in any::<(i64, i64, i64, i64)>(), n: i32, x in real(), y in real(), f in single(), g in single(), t: [u8; 8]) {
        same!(functions!(rows_point: fn(Point, f64) -> Point), Point(x, y), y);
        same!(functions!(rows_mixed: fn(Mixed, Mixed) -> Mixed), Mixed(n / 2, x), Mixed(n / 3, y));
        same!(functions!(rows_floats: fn(Floats) -> Floats), Floats(f, g, f));
        same!(functions!(rows_pair: fn(i64, i64, i64, i64, i64, Pair, i64) -> Pair), a, b, c, d, a, Pair(b, c), d);
        same!(functions!(rows_large: fn(Large, c_int) -> Large), Large(a, b, c, x, t), n);
        same!(functions!(rows_either: fn(i32) -> i32), n);
        let results = functions!(rows_bits: fn(Bits) -> Bits).map(|function| {
            // SAFETY: the structure is the header's, with its bit-fields in words of their own.
            let bits = unsafe { function(Bits(n as u32 & 7, a as u32 & 0x3fff_ffff, [t[0], t[1], t[2], t[3]])) };
            // The bits between the fields are unused.
            (bits.0 & 7, bits.1 & 0x3fff_ffff, bits.2)
        });
        prop_assert_eq!(results[0], results[1]);
        same!(functions!(rows_complex: fn(Point, FloatComplex) -> Point), Point(x, y), FloatComplex(f, g));
    }

    #[test]
    fn strings_and_buffers(text in text(0..9000), values in prop::collection::vec(any::<i32>(), 0..20_000), first: i32, (w, h) in (0..300_usize, 0..50_usize), shift in 0..64_usize) {
        same!(functions!(rows_string: fn(*const c_char) -> u64), text.as_ptr());
        same!(functions!(rows_counted: fn(*const i32, usize) -> i64), values.as_ptr(), values.len());
        let out = functions!(rows_image: fn(*mut u8, usize, usize, c_int)).map(|function| {
            let mut out = vec![0xaa_u8; w * h + 128];
            // SAFETY: the buffer is longer than the product.
            unsafe { function(out[shift..].as_mut_ptr(), w, h, first) };
            out
        });
        prop_assert!(out[0] == out[1], "the image, and nothing beside it");
        let out = functions!(rows_reverse: fn(*mut c_char)).map(|function| {
            let mut copy = text.clone().into_bytes_with_nul();
            // SAFETY: a string in memory of ours.
            unsafe { function(copy.as_mut_ptr().cast()) };
            copy
        });
        prop_assert!(out[0] == out[1]);
        let out = functions!(rows_capacity: fn(*mut u8, *mut usize, *const u8, usize) -> c_int).map(|function| {
            let (mut out, mut length) = (vec![0_u8; w * h], w * h);
            let bytes = text.as_bytes();
            // SAFETY: the capacity is the buffer's.
            let result = unsafe { function(out.as_mut_ptr(), &raw mut length, bytes.as_ptr(), bytes.len()) };
            (result, length, out)
        });
        prop_assert!(out[0] == out[1]);
    }

    #[test]
    fn structures_with_pointers_in_them(names in prop::collection::vec(text(1..40), 1..200), values in prop::collection::vec(any::<i32>(), 200)) {
        #[repr(C)]
        struct Tree { value: i64, left: *mut Tree, right: *mut Tree, name: *mut u8 }
        let function = functions!(rows_tree: fn(*mut Tree) -> i64);
        let results = function.map(|function| {
            let mut texts: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes_with_nul().to_vec()).collect();
            let mut nodes: Vec<Box<Tree>> = texts.iter_mut().zip(&values)
                .map(|(name, &value)| Box::new(Tree { value: value.into(), left: std::ptr::null_mut(), right: std::ptr::null_mut(), name: name.as_mut_ptr() }))
                .collect();
            for child in 1..nodes.len() {
                let pointer = &raw mut *nodes[child];
                let parent = &mut nodes[(child - 1) / 2];
                if child % 2 == 1 { parent.left = pointer } else { parent.right = pointer }
            }
            // SAFETY: a tree of live nodes.
            let sum = unsafe { function(&raw mut *nodes[0]) };
            let place = |pointer: *mut Tree| nodes.iter().position(|node| std::ptr::eq(&raw const **node, pointer));
            let shape: Vec<_> = nodes.iter().map(|node| (node.value, place(node.left), place(node.right))).collect();
            (sum, shape, texts)
        });
        prop_assert!(results[0] == results[1]);
    }

    #[test]
    fn what_a_library_keeps(values in prop::collection::vec(any::<i32>(), 1..5000), change: i32) {
        let mut values = values;
        let keep = functions!(rows_keep: fn(*const i32, usize));
        // SAFETY: the buffer lives as long as the library reads it.
        unsafe { for keep in keep { keep(values.as_ptr(), values.len()); } }
        let middle = values.len() / 2;
        // SAFETY: as above; the program changes the buffer behind the library's back.
        unsafe { values.as_mut_ptr().add(middle).write_volatile(change) };
        same!(functions!(rows_kept: fn() -> i64),);
    }

    #[test]
    fn handles_and_strings_of_the_library(start: i32, steps in prop::collection::vec(any::<i16>(), 0..20)) {
        let open = functions!(rows_open: fn(i64) -> usize);
        let step = functions!(rows_step: fn(usize, i64) -> i64);
        let name = functions!(rows_name: fn(usize, *mut i64) -> *const c_char);
        let close = functions!(rows_close: fn(usize));
        let results: Vec<_> = (0..2).map(|way| {
            // SAFETY: the handle is closed once, last.
            unsafe {
                let session = open[way](start.into());
                let sums: Vec<i64> = steps.iter().map(|&by| step[way](session, by.into())).collect();
                let mut count = 0;
                let found = name[way](session, &raw mut count);
                assert!(!found.is_null(), "{}", std::io::Error::last_os_error());
                let text = CStr::from_ptr(found).to_owned();
                close[way](session);
                (sums, count, text)
            }
        }).collect();
        prop_assert_eq!(&results[0], &results[1]);
    }

    #[test]
    fn any_number_of_arguments(a: i32, b in real(), c in text(0..50), d: i64, more in prop::collection::vec(any::<i64>(), 30)) {
        let format = c"%d %.3f %s %ld %x %c %5d %-8s| %.1f %ld%n %%";
        let function = functions!(rows_format: fn(*mut c_char, usize, *const c_char; ...) -> c_int);
        // SAFETY: the types are those of the helper.
        let host_list: unsafe extern "C" fn(*mut c_void, *mut c_char, usize, *const c_char, ...) -> c_int = unsafe { std::mem::transmute(host("host_list")) };
        // SAFETY: as above.
        let host_long: unsafe extern "C" fn(*mut c_void, *mut c_char, usize, f64) -> c_int = unsafe { std::mem::transmute(host("host_long_format")) };
        let results: Vec<_> = (0..2).map(|way| {
            let mut out = [[0_u8; 300]; 3];
            let mut at = [0_i32; 2];
            // SAFETY: the arguments are those of the format.
            let lengths = unsafe {[
                function[way](out[0].as_mut_ptr().cast(), 300, format.as_ptr(), a, b, c.as_ptr(), d, a, 65, a, c"left".as_ptr(), b, d, &raw mut at[0]),
                host_list(both("rows_list")[way], out[1].as_mut_ptr().cast(), 300, format.as_ptr(), a, b, c.as_ptr(), d, a, 65, a, c"left".as_ptr(), b, d, &raw mut at[1]),
                host_long(both("rows_format")[way], out[2].as_mut_ptr().cast(), 300, b),
            ]};
            (lengths, out.map(|one| one.to_vec()), at)
        }).collect();
        prop_assert_eq!(&results[0], &results[1]);
        let [plain, isolated] = functions!(rows_total: fn(c_int; ...) -> i64);
        let m = &more;
        macro_rules! total { ($f:expr) => { $f(30, m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[10], m[11], m[12], m[13], m[14],
            m[15], m[16], m[17], m[18], m[19], m[20], m[21], m[22], m[23], m[24], m[25], m[26], m[27], m[28], m[29]) } }
        // SAFETY: thirty arguments follow the thirty.
        unsafe { prop_assert_eq!(total!(plain), total!(isolated)) };
    }

    #[test]
    fn call_backs(count in 0..40_i64, text in text(64..65), scale in real(), values in prop::collection::vec(any::<i32>(), 0..600), depth in 0..12_i64) {
        #[repr(C)]
        struct Seen { scale: f64, calls: i64, bytes: u64 }
        unsafe extern "C" fn visit(index: i64, quarter: f64, text: *const c_char, seen: *mut Seen, a: c_int, b: c_int, c: c_int, square: i64) -> f64 {
            // SAFETY: both pointers went through the library, from the test.
            unsafe {
                (*seen).calls += 1;
                (*seen).bytes = (*seen).bytes.wrapping_mul(31).wrapping_add(*text as u64);
                quarter * (*seen).scale + (index + i64::from(a + b + c) + square) as f64
            }
        }
        let results = functions!(rows_visit: fn(unsafe extern "C" fn(i64, f64, *const c_char, *mut Seen, c_int, c_int, c_int, i64) -> f64, i64, *const c_char, *mut Seen) -> f64).map(|function| {
            let mut seen = Seen { scale, calls: 0, bytes: 0 };
            // SAFETY: the text is longer than the count.
            let sum = unsafe { function(visit, count, text.as_ptr(), &raw mut seen) };
            (sum.to_bits(), seen.calls, seen.bytes)
        });
        prop_assert_eq!(results[0], results[1]);

        unsafe extern "C" fn compare(a: *const i32, b: *const i32) -> c_int {
            // SAFETY: elements of the array, wherever the library keeps them.
            unsafe { (*a).cmp(&*b) as c_int }
        }
        let results = functions!(rows_sort: fn(*mut i32, usize, unsafe extern "C" fn(*const i32, *const i32) -> c_int)).map(|function| {
            let mut copy = values.clone();
            // SAFETY: the array's own length.
            unsafe { function(copy.as_mut_ptr(), copy.len(), compare) };
            copy
        });
        prop_assert_eq!(&results[0], &results[1]);

        type Recurse = unsafe extern "C" fn(unsafe extern "C" fn(i64, *mut c_void) -> i64, i64, *mut c_void) -> i64;
        unsafe extern "C" fn again(depth: i64, data: *mut c_void) -> i64 {
            // SAFETY: the data is the function itself.
            unsafe { std::mem::transmute::<*mut c_void, Recurse>(data)(again, depth - 1, data) * 2 }
        }
        let results = both("rows_recurse").map(|address| {
            // SAFETY: the type is the function's.
            unsafe { std::mem::transmute::<*mut c_void, Recurse>(address)(again, depth, address) }
        });
        prop_assert_eq!(results[0], results[1]);
    }

    #[test]
    fn errors_and_jumps(value in 0..4000_i32, times in 0..6_i32) {
        let results = functions!(rows_errno: fn(c_int) -> c_int).map(|function| {
            // SAFETY: a number.
            let result = unsafe { function(value) };
            (result, std::io::Error::last_os_error().raw_os_error())
        });
        prop_assert_eq!(results[0], results[1]);
        same!(functions!(rows_own_jump: fn(c_int) -> c_int), value);
        // SAFETY: the types are those of the helper.
        let host: unsafe extern "C" fn(*mut c_void, c_int) -> c_int = unsafe { std::mem::transmute(host("host_longjmp")) };
        // SAFETY: as above.
        let results = both("rows_longjmp").map(|function| unsafe { host(function, times) });
        prop_assert_eq!(results[0], results[1]);
    }

    #[test]
    fn files_and_descriptors(lines in prop::collection::vec("[a-z]{1,30}", 1..8), number: i32, length in 0..5000_usize) {
        let write = functions!(rows_write: fn(*mut libc::FILE, *const c_char, c_int) -> c_int);
        let read = functions!(rows_read: fn(*mut libc::FILE, *mut c_char, c_int) -> c_int);
        let copy = functions!(rows_copy: fn(c_int, c_int) -> i64);
        let results: Vec<_> = (0..2).map(|way| {
            // SAFETY: streams and descriptors are opened, used and closed here.
            unsafe {
                let file = libc::tmpfile();
                let mut seen: Vec<i64> = Vec::new();
                libc::fputs(c"first\n".as_ptr(), file);
                for line in &lines {
                    let line = CString::new(line.as_str()).unwrap();
                    seen.push(write[way](file, line.as_ptr(), number).into());
                }
                seen.push(libc::ftell(file));
                libc::rewind(file);
                let mut texts = Vec::new();
                let mut text = [0_u8; 40];
                while read[way](file, text.as_mut_ptr().cast(), 40) >= 0 {
                    texts.push(text);
                }
                libc::fclose(file);
                let files = [0, 1].map(|_| libc::memfd_create(c"copy".as_ptr(), 0));
                let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
                libc::pwrite(files[0], bytes.as_ptr().cast(), length, 0);
                seen.push(copy[way](files[0], files[1]));
                let mut there = vec![0_u8; length + 1];
                seen.push(libc::pread(files[1], there.as_mut_ptr().cast(), length + 1, 0) as i64);
                files.into_iter().for_each(|file| assert_eq!(libc::close(file), 0));
                (seen, texts, there)
            }
        }).collect();
        prop_assert!(results[0] == results[1]);
    }

    #[test]
    fn variables(set in 0..1_000_000_i64, counts in 0..5, title in text(0..60)) {
        let [counters, titles, words] = ["rows_counter", "rows_title", "rows_words"].map(both);
        let count = functions!(rows_count: fn());
        let length = functions!(rows_title_length: fn() -> i64);
        let results: Vec<_> = (0..2).map(|way| {
            // SAFETY: the library's variables, of these types; the title outlives its use.
            unsafe {
                let counter = counters[way].cast::<i64>();
                counter.write_volatile(set);
                for _ in 0..counts { count[way](); }
                let title_at = titles[way].cast::<*const c_char>();
                let before = title_at.read_volatile();
                assert!(!before.is_null(), "the library was not opened");
                title_at.write_volatile(title.as_ptr());
                let seen = length[way]();
                title_at.write_volatile(before);
                let first = CStr::from_ptr(before).to_owned();
                let words = words[way].cast::<[*const c_char; 3]>().read_volatile().map(|word| CStr::from_ptr(word).to_owned());
                (counter.read_volatile(), seen, first, words, length[way]())
            }
        }).collect();
        prop_assert_eq!(&results[0], &results[1]);
    }
}

#[test]
fn each_end_of_the_library_is_an_error() {
    let fragile = |name| symbol(libraries().fragile, name);
    // SAFETY: the types are those of the header.
    let (die, step, open, add) = unsafe {
        let die: unsafe extern "C" fn(c_int) = std::mem::transmute(fragile("rows_die"));
        let step: unsafe extern "C" fn(usize, i64) -> i64 = std::mem::transmute(fragile("rows_step"));
        let open: unsafe extern "C" fn(i64) -> usize = std::mem::transmute(fragile("rows_open"));
        let add: unsafe extern "C" fn(*const i32, usize) -> i64 =
            std::mem::transmute(fragile("rows_counted"));
        (die, step, open, add)
    };
    for (how, errno) in [(1, libc::EIO), (2, libc::EIO), (3, libc::EIO), (4, libc::ETIMEDOUT)] {
        // SAFETY: the functions are called as declared; the handle goes stale on purpose.
        unsafe {
            let session = open(5);
            assert_eq!(step(session, 1), 6);
            die(how);
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(errno), "how {how}");
            assert_eq!(step(session, 1), -1, "how {how} {session:x}");
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ESTALE), "how {how}");
            assert_eq!(add([1, 2, 3].as_ptr(), 3), 14);
        }
    }
}

#[test]
fn what_cannot_be_passed_is_refused_by_file_and_line() {
    let report = &libraries().outcome;
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let refused: Vec<_> = report.coverage.iter().filter(|one| one.status == "refused").collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].name, "rows_packed");
    assert!(refused[0].reason.contains("rows.h:") && refused[0].reason.contains("packed"), "{refused:?}");
    let annotated = report.coverage.iter().filter(|one| one.status == "annotated").count();
    assert_eq!(annotated, 2);
    #[repr(C, packed)]
    #[derive(Clone, Copy)]
    struct Packed(u8, i64);
    let [_, isolated] = functions!(rows_packed: fn(Packed) -> Packed);
    // SAFETY: the refused function only clears the result.
    let result = unsafe { isolated(Packed(1, 2)) };
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS));
    let _ = result;
}

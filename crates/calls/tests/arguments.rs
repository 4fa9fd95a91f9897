//! Every kind of argument, both ways, against the library as it is.
#![allow(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test may fail by panicking")]

mod common;

use banyan_wire::call_frame::Registers;
use common::{call, call_with, number, open, options};
use std::ffi::{CStr, c_char};

#[test]
fn scalars_and_stack_arguments() {
    let connection = open(|_| {});
    let sum = call(&connection, "subject_add", &[1, 2, 3, 4, 5, 6, 7, 8], &options(5000)).unwrap();
    assert_eq!(sum, 36);
}

#[test]
fn floats_and_long_doubles() {
    let connection = open(|_| {});
    let mut registers = Registers::default();
    registers.general[0] = 7;
    registers.vector[0][0] = 2.5_f64.to_bits();
    registers.vector[1][0] = u64::from(4.0_f32.to_bits());
    registers.vector[2][0] = 1.25_f64.to_bits();
    call_with(&connection, "subject_scale", &mut registers, &[]).unwrap();
    assert_eq!(f64::from_bits(registers.vector[0][0]), 2.5 * 4.0 + 7.0 - 1.25);
    // 3.0 as an 80-bit number: on the stack on the way in, in st(0) on the way out.
    let three = [0xc000_0000_0000_0000, 0x4000];
    let mut registers = Registers { results: common::LONG_DOUBLE, ..Registers::default() };
    call_with(&connection, "subject_long", &mut registers, &three).unwrap();
    assert_eq!([registers.st0[0], registers.st0[1] & 0xffff], [0xc000_0000_0000_0000, 0x4001]);
}

#[test]
fn buffers_in_out_and_both() {
    let connection = open(|_| {});
    for count in [1_usize, 3, 100, 5000, 100_000] {
        let mut values: Vec<i32> = (0..count as i32).collect();
        let arguments = [values.as_mut_ptr() as u64, count as u64];
        let sum = call(&connection, "subject_sum", &arguments, &options(5000)).unwrap();
        assert_eq!(sum as i64, values.iter().map(|&value| i64::from(value)).sum::<i64>());
        call(&connection, "subject_double", &arguments, &options(5000)).unwrap();
        assert!(values.iter().enumerate().all(|(index, &value)| value == 2 * index as i32));
        let mut bytes = vec![0_u8; count + 2];
        call(&connection, "subject_fill", &[bytes.as_mut_ptr() as u64 + 1, count as u64, 9], &options(5000))
            .unwrap();
        assert_eq!((bytes[0], bytes[count + 1]), (0, 0), "the neighbours are untouched");
        assert!(bytes[1..=count].iter().enumerate().all(|(index, &byte)| byte == (9 + index) as u8));
    }
}

#[repr(C)]
struct Inner {
    value: i64,
    next: *mut Inner,
}

#[test]
fn structures_with_pointers_inside() {
    let connection = open(|_| {});
    let mut third = Box::new(Inner { value: 30, next: std::ptr::null_mut() });
    let mut second = Box::new(Inner { value: 20, next: &raw mut *third });
    let mut first = Inner { value: 10, next: &raw mut *second };
    let sum = call(&connection, "subject_list", &[(&raw mut first) as u64], &options(5000)).unwrap();
    assert_eq!(sum, 60);
    // SAFETY: reads what the callee changed behind the compiler's back.
    let values = unsafe {
        [
            (&raw const first.value).read_volatile(),
            (&raw const second.value).read_volatile(),
            (&raw const third.value).read_volatile(),
        ]
    };
    assert_eq!(values, [-10, -20, -30]);
}

#[test]
fn structures_by_value() {
    let connection = open(|_| {});
    // The small one travels in rdi and xmm0, and returns in rax and xmm0.
    let mut registers = Registers::default();
    registers.general[0] = 5;
    registers.vector[0][0] = 1.5_f64.to_bits();
    call_with(&connection, "subject_small", &mut registers, &[]).unwrap();
    assert_eq!(registers.rax as i32, -5);
    assert_eq!(f64::from_bits(registers.vector[0][0]), -1.5);
    // The large one travels on the stack, and returns where rdi points.
    let mut result = [0_u64; 4];
    let mut registers = Registers::default();
    registers.general[0] = result.as_mut_ptr() as u64;
    call_with(&connection, "subject_big", &mut registers, &[1, 2, 3, 8.0_f64.to_bits()]).unwrap();
    // SAFETY: reads what the callee changed behind the compiler's back.
    let result = unsafe { result.as_ptr().cast::<[u64; 4]>().read_volatile() };
    assert_eq!((result[0], result[1], result[2], f64::from_bits(result[3])), (2, 1, 6, 4.0));
}

#[test]
fn memory_of_the_callee_is_readable_here() {
    let connection = open(|_| {});
    let version = call(&connection, "subject_version", &[], &options(5000)).unwrap();
    // SAFETY: a constant of the library, which lies at the same address here.
    assert_eq!(unsafe { CStr::from_ptr(version as *const c_char) }, c"subject 1");
    let made = call(&connection, "subject_make", &[77], &options(5000)).unwrap();
    // SAFETY: memory that the library allocated on its heap.
    unsafe {
        assert_eq!((made as *const i32).read_volatile(), 77);
        (made as *mut i32).write_volatile(78);
    }
    call(&connection, "subject_drop", &[made], &options(5000)).unwrap();
    assert_eq!(call(&connection, "subject_count", &[], &options(5000)).unwrap(), 42);
    let counter = call(&connection, "subject_counter", &[], &options(5000)).unwrap();
    // SAFETY: a variable of the library.
    assert_eq!(unsafe { (counter as *const i32).read_volatile() }, 42);
}

extern "C" fn plain(value: i64, half: f64, data: *mut i64) -> i64 {
    // SAFETY: the test passes its own variable through the library.
    unsafe { *data += 1 };
    value * 10 + half as i64
}

extern "C" fn nested(value: i64, _: f64, data: *mut i64) -> i64 {
    // SAFETY: the test passes the connection's address and a level.
    let (connection, level) = unsafe { (&*((*data) as *const banyan_calls::Connection), &mut *data.add(1)) };
    *level += 1;
    if value == 0 {
        return 0;
    }
    let arguments = [nested as *const () as u64, value as u64 - 1, data as u64];
    call(connection, "subject_apply", &arguments, &options(5000)).unwrap() as i64
}

#[test]
fn call_backs_with_floats_and_nested() {
    let connection = open(|_| {});
    let mut seen = 0_i64;
    let arguments = [plain as *const () as u64, 6, (&raw mut seen) as u64];
    assert_eq!(call(&connection, "subject_apply", &arguments, &options(5000)).unwrap(), 64);
    // SAFETY: the call-back changed it behind the compiler's back.
    assert_eq!(unsafe { (&raw const seen).read_volatile() }, 1);
    let mut data = [(&raw const connection) as i64, 0];
    let arguments = [nested as *const () as u64, 10, data.as_mut_ptr() as u64];
    assert_eq!(call(&connection, "subject_apply", &arguments, &options(5000)).unwrap(), 11);
    // SAFETY: as above.
    assert_eq!(unsafe { data.as_ptr().add(1).read_volatile() }, 11);
    // Deeper than supported is an error in the innermost call, not a crash.
    assert_eq!(call(&connection, "subject_count", &[], &options(5000)).unwrap(), 42);
}

#[test]
fn errno_travels_both_ways() {
    let connection = open(|_| {});
    let result = call(&connection, "subject_errno", &[libc::EXDEV as u64], &options(5000)).unwrap();
    assert_eq!(result as i32, -1);
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EXDEV));
}

#[test]
fn variadic_functions() {
    let connection = open(|_| {});
    let mut text = [0_u8; 200];
    let mut registers = Registers::default();
    registers.general = [
        text.as_mut_ptr() as u64,
        200,
        c"%d %s %.2f %ld %ld %ld %.1f".as_ptr() as u64,
        42,
        c"words".as_ptr() as u64,
        1,
    ];
    registers.rax = 2;
    registers.vector[0][0] = 2.5_f64.to_bits();
    registers.vector[1][0] = 9.25_f64.to_bits();
    call_with(&connection, "subject_format", &mut registers, &[2, 3]).unwrap();
    // SAFETY: the callee wrote a string behind the compiler's back.
    let got = unsafe { CStr::from_ptr((&raw const text).cast()) };
    assert_eq!(got, c"42 words 2.50 1 2 3 9.2");
    assert_eq!(registers.rax, 23);
}

#[test]
fn a_file_of_the_caller_is_written_by_the_caller() {
    let connection = open(|configuration| {
        configuration.stdio = vec![("fwrite".into(), libc::fwrite as *const () as u64)];
    });
    let path = common::directory().join("written");
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the stream is opened, used and closed here.
    unsafe {
        let file = libc::fopen(name.as_ptr(), c"w".as_ptr());
        let arguments = [file as u64, c"from afar".as_ptr() as u64];
        assert_eq!(call(&connection, "subject_write", &arguments, &options(5000)).unwrap(), 9);
        libc::fclose(file);
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "from afar");
    std::fs::remove_file(path).unwrap();
    assert_eq!(number("subject_version"), 0);
}

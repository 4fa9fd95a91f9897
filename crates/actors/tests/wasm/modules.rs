//! Modules that are refused, and with which words.

use banyan_actors::wasm::{Engine, EngineOptions, Limits, ModuleError};

use super::{binary, engine, text};

const RECEIVE: &str = r#"(func (export "banyan_receive") (param i32 i32 i32))"#;

fn refused(wat: &str) -> String {
    let bytes = wat::parse_str(wat).expect("the test's module is well-formed");
    match engine().compile(&bytes) {
        Ok(_) => panic!("this module must be refused: {wat}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_a_snapshot_would_miss_is_refused() {
    let cases = [
        (
            "(table $t 2 funcref) (func (table.set $t (i32.const 0) (ref.null func)))",
            "table.set changes state",
        ),
        (
            "(table $t 2 funcref) (func (drop (table.grow $t (ref.null func) (i32.const 1))))",
            "table.grow changes",
        ),
        (
            "(table $t 2 funcref) (func (table.fill $t (i32.const 0) (ref.null func) (i32.const 1)))",
            "table.fill",
        ),
        (
            "(table $t 2 funcref) (func (table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 1)))",
            "table.copy",
        ),
        (
            "(table $t 2 funcref) (elem $e func 0) (func (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1)))",
            "table.init",
        ),
        ("(elem $e func 0) (func (elem.drop $e))", "elem.drop changes state"),
        ("(data $d \"x\") (func (data.drop $d))", "function 12, byte"),
        ("(global (mut funcref) (ref.null func))", "a mutable global that holds a reference"),
    ];
    for (part, expected) in cases {
        let error = refused(&text(&format!("{RECEIVE} {part}")));
        assert!(error.contains(expected), "{part}: {error}");
    }
}

#[test]
fn imports_are_host_functions_and_nothing_else() {
    let with =
        |import: &str| format!(r#"(module {import} (memory 1) (func (export "banyan_abi_1")) {RECEIVE})"#);
    let cases = [
        (
            r#"(import "env" "system" (func (param i32) (result i32)))"#,
            r#"imports "env" "system", which is not offered"#,
        ),
        (r#"(import "banyan" "exec" (func))"#, r#"imports "banyan" "exec""#),
        (r#"(import "wasi_snapshot_preview1" "fd_write" (func))"#, "wasi_snapshot_preview1"),
        (
            r#"(import "banyan" "time" (func (result i32)))"#,
            "time has the type () -> (i32), and must have () -> (i64)",
        ),
        (r#"(import "env" "table" (table 1 funcref))"#, "an imported table"),
        (r#"(import "env" "global" (global i32))"#, "an imported global"),
    ];
    for (import, expected) in cases {
        let error = refused(&with(import));
        assert!(error.contains(expected), "{import}: {error}");
    }
    let imported =
        format!(r#"(module (import "env" "memory" (memory 1)) (func (export "banyan_abi_1")) {RECEIVE})"#);
    assert!(refused(&imported).contains("an imported memory"));
}

#[test]
fn the_interface_must_be_there() {
    let cases = [
        (format!("(module (memory 1) {RECEIVE})"), "exports no function banyan_abi_1"),
        (
            format!(r#"(module (memory 1) (func (export "banyan_abi_2")) {RECEIVE})"#),
            "speaks version 2 of the guest interface, and this host speaks 1",
        ),
        (r#"(module (memory 1) (func (export "banyan_abi_1")))"#.into(), "exports no function banyan_receive"),
        (
            r#"(module (memory 1) (func (export "banyan_abi_1")) (func (export "banyan_receive") (param i32)))"#.into(),
            "banyan_receive has the type (i32) -> (), and must have (i32, i32, i32) -> ()",
        ),
        (
            format!(r#"(module (memory 1) (func (export "banyan_abi_1")) {RECEIVE} (func (export "banyan_start")))"#),
            "banyan_start has the type",
        ),
        (format!(r#"(module (func (export "banyan_abi_1")) {RECEIVE})"#), "defines 0 memories"),
        (text(&format!(r#"{RECEIVE} (func (export "banyan:memory"))"#)), "reserved"),
        (text(&format!(r#"{RECEIVE} (data (i32.const 131071) "xy")"#)), "data segment 0 ends at byte 131073"),
        (text(&format!(r#"{RECEIVE} (data (i32.const -1) "x")"#)), "ends at byte 4294967296"),
    ];
    for (module, expected) in cases {
        let error = refused(&module);
        assert!(error.contains(expected), "{module}: {error}");
    }
}

#[test]
fn other_kinds_of_webassembly_are_refused() {
    let cases = [
        format!(r#"(module (memory 1 2 shared) (func (export "banyan_abi_1")) {RECEIVE})"#),
        format!(r#"(module (memory 1) (memory 1) (func (export "banyan_abi_1")) {RECEIVE})"#),
        format!(r#"(module (memory i64 1) (func (export "banyan_abi_1")) {RECEIVE})"#),
        text(&format!("{RECEIVE} (type (struct (field i32)))")),
        text(&format!("{RECEIVE} (tag)")),
        text(&format!("{RECEIVE} (global externref (ref.null extern))")),
    ];
    for module in cases {
        let error = refused(&module);
        assert!(error.contains("not valid WebAssembly"), "{module}: {error}");
    }
    assert!(matches!(engine().compile(b"\0asm\x0d\0\x01\0"), Err(ModuleError::Component)));
    assert!(matches!(engine().compile(b""), Err(ModuleError::Invalid(_))));
    assert!(matches!(engine().compile(b"#!/bin/sh\n"), Err(ModuleError::Invalid(_))));
}

#[test]
fn limits_name_what_there_is_too_much_of() {
    let limits = Limits {
        module_bytes: 2_000,
        functions: 20,
        function_bytes: 100,
        globals: 3,
        tables: 1,
        table_elements: 5,
        data_segments: 2,
        data_bytes: 1_000,
        exports: 4,
        memory_bytes: 2 << 16,
    };
    let engine = Engine::new(EngineOptions { limits, ..EngineOptions::default() }).unwrap();
    assert!(engine.compile(&binary(RECEIVE)).is_ok());
    let cases = [
        (format!("(data \"{}\")", "x".repeat(3_000)), "bytes, and 2000 are allowed"),
        ("(func)".repeat(21), "23 functions, and 20"),
        (format!("(func {})", "(drop (i32.const 1))".repeat(40)), "bytes in one function, and 100"),
        ("(global i32 (i32.const 1))".repeat(4), "4 globals, and 3"),
        ("(table 1 funcref)".repeat(2), "2 tables, and 1"),
        ("(table 6 funcref)".into(), "6 elements of tables, and 5"),
        ("(data \"x\")".repeat(3), "3 data segments, and 2"),
        (
            format!("(data (i32.const 8) \"{0}\") (data (i32.const 0) \"{0}\")", "x".repeat(501)),
            "1002 bytes of data at the start, and 1000",
        ),
        (r#"(export "a" (func 0)) (export "b" (func 0)) (export "c" (func 0))"#.into(), "5 exports, and 4"),
    ];
    for (part, expected) in cases {
        let error = engine.compile(&binary(&format!("{RECEIVE} {part}"))).unwrap_err().to_string();
        assert!(error.contains(expected), "{part}: {error}");
    }
    let large = text(RECEIVE).replace("(memory 2)", "(memory 3)");
    let error = engine.compile(&wat::parse_str(large).unwrap()).unwrap_err().to_string();
    assert!(error.contains("196608 bytes of memory at the start, and 131072"), "{error}");
}

/// What compilers emit for plain wasm32 is taken.
#[test]
fn ordinary_parts_are_taken() {
    let body = r#"(func (export "banyan_receive") (param i32 i32 i32))
        (table 3 funcref) (elem (i32.const 1) 10 11)
        (global i32 (i32.const 7)) (global (export "__heap_base") i32 (i32.const 1024))
        (data (offset (i32.add (i32.const 100) (i32.const 24))) "constants may be added")
        (func (param i32) (result i32 i32) (local.get 0) (i32.extend8_s (local.get 0)))
        (func (memory.copy (i32.const 0) (i32.const 8) (i32.const 8)))
        (@custom "producers" "any tool")"#;
    engine().compile(&binary(body)).unwrap();
}

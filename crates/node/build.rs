//! Builds the stub image with its own profile and link arguments, so that a plain `cargo build` builds
//! everything.
//!
//! The image is a static, position-dependent ELF at the address that `wire::address_space` reserves, without
//! a C library. A build of its own keeps Cargo from unifying its features with the rest of the workspace, and
//! a target directory of its own keeps the two Cargo processes from waiting for each other.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use banyan_wire::address_space::STUB;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let crates = manifest.parent().expect("the crate lies in crates/");
    for part in [
        "stub/src",
        "stub/Cargo.toml",
        "stub/no_unwind_tables.ld",
        "../Cargo.toml",
        "sys/src",
        "sys/Cargo.toml",
        "wire/src",
        "wire/Cargo.toml",
    ] {
        println!("cargo:rerun-if-changed={}", crates.join(part).display());
    }
    let target = "x86_64-unknown-linux-gnu";
    let image_base = format!("-Clink-arg=--image-base={:#x}", STUB.start);
    let unwind_tables = format!("-Clink-arg=-T{}", crates.join("stub/no_unwind_tables.ld").display());
    let flags = [
        "-Crelocation-model=pic",
        "-Clinker=rust-lld",
        "-Clinker-flavor=ld.lld",
        "-Ctarget-feature=+crt-static",
        image_base.as_str(),
        "-Clink-arg=-nostdlib",
        "-Clink-arg=--no-pie",
        "-Clink-arg=--no-dynamic-linker",
        "-Clink-arg=--gc-sections",
        // Nothing unwinds in the stub, and tables for it would be a seventh of the image.
        "-Clink-arg=--no-eh-frame-hdr",
        unwind_tables.as_str(),
        // Equal code is there once: functions that are alike, and sequences of instructions.
        "-Clink-arg=--icf=all",
        "-Cllvm-args=--enable-machine-outliner=always",
        // Where a function becomes part of its caller: between 5 and 60, this gives the smallest image.
        "-Cllvm-args=--inline-threshold=15",
        // Read by nobody: the launcher and the kernel look at segments, and there is nothing to relocate.
        "-Clink-arg=-znosectionheader",
        "-Clink-arg=-znorelro",
        // The segments lie on pages of their own in memory, and close together in the file.
        "-Clink-arg=-znoseparate-code",
        // What a panic says of where it was.
        "--remap-path-prefix=crates/stub/src/=",
    ];
    let directory = out.join("stub");
    let status = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .arg("build")
        .args(["--profile", "stub", "--features", "image", "--bin", "banyan-stub", "--target", target])
        .arg("--manifest-path")
        .arg(crates.join("stub/Cargo.toml"))
        .arg("--target-dir")
        .arg(&directory)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        // Wrappers of the outer build, such as clippy's, must not check the image again.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .status()
        .expect("cargo can be run again");
    assert!(status.success(), "building the stub image failed");
    let image = directory.join(target).join("stub/banyan-stub");
    println!("cargo:rustc-env=BANYAN_STUB_IMAGE={}", image.display());
}

#!/usr/bin/env bash
# Builds the example guests into examples/guests/prebuilt, which is what the tests run.
#
# Rust: with the target wasm32-unknown-unknown installed (rustup target add wasm32-unknown-unknown), plain cargo does. Without
# it, Debian's rustc-web and rust-web-src do: the standard library is then built from its source.
# C: clang and wasm-ld, of any version.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p prebuilt

first_of() {
    for program in "$@"; do
        if command -v "$program" >/dev/null; then
            command -v "$program"
            return
        fi
    done
    echo "None of these programs is here: $*" >&2
    return 1
}

target=wasm32-unknown-unknown
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/auction/target}
# Where the sources lie must not be in the module: it is in the words of panics.
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-Clink-arg=-zstack-size=65536 --remap-path-prefix=$(cd ../.. && pwd)=. \
    --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
if [ -d "$(rustc --print target-libdir --target $target)" ]; then
    cargo build --release --manifest-path auction/Cargo.toml --target $target
else
    # Debian's compiler takes this for leave to build its own library; the cargo must know -Z as well.
    export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$(first_of wasm-ld wasm-ld-19 wasm-ld-16 wasm-ld-14)
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER
    cargo build --release --manifest-path auction/Cargo.toml --target $target -Zbuild-std=core,alloc
fi
cp "$CARGO_TARGET_DIR/$target/release/auction.wasm" prebuilt/auction.wasm

clang=$(first_of clang clang-19 clang-16 clang-14)
linker=$(first_of wasm-ld wasm-ld-19 wasm-ld-16 wasm-ld-14)
# guest, optimisation, bytes of stack, bytes of memory at the start if more than the data
c_guest() {
    "$clang" --target=wasm32 "$2" -mbulk-memory -nostdlib -ffreestanding -Wall -Wno-unused-parameter -c "$1/$1.c" -o "prebuilt/$1.o"
    "$linker" --no-entry --strip-all "-zstack-size=$3" ${4:+"--initial-memory=$4"} "prebuilt/$1.o" -o "prebuilt/$1.wasm"
    rm "prebuilt/$1.o"
}
c_guest tally -Os 16384
c_guest kernels -O2 16384 1048576
c_guest zoo -O1 8192
ls -l prebuilt

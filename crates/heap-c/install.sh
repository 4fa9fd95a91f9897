#!/bin/sh
# Makes libbanyan_heap of the archive that Cargo built, and puts it, the header and the pkg-config file below PREFIX:
#   cargo build --release -p banyan-heap-c
#   crates/heap-c/install.sh target/release/libbanyan_heap_c.a /usr/local
# Cargo gives shared libraries a list of symbols of its own, in which a version has no place; so the linker is called here.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: install.sh ARCHIVE PREFIX" >&2
    exit 2
fi
here=$(dirname "$0")
archive=$1
prefix=$2
mkdir -p "$prefix/lib/pkgconfig" "$prefix/include"
prefix=$(cd "$prefix" && pwd)
"${CC:-cc}" -shared -Wl,-soname,libbanyan_heap.so.1 -Wl,--version-script="$here/banyan_heap.map" -Wl,--gc-sections \
    -Wl,--no-undefined -Wl,--whole-archive "$archive" -Wl,--no-whole-archive -lpthread -ldl -lc -lgcc_s \
    -o "$prefix/lib/libbanyan_heap.so.1"
ln -sf libbanyan_heap.so.1 "$prefix/lib/libbanyan_heap.so"
cp "$archive" "$prefix/lib/libbanyan_heap.a"
cp "$here/include/banyan_heap.h" "$prefix/include/"
cat > "$prefix/lib/pkgconfig/banyan-heap.pc" <<END
prefix=$prefix
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: banyan-heap
Description: memory that processes share by name, with locks that survive their holders
Version: 0.1.0
Libs: -L\${libdir} -lbanyan_heap
Libs.private: -lpthread -ldl -lgcc_s
Cflags: -I\${includedir}
END

#!/usr/bin/env bash
# Installs the Debian packages that the whole-system tests need, if any is missing. Asks nothing.
set -euo pipefail

# program:package
needed="gcc:gcc g++:g++ python3:python3 pigz:pigz xz:xz-utils zstd:zstd pbzip2:pbzip2 lbzip2:lbzip2
    7zz:7zip sysbench:sysbench cmp:diffutils
    make:make lua5.4:lua5.4 zsh:zsh"

missing=()
for pair in $needed; do
    [ -x "/usr/bin/${pair%%:*}" ] || missing+=("${pair##*:}")
done
# The C library's headers and its static form come in a package of their own.
[ -e /usr/include/pthread.h ] || missing+=(libc6-dev)
# Libraries and programs that the tests of isolated calls take as they are.
for pair in bin/xmllint:libxml2-utils bin/sqlite3:sqlite3 lib/x86_64-linux-gnu/libpcre.so.3:libpcre3 \
    include/zlib.h:zlib1g-dev include/png.h:libpng-dev include/jpeglib.h:libjpeg62-turbo-dev \
    include/sqlite3.h:libsqlite3-dev include/expat.h:libexpat1-dev include/yaml.h:libyaml-dev \
    include/stb/stb_image.h:libstb-dev; do
    [ -e "/usr/${pair%%:*}" ] || [ -e "/${pair%%:*}" ] || missing+=("${pair##*:}")
done
# The programs of the sample of isolated libraries: a test leaves out what is not there, and names it.
sample=()
for pair in bsdtar:libarchive-tools exif:exif flac:flac oggenc:vorbis-tools cwebp:webp idn2:idn2 psl:psl \
    gdbmtool:gdbmtool lzop:lzop cjpeg:libjpeg-turbo-progs pngfix:libpng-tools qrencode:qrencode potrace:potrace \
    opj_compress:libopenjp2-tools hunspell:hunspell nettle-hash:nettle-bin gawk:gawk uuidgen:uuid-runtime \
    cdb:tinycdb rhash:rhash wavpack:wavpack enca:enca pbmtojbg:jbigkit-bin jq:jq file:file bc:bc \
    uconv:icu-devtools fc-match:fontconfig curl:curl gpg:gpg tclsh:tcl; do
    [ -x "/usr/bin/${pair%%:*}" ] || sample+=("${pair##*:}")
done
[ "${#missing[@]}" -eq 0 ] && [ "${#sample[@]}" -eq 0 ] && exit 0

echo "The tests need: ${missing[*]:-nothing more}; the sample of isolated libraries: ${sample[*]:-nothing more}"
if ! command -v apt-get >/dev/null; then
    [ "${#missing[@]}" -eq 0 ] && exit 0
    echo "This is no Debian system: install them with the tools of yours." >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
if [ "${#missing[@]}" -gt 0 ]; then
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
fi
# One by one, so that a package that cannot be had costs its own row only.
for package in "${sample[@]}"; do
    "${as_root[@]}" apt-get install -q -y --no-install-recommends "$package" || echo "left out of the sample: $package" >&2
done

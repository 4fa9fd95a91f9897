#!/usr/bin/env bash
# Makes the corpora to begin with: the example guests as modules, and a message and a state that are right.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p corpus/module corpus/message corpus/state
cp ../../../examples/guests/prebuilt/*.wasm corpus/module/
printf '\001\001a\005\000' >corpus/message/sell
printf '\000\000\000' >corpus/state/fresh
printf '\001\000\001\000\200\200\100\000\000\200\200\010\000' >corpus/state/started

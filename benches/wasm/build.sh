#!/usr/bin/env bash
# Builds the measured programs into built/: each plain, and with Binaryen's Asyncify (which needs looks in the source).
# Needs clang, lld and binaryen (Debian 12: `apt-get install clang lld binaryen`).
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p built
flags=(--target=wasm32 -O2 -Wall -Wextra -Werror -nostdlib -ffreestanding -mbulk-memory -Wl,--no-entry -Wl,--strip-debug -Iprograms)
for source in programs/*.c; do
  name=$(basename "$source" .c)
  clang "${flags[@]}" -o "built/$name.wasm" "$source"
  clang "${flags[@]}" -DPOLL -o "built/$name.poll.wasm" "$source"
  wasm-opt -O2 --enable-bulk-memory --asyncify "built/$name.poll.wasm" -o "built/$name.asyncify.wasm"
  rm "built/$name.poll.wasm"
done

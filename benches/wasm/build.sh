#!/usr/bin/env bash
# Builds the measured programs: into built/ each plain, and with Binaryen's Asyncify (which needs looks in the source); into
# small/, which is committed, each with little to do, for tests. `build.sh --check` says whether small/ is what comes out.
# Needs clang, lld and binaryen (Debian 12: `apt-get install clang lld binaryen`). Another clang makes other bytes: then
# --check compares with SHA256SUMS only, and says so.
set -euo pipefail
cd "$(dirname "$0")"
export LC_ALL=C
flags=(--target=wasm32 -O2 -Wall -Wextra -Werror -nostdlib -ffreestanding -mbulk-memory -Wl,--no-entry -Wl,--strip-debug -Iprograms)

if [ "${1:-}" = --check ]; then
  (cd small && sha256sum ./*.wasm) | diff small/SHA256SUMS -
  if ! command -v clang >/dev/null || ! clang --version | head -1 | grep -qF "version 14.0.6"; then
    echo "no clang 14.0.6 here: the small programs that are committed are NOT compared with their sources"
    exit 0
  fi
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  for source in programs/*.c; do
    name=$(basename "$source" .c)
    clang "${flags[@]}" -DSMALL -o "$work/$name.wasm" "$source"
  done
  diff -r --exclude=SHA256SUMS "$work" small
  echo "the small programs are what their sources say"
  exit 0
fi

mkdir -p built small
rm -f small/*
for source in programs/*.c; do
  name=$(basename "$source" .c)
  clang "${flags[@]}" -o "built/$name.wasm" "$source"
  clang "${flags[@]}" -DSMALL -o "small/$name.wasm" "$source"
  clang "${flags[@]}" -DPOLL -o "built/$name.poll.wasm" "$source"
  wasm-opt -O2 --enable-bulk-memory --asyncify "built/$name.poll.wasm" -o "built/$name.asyncify.wasm"
  rm "built/$name.poll.wasm"
done
(cd small && sha256sum ./*.wasm > SHA256SUMS)

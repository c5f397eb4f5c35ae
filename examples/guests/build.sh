#!/usr/bin/env bash
# Builds the guest programs: `build.sh` into built/, `build.sh --check` says whether what is there is what comes out.
# C: clang, lld and wasi-libc of Debian 12 (`apt-get install clang lld wasi-libc libclang-rt-dev-wasm32`). Another
# compiler makes other bytes: then --check compares nothing and says so.
set -euo pipefail
cd "$(dirname "$0")"
version="clang 14.0.6"
out=built
if [ "${1:-}" = --check ]; then
  if ! command -v clang >/dev/null || ! clang --version | head -1 | grep -qF "version 14.0.6"; then
    echo "no $version here: the guests that are committed are NOT compared with their sources"
    (cd built && sha256sum --quiet -c SHA256SUMS)
    exit 0
  fi
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
for source in c/*.c; do
  name=$(basename "$source" .c)
  clang --target=wasm32-wasi -O2 -Wall -Wextra -Werror -Wl,--strip-debug -o "$out/$name.wasm" "$source"
done
if [ "$out" = built ]; then
  (cd built && sha256sum ./*.wasm > SHA256SUMS)
else
  cp built/SHA256SUMS "$out"
  (cd "$out" && sha256sum --quiet -c SHA256SUMS)
  echo "the guests are what their sources say"
fi

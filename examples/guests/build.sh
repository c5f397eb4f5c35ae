#!/usr/bin/env bash
# Builds the guest programs: `build.sh` into built/, `build.sh --check` says whether what is there is what comes out.
# C: clang, lld and wasi-libc of Debian 12 (`apt-get install clang lld wasi-libc libclang-rt-dev-wasm32 binaryen`: clang
# optimises once more with binaryen's wasm-opt, where it finds one).
# AssemblyScript: Node 20 or later with npm, which gets the compiler that package-lock.json names.
# Another compiler makes other bytes: then --check compares nothing of that language and says so.
set -euo pipefail
cd "$(dirname "$0")"
export LC_ALL=C
failed=no
check=no
if [ "${1:-}" = --check ]; then check=yes; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/c" "$work/assemblyscript" "$work/npm"

not_compared() { echo "$1: the guests in $2 that are committed are NOT compared with their sources"; }

# Takes what was built: into built/, or only compares it with what is there.
take() {
  local wasm same=yes
  for wasm in "$work/$1"/*.wasm; do
    if [ $check = no ]; then
      cp "$wasm" built/
    elif ! cmp "$wasm" "built/$(basename "$wasm")"; then
      same=no
    fi
  done
  if [ $same = no ]; then
    echo "the guests in $2 are not what their sources say"
    failed=yes
  elif [ $check = yes ]; then
    echo "the guests in $2 are what their sources say"
  fi
}

# What is committed is at least what was once built, each from a source that is still there.
if [ $check = yes ]; then
  (cd built && sha256sum ./*.wasm) | diff built/SHA256SUMS -
  for wasm in built/*.wasm; do
    name=$(basename "$wasm" .wasm)
    if ! [ -e "c/$name.c" ] && ! [ -e "assemblyscript/$name.ts" ]; then
      echo "$wasm has no source"
      exit 1
    fi
  done
fi

is() { command -v "$1" >/dev/null && "$1" --version | head -1 | grep -qF "version $2"; }
if [ $check = yes ] && { ! is clang 14.0.6 || ! is wasm-opt 108; }; then
  not_compared "no clang 14.0.6 with wasm-opt 108 here" C
else
  for source in c/*.c; do
    name=$(basename "$source" .c)
    # Those for the bus that have no `main` are reactors.
    model=command
    if grep -q '^int softbus_main(void) {' "$source"; then model=reactor; fi
    clang --target=wasm32-wasi -mexec-model=$model -O2 -Wall -Wextra -Werror -Wl,--strip-debug -o "$work/c/$name.wasm" "$source"
  done
  take c C
fi

# The compiler goes into a folder of its own. Files that contradict each other are a failure, all else that npm says only
# means that it cannot be had.
missing=
if ! command -v npm >/dev/null || ! node -e 'process.exit(+(parseInt(process.versions.node) < 20))'; then
  missing="no npm with Node 20 or later here"
else
  cp assemblyscript/package.json assemblyscript/package-lock.json assemblyscript/*.ts "$work/npm"
  if ! (cd "$work/npm" && timeout 300 npm ci --ignore-scripts --prefer-offline --no-audit --no-fund \
    --fetch-retries=1 --fetch-timeout=60000) > "$work/npm.log" 2>&1 < /dev/null; then
    head -n 20 "$work/npm.log"
    if grep -qE 'code (EUSAGE|EINTEGRITY|EJSONPARSE)' "$work/npm.log"; then exit 1; fi
    missing="npm cannot get the compiler of AssemblyScript"
  fi
fi
if [ -n "$missing" ] && [ $check = yes ]; then
  not_compared "$missing" AssemblyScript
elif [ -n "$missing" ]; then
  echo "$missing"
  exit 1
else
  for source in assemblyscript/*.ts; do
    name=$(basename "$source" .ts)
    (cd "$work/npm" && node node_modules/assemblyscript/bin/asc.js "$name.ts" -O3 \
      --config node_modules/@assemblyscript/wasi-shim/asconfig.json -o "$work/assemblyscript/$name.wasm")
  done
  take assemblyscript AssemblyScript
fi

if [ $check = no ]; then (cd built && sha256sum ./*.wasm > SHA256SUMS); fi
[ $failed = no ]

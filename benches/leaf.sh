#!/usr/bin/env bash
# Size and idle memory of a leaf build: the library with discovery, mesh, roster, placement and native tasks, no
# wasm, no inference, as the example `hello_devices` links it. Prints a table, or JSON with --json.
set -euo pipefail
cd "$(dirname "$0")/.."
json=${1:-}

measure() { # provider
  cargo build --quiet -p softbus --example hello_devices --profile leaf --no-default-features --features "$1,machine"
  local program=target/leaf/examples/hello_devices folder resident=0
  folder=$(mktemp -d)
  "$program" "$folder/data" >/dev/null &
  local pid=$!
  sleep 2 # it looks around for three seconds, then ends
  resident=$(awk '/^VmRSS:/ {print $2 * 1024}' "/proc/$pid/status")
  wait "$pid"
  rm -rf "$folder"
  if [ "$json" = --json ]; then
    printf '{"provider":"%s","bytes":%s,"idle_resident_bytes":%s}\n' "$1" "$(stat -c %s "$program")" "$resident"
  else
    awk -v p="$1" -v b="$(stat -c %s "$program")" -v r="$resident" \
      'BEGIN {printf "%-8s binary %.2f MB stripped, idle %.1f MB resident\n", p, b / 1e6, r / 1e6}'
  fi
}

measure ring
measure aws-lc

#!/usr/bin/env bash
# Size and idle memory of a leaf build: the library with discovery, mesh, roster, placement and native tasks, no
# wasm, no inference, as the example `hello_devices` links it. Prints a table with the budgets, or JSON with --json. The
# exit code is 1 if a budget is exceeded. CARGO_TARGET_DIR is honoured.
set -euo pipefail
cd "$(dirname "$0")/.."
json=${1:-}
target=${CARGO_TARGET_DIR:-target}
idle_budget=8000000
over=0

measure() { # provider, budget of its size in bytes
  cargo build --quiet -p softbus --example hello_devices --profile leaf --no-default-features --features "$1,machine"
  local program=$target/leaf/examples/hello_devices folder resident=0 bytes
  folder=$(mktemp -d)
  "$program" "$folder/data" >/dev/null &
  local pid=$!
  sleep 2 # it looks around for three seconds, then ends
  resident=$(awk '/^VmRSS:/ {print $2 * 1024}' "/proc/$pid/status")
  wait "$pid"
  rm -rf "$folder"
  bytes=$(stat -c %s "$program")
  if [ "$bytes" -gt "$2" ] || [ "$resident" -gt "$idle_budget" ]; then over=1; fi
  if [ "$json" = --json ]; then
    printf '{"provider":"%s","bytes":%s,"budget_bytes":%s,"idle_resident_bytes":%s,"idle_budget_bytes":%s}\n' \
      "$1" "$bytes" "$2" "$resident" "$idle_budget"
  else
    awk -v p="$1" -v b="$bytes" -v m="$2" -v r="$resident" -v i="$idle_budget" 'BEGIN {
      printf "%-8s binary %.2f MB stripped (budget %.0f), idle %.1f MB resident (budget %.0f)\n",
        p, b / 1e6, m / 1e6, r / 1e6, i / 1e6 }'
  fi
}

measure ring 3000000
measure aws-lc 4000000
exit "$over"

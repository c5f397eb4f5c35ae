#!/usr/bin/env bash
# Reads a capture of a simulation as Wireshark does: no packet is malformed, and every packet that reached anybody decrypts with
# the secrets that are in the file (a comment of a packet names what else became of it after a colon).
set -euo pipefail

fields=$(mktemp)
trap 'rm -f "$fields"' EXIT
tshark -r "$1" -T fields -E separator='|' -e frame.number -e _ws.malformed -e quic.frame_type -e frame.comment \
  -e _ws.col.Protocol >"$fields"
awk -F'|' '
  $2 != "" { malformed++ }
  $5 != "QUIC" { other++ }
  $3 != "" { open++ }
  $3 == "" && $4 !~ /:/ { closed++ }
  END {
    printf "%d packets, %d opened; %d malformed, %d no QUIC, %d delivered and not opened\n",
      NR, open, malformed, other, closed
    exit !(open > 0 && malformed + other + closed == 0)
  }' "$fields"

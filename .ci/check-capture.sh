#!/usr/bin/env bash
# Reads a capture of a simulation as Wireshark does: no packet is malformed, and every packet that reached anybody decrypts with
# the secrets that are in the file (a comment of a packet names what else became of it after a colon).
#
# Wireshark takes a packet with a short header for one of the youngest connection between its two addresses. What a device
# still sends on the connection before, while it dials anew, is counted apart: it is told by being reckoned to a connection that
# has no packet of a handshake in the file, so that it cannot have sent anything with a short header.
set -euo pipefail

fields=$(mktemp)
trap 'rm -f "$fields"' EXIT
tshark -r "$1" -T fields -E separator='|' -e frame.number -e _ws.malformed -e quic.frame_type -e frame.comment \
  -e _ws.col.Protocol -e quic.connection.number -e quic.header_form -e quic.long.packet_type >"$fields"
awk -F'|' '
  $2 != "" { malformed++ }
  $5 != "QUIC" { other++ }
  $3 != "" { open++ }
  $8 ~ /2/ { handshakes[$6] = 1 }
  $3 == "" && $4 !~ /:/ {
    closed++
    if ($7 ~ /^(0|False)$/ && $6 != "") short[$6]++
  }
  END {
    for (connection in short)
      if (!(connection in handshakes)) { older += short[connection]; closed -= short[connection] }
    printf "%d packets, %d opened; %d malformed, %d no QUIC, %d delivered and not opened, %d of a connection before\n",
      NR, open, malformed, other, closed, older
    exit !(open > 0 && malformed + other + closed == 0)
  }' "$fields"

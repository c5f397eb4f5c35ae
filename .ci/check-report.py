"""Checks that a demo report tells of a whole demo: every step there, every figure possible."""
import json
import os
import sys

report = json.load(open(sys.argv[1]))


def need(truth, what):
    if not truth:
        sys.exit(f"demo report: {what}\n{json.dumps(report, indent=1)}")


for key in ("discovery_ms", "pairing_ms", "link_ms"):
    need(report[key] > 0, f"{key} is not positive")
moves = report["handovers"]
need(len(moves) == 3, "not three hand-overs")
for move in moves:
    need(move["from"] != move["to"], "a hand-over to the same device")
    need(move["reason"], "a hand-over without a reason")
    need(move["downtime_ms"] >= 0 and move["bytes"] > 0, "a hand-over that moved nothing")
# The first and the third are a person's, the second is the bus's own, with what placement says of it.
decided = moves[1]["reason"]
for asked in (moves[0]["reason"], moves[2]["reason"]):
    need(asked.startswith("the person "), "a hand-over was not asked for by a person")
need(decided.startswith(f"moves to {moves[1]['to']}: "), "the bus does not say where it moves the task")
here = moves[1]["from"]
need(f"; {here} would take " in decided or f"; {here} cannot: " in decided, "the bus does not say what was wrong")
need("verdict" in decided and all(who in decided for who in ("phone", "tv", "car", "sensor")), "a device is not weighed")
failover = report["failover"]
need(failover["killed"] != failover["resumed_on"], "fail-over to the killed device")
need(failover["gap_ms"] > 0, "fail-over without a gap")
program = report["program"]
need(program["name"].endswith(".wasm") and len(program["module"]) == 64, "what moved is no WebAssembly program")
need(program["printed"] > 0 and report["printed_matches_unmoved"] is True, "it printed something else when it did not move")
need(report["result_matches_unmoved"] is True, "the result differs from the unmoved one")
need(open(report["output"], "rb").read(8) == b"\x89PNG\r\n\x1a\n", "the output is no PNG")
need(os.path.getsize(report["output"]) > 10_000, "the output is too small for a picture")
print("demo report: complete")

"""Checks in a record of `softbus sim run --record FILE` what its scenario is about: of partition and lossy-wifi that
their quorum tasks were looked at, of programs-over-wifi that the programs moved and what they left and printed, of thousand that
everybody has its links."""
import json
import sys

name = sys.argv[1]
record = json.load(open(sys.argv[2]))
if record["scenario"] != name:
    sys.exit(f"the record is of {record['scenario']}, not of {name}")

if name in ("partition", "lossy-wifi"):
    # All is well again long enough before the end.
    verdicts = {i["name"]: i["verdict"] for i in record["invariants"]}
    if verdicts["quorum-completes"] != "held":
        sys.exit(f"{name}: quorum-completes was {verdicts['quorum-completes']}")
if name == "programs-over-wifi":
    verdicts = {i["name"]: i["verdict"] for i in record["invariants"]}
    for invariant in ("at-most-one-live", "quorum-completes", "owner-completes", "right-results", "effects-once"):
        if verdicts[invariant] != "held":
            sys.exit(f"{name}: {invariant} was {verdicts[invariant]}")
    moves = [m for task in record["tasks"] for m in task["moves"]]
    for task in record["tasks"]:
        for m in task["moves"]:
            to = record["devices"][m["to"]]["name"]
            print(f"{task['name']} to {to} ({m['reason']}): {m['downtime_us'] / 1000:.0f} ms down, {m.get('bytes', 0)} bytes")
    if any(task["state"] != "done" for task in record["tasks"]):
        sys.exit(f"{name}: not all programs are done")
    if sum(m["reason"] == "person" for m in moves) < 3 or not any(m["reason"] == "failover" for m in moves):
        sys.exit(f"{name}: programs were not moved and failed over")
if name == "thousand":
    devices = len(record["devices"])
    end = record["duration_us"]
    links = [0] * devices
    for span in record["links"]:
        if span["to_us"] == end:
            links[span["a"]] += 1
            links[span["b"]] += 1
    few = sum(n < 4 for n in links)
    print(f"thousand: {min(links)} to {max(links)} links each, {sum(links) / devices:.2f} on average")
    if few or max(links) > 8:
        sys.exit(f"{few} of {devices} have fewer than four links, or one has more than eight")

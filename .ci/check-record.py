"""Checks in a record of `softbus sim run --record FILE` what its scenario is about: of partition and lossy-wifi that
their quorum tasks were looked at, of thousand that everybody has its links."""
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

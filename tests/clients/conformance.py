"""Compares the results of a conformance run with what is kept, check by check, both ways.

    python conformance.py RESULTS EXPECTED KEPT [--keep]

EXPECTED lists the checks that fail, KEPT those that pass and those that the suite skips. A check that is in neither, that is
missing from the results or that ended otherwise makes this exit with 1: a scenario that is not run any more, or one that
is skipped because a tool of it is not found, looks like success otherwise. --keep writes KEPT instead; its changes
belong into the same commit as what changed them.

A warning (the suite's word for a SHOULD that does not hold) counts as a failure.
"""

import json
import re
import sys
from pathlib import Path

arguments = [argument for argument in sys.argv[1:] if argument != "--keep"]
results, expected_file, kept_file = map(Path, arguments)

passed, skipped, failures = set(), set(), {}
for checks in sorted(results.glob("*/checks.json")):
    # server-<scenario>-<time>
    scenario = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z", checks.parent.name)[1]
    for check in json.loads(checks.read_text()):
        name = f"{scenario} {check['id']}"
        if check["status"] in ("FAILURE", "WARNING"):
            failures[name] = check.get("errorMessage") or check.get("description") or ""
        elif check["status"] == "SUCCESS":
            passed.add(name)
        elif check["status"] == "SKIPPED":
            skipped.add(name)
passed -= failures.keys()
skipped -= passed | failures.keys()


def lines(file):
    """Without comments and empty ones."""
    stripped = (line.split("#")[0].strip() for line in file.read_text().splitlines())
    return {line for line in stripped if line}


expected = lines(expected_file)
unexpected = sorted(failures.keys() - expected)
stale = sorted(expected - failures.keys())

found = {f"passed {name}" for name in passed} | {f"skipped {name}" for name in skipped}
if "--keep" in sys.argv:
    header = "# How each check ended that does not fail, exactly: `tests/clients/conformance.sh URL --keep` writes this.\n"
    kept_file.write_text(header + "".join(f"{line}\n" for line in sorted(found)))
kept = lines(kept_file)

print(
    f"  {results.name}: {len(passed)} checks passed, {len(failures)} failed, {len(expected)} expected to, "
    f"{len(skipped)} skipped"
)
for name in unexpected:
    print(f"  failed: {name}\n    {failures[name][:500]}")
for name in stale:
    print(f"  no longer fails, remove it from {expected_file.name}: {name}")
for line in sorted(kept - found):
    status, name = line.split(" ", 1)
    now = "failed" if name in failures else "passed" if name in passed else "skipped" if name in skipped else "not run"
    print(f"  {now}, and was {status}: {name}")
for line in sorted(found - kept):
    status, name = line.split(" ", 1)
    if not any(f"{other} {name}" in kept for other in ("passed", "skipped")):
        print(f"  {status}, and is new: {name}")
if found != kept:
    print(f"  if that is meant: tests/clients/conformance.sh URL --keep writes {kept_file.name}")
if not passed:
    print("  nothing was checked")
sys.exit(bool(unexpected or stale or found != kept or not passed))

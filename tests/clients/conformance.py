"""Compares the results of a conformance run with the failures that are expected, both ways.

    python conformance.py RESULTS EXPECTED

A warning (the suite's word for a SHOULD that does not hold) counts as a failure.
"""

import json
import re
import sys
from pathlib import Path

results, expected_file = Path(sys.argv[1]), Path(sys.argv[2])

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

lines = (line.split("#")[0].strip() for line in expected_file.read_text().splitlines())
expected = {line for line in lines if line}
unexpected = sorted(failures.keys() - expected)
stale = sorted(expected - failures.keys())

print(
    f"  {results.name}: {len(passed)} checks passed, {len(failures)} failed, {len(expected)} expected to, "
    f"{len(skipped)} not applicable"
)
for name in unexpected:
    print(f"  failed: {name}\n    {failures[name][:500]}")
for name in stale:
    print(f"  no longer fails, remove it from {expected_file.name}: {name}")
if not passed:
    print("  nothing was checked")
sys.exit(bool(unexpected or stale or not passed))

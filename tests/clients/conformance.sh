#!/usr/bin/env bash
# The conformance suite, once per protocol revision, compared check by check with what is expected to
# fail: the checks of capabilities that this host does not offer, and those that call fixture tools of
# the suite's own. The lists are exact: a check in them that passes fails the run, too.
#
#   tests/clients/conformance.sh URL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/versions"
url=$1
results=$clients/results
rm -rf "$results"
mkdir -p "$results"

failed=0
for revision in 2026-07-28 2025-11-25; do
    # Its own exit code says that something failed, which something always does.
    conformance server --url "$url/mcp" --requirements "$revision" -o "$results/$revision" \
        >"$results/$revision.log" 2>&1 || true
    python3 "$here/conformance.py" "$results/$revision" "$here/expected-failures-$revision.txt" || failed=1
done
exit "$failed"

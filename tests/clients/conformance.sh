#!/usr/bin/env bash
# The conformance suite, once per protocol revision. The files of expected failures are exact: a
# scenario in them that passes fails the run, too. They name the scenarios for capabilities that this
# host does not offer, and those that call fixture tools of the suite's own.
#
#   tests/clients/conformance.sh URL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/versions"
url=$1
results=$clients/results
rm -rf "$results"

failed=0
for revision in 2026-07-28 2025-11-25; do
    echo "  $revision"
    if ! conformance server --url "$url/mcp" --requirements "$revision" \
        --expected-failures "$here/expected-failures-$revision.yml" -o "$results/$revision" \
        >"$clients/conformance-$revision.log" 2>&1; then
        failed=1
    fi
    tail -n 40 "$clients/conformance-$revision.log" | sed 's/^/    /'
done
exit "$failed"

#!/usr/bin/env bash
# The conformance suite, once per protocol revision, compared check by check with what is expected to
# fail (docs/conformance.md says why), to pass and to be skipped. The lists are exact: a check in the first that passes
# fails the run, too, and so does one that vanishes from the second.
#
#   tests/clients/conformance.sh URL [--keep]
#
# The host at URL must serve the agents of tests/guests/conformance, all on the first page of its tools: the suite
# asks for no other. --keep writes what passed and what was skipped to the kept lists instead of comparing it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/versions"
url=$1
keep=(${2:+--keep})
if (($# > 2)) || [[ ${2:---keep} != --keep ]]; then
    echo "usage: $0 URL [--keep]" >&2
    exit 2
fi
results=$clients/results
rm -rf "$results"
mkdir -p "$results"

# Its own exit code says that something failed, which something always does.
suite() {
    local revision=$1
    shift
    conformance server --url "$url/mcp" "$@" -o "$results/$revision" >>"$results/$revision.log" 2>&1 || true
}

failed=0
for revision in 2026-07-28 2025-11-25; do
    suite "$revision" --requirements "$revision"
    if [[ $revision == 2026-07-28 ]]; then
        # What no revision requires runs only when it is named.
        for scenario in sep-2640-skills-directory sep-2640-skills-enumeration sep-2640-skills-manifest; do
            suite "$revision" --scenario "$scenario"
        done
    fi
    python3 "$here/conformance.py" "$results/$revision" "$here/expected-failures-$revision.txt" \
        "$here/checks-$revision.txt" "${keep[@]}" || failed=1
done
exit "$failed"

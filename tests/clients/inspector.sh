#!/usr/bin/env bash
# MCP Inspector's command line, in both protocol eras over HTTP, and over stdio.
#
#   tests/clients/inspector.sh URL AOP AGENTS
set -euo pipefail
source "$(dirname "$0")/versions"
url=$1 aop=$2 agents=$3
export HOME=$clients/home
mkdir -p "$HOME"

inspect() {
    mcp-inspector --cli --format json -q "$@"
}

# expect LABEL JSON PYTHON: the expression over `it`, the JSON, holds.
expect() {
    python3 - "$@" <<'PYTHON'
import json, sys
label, text, expression = sys.argv[1:]
try:
    it = json.loads(text)
    it = it.get("result", it)
    right = eval(expression)
except Exception as error:
    right, text = False, f"{error!r}: {text}"
if not right:
    sys.exit(f"  {label}: not {expression}\n  {text[:2000]}")
print(f"  {label}")
PYTHON
}

names='{tool["name"] for tool in it["tools"]}'
session() {
    local label=$1
    shift
    expect "$label: tools/list" "$(inspect "$@" --method tools/list)" \
        "{'echo_echo', 'faults_fail', 'aop_discover', 'aop_call'} <= $names"
    expect "$label: a call" \
        "$(inspect "$@" --method tools/call --tool-name echo_echo --tool-arg 'text=hello there')" \
        "it['content'][0]['text'] == 'hello there' and it['structuredContent'] == {'success': True, 'result': 'hello there'}"
    expect "$label: a record" \
        "$(inspect "$@" --method tools/call --tool-name types_identity_record --tool-args-json \
            '{"value":{"name":"Ada","age":36,"tags":["a"]}}')" \
        "it['structuredContent']['result'] == {'name': 'Ada', 'age': 36, 'tags': ['a']}"
    # An agent's failure is an answer, whatever exit code the Inspector gives it.
    expect "$label: a failing call" \
        "$(inspect "$@" --method tools/call --tool-name faults_fail --tool-arg message=no || true)" \
        "it['isError'] and it['structuredContent'] == {'success': False, 'error': 'no', 'code': 'guest_error'}"
}

for era in modern legacy; do
    session "$era" --server-url "$url/mcp" --transport http --protocol-era "$era"
done
# Exits with 6 when a schema would trouble other clients.
mcp-inspector --cli --format json --strict --server-url "$url/mcp" --transport http --protocol-era modern \
    --method tools/list >/dev/null
echo '  the schemas are portable'
for era in modern legacy; do
    data=$(mktemp -d)
    # Everything after `--` is the server; the Inspector's own options come first.
    expect "stdio, $era: a call" \
        "$(inspect --protocol-era "$era" --method tools/call --tool-name echo_echo --tool-arg 'text=over pipes' \
            -- "$aop" serve --stdio --agents "$agents" --data "$data")" \
        "it['structuredContent'] == {'success': True, 'result': 'over pipes'}"
    rm -rf "$data"
done

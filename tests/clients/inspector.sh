#!/usr/bin/env bash
# MCP Inspector's command line, in both protocol eras over HTTP, and over stdio.
#
#   tests/clients/inspector.sh URL AOP AGENTS
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/versions"
url=$1 aop=$2 agents=$3
export HOME=$clients/home
mkdir -p "$HOME"

inspect() {
    mcp-inspector --cli --format json -q "$@"
}

# expect LABEL EXPRESSION COMMAND…: the Python expression holds over `it`, the JSON that the command
# prints. What a command prints may be longer than an argument can be, so it goes through a pipe.
expect() {
    local label=$1 expression=$2
    shift 2
    "$@" | python3 "$here/expect.py" "$label" "$expression"
}

# The Inspector exits with an error when a tool does, which is an answer, too.
inspect_failing() {
    inspect "$@" 2>/dev/null || true
}

names='{tool["name"] for tool in it["tools"]}'
session() {
    local label=$1
    shift
    expect "$label: tools/list" "{'echo_echo', 'faults_fail', 'aop_discover', 'aop_call'} <= $names" \
        inspect "$@" --method tools/list
    expect "$label: a call" \
        "it['content'][0]['text'] == 'hello there' and it['structuredContent'] == {'success': True, 'result': 'hello there'}" \
        inspect "$@" --method tools/call --tool-name echo_echo --tool-arg 'text=hello there'
    expect "$label: a record" \
        "it['structuredContent']['result'] == {'name': 'Ada', 'age': 36, 'tags': ['a']}" \
        inspect "$@" --method tools/call --tool-name types_identity_record --tool-args-json \
        '{"value":{"name":"Ada","age":36,"tags":["a"]}}'
    expect "$label: a failing call" \
        "it['isError'] and it['structuredContent'] == {'success': False, 'error': 'no', 'code': 'guest_error'}" \
        inspect_failing "$@" --method tools/call --tool-name faults_fail --tool-arg message=no
}

for era in modern legacy; do
    session "$era" --server-url "$url/mcp" --transport http --protocol-era "$era"
done
# Exits with 6 when a schema would trouble other clients.
mcp-inspector --cli --format json --strict --server-url "$url/mcp" --transport http --protocol-era modern \
    --method tools/list >/dev/null 2>"$clients/portability.log" || {
    cat "$clients/portability.log" >&2
    exit 1
}
echo '  the schemas are portable'
for era in modern legacy; do
    data=$(mktemp -d)
    # Everything after `--` is the server; the Inspector's own options come first.
    expect "stdio, $era: a call" "it['structuredContent'] == {'success': True, 'result': 'over pipes'}" \
        inspect --protocol-era "$era" --method tools/call --tool-name echo_echo --tool-arg 'text=over pipes' \
        -- "$aop" serve --stdio --agents "$agents" --data "$data"
    expect "stdio, $era: skills" "'charts' in {skill['frontmatter']['name'] for skill in it['skills']}" \
        inspect --protocol-era "$era" --method skills/list \
        -- "$aop" serve --stdio --agents "$agents" --data "$data"
    rm -rf "$data"
done

#!/usr/bin/env bash
# What the agents of tests/guests do over a connection that is held: questions, tasks, completion, changes. Through
# `mcpdo`, MCP Inspector's other command line, in both protocol eras.
#
#   tests/clients/mcpdo.sh URL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/versions"
url=$1
export HOME=$clients/home
mkdir -p "$HOME"
# Nothing here has secrets; without a keychain, `mcpdo` would say at length where it puts them.
export MCP_INSPECTOR_SECRET_STORE=file MCP_ALLOW_DEFAULT_CONNECTION=1
# A daemon of this run's own: it holds the connections between the commands.
eval "$(mcpdo private)"
work=$(mktemp -d)
stop() {
    mcpdo daemon stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap stop EXIT

# On a terminal, it would ask whoever sits there.
hold() {
    mcpdo --format json "$@" </dev/null 2>"$work/errors" || {
        cat "$work/errors" >&2
        return 1
    }
}

# expect LABEL EXPRESSION COMMAND…: the Python expression holds over `it`, the JSON that the command prints.
expect() {
    local label=$1 expression=$2
    shift 2
    hold "$@" | python3 "$here/expect.py" "$era: $label" "$expression"
}

# ask LABEL EXPRESSION TOOL [ARGUMENT…]: the call asks, and the expression holds over the `question`.
ask() {
    local label=$1 expression=$2
    shift 2
    hold tools/call "$@" >"$work/question"
    python3 "$here/expect.py" "$era: $label" "$expression" <"$work/question"
    question=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["elicitationPending"]["elicitationId"])' <"$work/question")
}

for era in modern legacy; do
    expect 'connected' "it['protocolEra'] == '$era'" connect --era "$era" "$url/mcp"

    expect 'completion of a prompt' "it['values'] == ['paris', 'park', 'party']" \
        prompts/complete --complete-ref-type ref/prompt --complete-ref test_prompt_with_arguments \
        --complete-arg-name arg1 --complete-arg-value pa
    expect 'completion of a resource' "it['values'] == ['12', '123']" \
        prompts/complete --complete-ref-type ref/resource --complete-ref 'test://template/{id}/data' \
        --complete-arg-name id --complete-arg-value 12

    ask 'a form' "it['elicitationPending']['requestedSchema']['required'] == ['username', 'email']" \
        test_elicitation 'message:=Who are you?'
    expect 'a form that is filled in' "'\"email\":\"ada@example.com\"' in it['structuredContent']['result']" \
        elicitation/respond "$question" username:=ada email:=ada@example.com
    ask 'another form' "it['elicitationPending']['message'] == 'May I?'" test_elicitation 'message:=May I?'
    expect 'a form that is declined' "'action=decline' in it['structuredContent']['result']" \
        elicitation/respond "$question" --decline
    ask 'a page' "it['elicitationPending']['url'] == 'https://example.com/sign-in'" \
        capabilities_visit url:=https://example.com/sign-in
    expect 'a page that was visited' "it['structuredContent'] == {'success': True, 'result': '{}'}" \
        elicitation/respond "$question" --done

    expect 'roots' "it['roots'] == [{'uri': 'file:///srv/notes'}]" roots/set --roots-json '[{"uri":"file:///srv/notes"}]'
    expect 'roots that an agent asks for' "it['structuredContent']['result'] == 'The roots are file:///srv/notes'" \
        tools/call test_input_required_result_list_roots

    : >"$work/changes"
    # Prints changes until it is stopped.
    mcpdo --format json resources/subscribe test://watched-resource </dev/null >>"$work/changes" 2>&1 &
    subscription=$!
    until grep -q subscribed "$work/changes"; do
        kill -0 "$subscription"
        sleep 0.1
    done
    hold tools/call test_touch_resource >"$work/touched"
    for _ in $(seq 100); do
        if grep -q resources/updated "$work/changes"; then
            break
        fi
        sleep 0.1
    done
    grep -q resources/updated "$work/changes"
    kill "$subscription"
    wait "$subscription" || true
    echo "  $era: a change of a resource"

    expect 'the skills' "[skill['frontmatter']['name'] for skill in it['skills'] if skill['uri'].startswith('skill://test/')] == ['charts', 'clock']" skills/list

    # In 2026-07-28 it follows a task by itself; before, there are none, and the call waits.
    expect 'a tool that may be a task' "it['structuredContent']['result'] == 'computed for 1 s: x'" \
        tools/call slow_compute seconds:=1 label:=x
    ask 'one that asks' "it['elicitationPending']['message'] == 'Delete a.txt?'" confirm_delete filename:=a.txt
    expect 'one that was answered' "it['structuredContent']['result'] == 'a.txt would go'" \
        elicitation/respond "$question" confirm:=true
    hold disconnect "$url/mcp" >/dev/null
done

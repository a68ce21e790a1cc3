#!/usr/bin/env bash
# What the agents of tests/guests/conformance offer besides plain tools, through MCP Inspector's command line, in
# both protocol eras.
#
#   tests/clients/inspector_conformance.sh URL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/versions"
url=$1
export HOME=$clients/home
mkdir -p "$HOME"

# expect LABEL EXPRESSION OPTION…: the Python expression holds over `it`, the JSON that the Inspector prints.
expect() {
    local label=$1 expression=$2
    shift 2
    mcp-inspector --cli --format json -q --server-url "$url/mcp" --transport http --protocol-era "$era" "$@" |
        python3 "$here/expect.py" "$era: $label" "$expression"
}

for era in modern legacy; do
    expect 'content' "[block['type'] for block in it['content']] == ['text', 'image', 'resource']" \
        --method tools/call --tool-name test_multiple_content_types
    expect 'resources/list' "'test://static-text' in {resource['uri'] for resource in it['resources']}" \
        --method resources/list
    expect 'resources/templates/list' "'test://template/{id}/data' in {template['uriTemplate'] for template in it['resourceTemplates']}" \
        --method resources/templates/list
    expect 'resources/read' "it['contents'][0]['text'] == 'This is the content of the static text resource.'" \
        --method resources/read --uri test://static-text
    expect 'prompts/list' "'test_simple_prompt' in {prompt['name'] for prompt in it['prompts']}" \
        --method prompts/list
    expect 'prompts/get' "\"arg1='a', arg2='b'\" in it['messages'][0]['content']['text']" \
        --method prompts/get --prompt-name test_prompt_with_arguments --prompt-args arg1=a arg2=b
done

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

inspect() {
    mcp-inspector --cli --format json -q --server-url "$url/mcp" --transport http --protocol-era "$era" "$@"
}

# expect LABEL EXPRESSION OPTION…: the Python expression holds over `it`, the JSON that the Inspector prints.
expect() {
    local label=$1 expression=$2
    shift 2
    inspect "$@" | python3 "$here/expect.py" "$era: $label" "$expression"
}

# refuse LABEL WORDS OPTION…: the Inspector gets an error that has these words.
refuse() {
    local label=$1 words=$2
    shift 2
    # It prints errors on standard error, and nothing when there is none.
    { inspect "$@" 2>&1 >/dev/null || true; } |
        python3 "$here/expect.py" "$era: $label" "'$words' in it['error']['message']"
}

charts=skill://test/charts
for era in modern legacy; do
    expect 'content' "[block['type'] for block in it['content']] == ['text', 'image', 'resource']" \
        --method tools/call --tool-name test_multiple_content_types
    expect 'audio' "[block['mimeType'] for block in it['content']] == ['audio/wav']" \
        --method tools/call --tool-name test_audio_content
    expect 'a header that repeats a parameter' "'Zürich' in it['content'][0]['text']" \
        --method tools/call --tool-name test_custom_headers --tool-args-json '{"region":"Zürich","query":"q"}'
    # It says in both eras that it follows tasks, which there are in 2026-07-28 only (SEP-2663, "Backward Compatibility").
    expect 'a tool that may be a task' "it['content'][0]['text'] == 'computed for 0 s: x'" \
        --method tools/call --tool-name slow_compute --tool-args-json '{"seconds":0,"label":"x"}'

    expect 'resources/list' "{'test://static-text', '$charts/SKILL.md'} <= {resource['uri'] for resource in it['resources']}" \
        --method resources/list
    expect 'resources/templates/list' "'test://template/{id}/data' in {template['uriTemplate'] for template in it['resourceTemplates']}" \
        --method resources/templates/list
    expect 'resources/read' "it['contents'][0]['text'] == 'This is the content of the static text resource.'" \
        --method resources/read --uri test://static-text
    refuse 'an unknown resource' test://absent --method resources/read --uri test://absent

    expect 'skills/list' \
        "{skill['frontmatter']['name']: skill['resources'] == 'dynamic' for skill in it['skills'] if skill['uri'].startswith('skill://test/')} == {'charts': False, 'clock': True}" \
        --method skills/list
    # Reads every file, and holds it against the entry: its digest and size, and the frontmatter.
    expect 'the digests of a skill' \
        "it['outcome'] == 'verified' and {file['status'] for file in it['files']} == {'verified'} and len(it['files']) == 4" \
        --method skills/get --uri "$charts/SKILL.md" --verify --require-digests
    expect 'a skill without digests' "it['ok'] and it['outcome'] == 'unverifiable'" \
        --method skills/get --uri skill://test/clock/SKILL.md --verify
    expect 'SKILL.md' "it['contents'][0]['text'].startswith('---\nname: charts\n')" \
        --method resources/read --uri "$charts/SKILL.md"
    expect 'a file beside it' "it['contents'][0]['mimeType'] == 'image/png' and it['contents'][0]['blob'].startswith('iVBORw0KGgo')" \
        --method resources/read --uri "$charts/templates/colours/red.png"
    expect 'the directory of an agent' \
        "[(child['uri'], child['mimeType']) for child in it['resources']] == [('$charts', 'inode/directory'), ('skill://test/clock', 'inode/directory')]" \
        --method resources/directory/read --uri skill://test
    expect 'the directory of a skill' \
        "[child['uri'] for child in it['resources']] == ['$charts/SKILL.md', '$charts/references', '$charts/templates']" \
        --method resources/directory/read --uri "$charts"
    refuse 'an unknown skill' skill://test/absent/SKILL.md --method skills/get --uri skill://test/absent/SKILL.md
    refuse 'an unknown file of a skill' "$charts/absent.md" --method resources/read --uri "$charts/absent.md"
    refuse 'a file is no directory' "$charts/SKILL.md" --method resources/directory/read --uri "$charts/SKILL.md"

    expect 'prompts/list' "'test_simple_prompt' in {prompt['name'] for prompt in it['prompts']}" \
        --method prompts/list
    expect 'prompts/get' "\"arg1='a', arg2='b'\" in it['messages'][0]['content']['text']" \
        --method prompts/get --prompt-name test_prompt_with_arguments --prompt-args arg1=a arg2=b
    expect 'a prompt with an image' "it['messages'][0]['content']['mimeType'] == 'image/png'" \
        --method prompts/get --prompt-name test_prompt_with_image
    refuse 'a prompt without its arguments' arg2 \
        --method prompts/get --prompt-name test_prompt_with_arguments --prompt-args arg1=a
done

"""What the agents of tests/guests/conformance offer besides plain tools, through the Python SDK's client and
FastMCP's, in both protocol eras: content, resources, skills, prompts, completion, questions, tasks, logs, progress,
changes.

    python python_conformance.py URL
"""

import asyncio
import base64
import hashlib
import json
import sys
import warnings

import fastmcp
import mcp
import mcp.types as types
import yaml
from fastmcp.skills import SkillsClientExtension
from fastmcp.utilities import skills as resource_skills
from fastmcp_tasks import ToolTask, call_tool_task, client_models
from pydantic import TypeAdapter

ENDPOINT = f"{sys.argv[1]}/mcp"
# Far above what anything here takes: a hung host fails the check instead of stopping it.
PATIENCE_SECONDS = 120
# What 2026-07-28 deprecates is checked, too.
warnings.simplefilter("ignore")
PNG = b"\x89PNG\r\n\x1a\n"
# FastMCP leaves out the header that SEP-2663 demands over HTTP (`Mcp-Name`); the SDK writes it when it is told of what.
for request in (client_models.GetTaskRequest, client_models.UpdateTaskRequest, client_models.CancelTaskRequest):
    request.name_param = "taskId"

WATCHED = "test://watched-resource"
URIS = ("test://static-text", "test://static-binary", "test://template/42/data")
TEMPLATE = "test://template/{id}/data"
CHARTS = "skill://test/charts"
CLOCK = "skill://test/clock"
PAGE = "https://example.com/sign-in"
ROOT = "file:///srv/notes"

ADA = {"username": "ada", "email": "ada@example.com"}
# By the first words of a question.
ANSWERS = {"Who": ADA, "What is your name?": {"name": "Ada"}, "Delete": {"confirm": True}}


def passed(label: str) -> None:
    print(f"  {label}")


def attribute(value, *names):
    """The SDKs spell their fields in either case."""
    for name in names:
        if hasattr(value, name):
            return getattr(value, name)
    raise AttributeError(f"none of {names} in {value!r}")


def texts(blocks) -> str:
    return " ".join(block.text for block in blocks if block.type == "text")


def answer_to(message: str):
    """Nobody knows the answer to any other question."""
    return next((answer for words, answer in ANSWERS.items() if message.startswith(words)), None)


def content_of(contents) -> bytes:
    """The bytes of a resource."""
    (one,) = contents
    return one.text.encode() if hasattr(one, "text") else base64.b64decode(one.blob)


async def check_refused(code: int, words: str, asking) -> None:
    """An error of that code, in which somebody who reads it finds the words."""
    try:
        result = await asking
    except mcp.MCPError as error:
        assert error.code == code and words in f"{error.message} {error.data}", error.error
    else:
        raise AssertionError(f"not refused: {result!r}")


async def check_content(label: str, client) -> None:
    async def blocks(tool):
        return (await client.call_tool(tool, {})).content

    kinds = await blocks("test_multiple_content_types")
    assert [block.type for block in kinds] == ["text", "image", "resource"], kinds
    assert base64.b64decode(kinds[1].data).startswith(PNG)
    assert json.loads(kinds[2].resource.text) == {"test": "data", "value": 123}
    (image,) = await blocks("test_image_content")
    assert image.type == "image" and attribute(image, "mime_type", "mimeType") == "image/png", image
    (audio,) = await blocks("test_audio_content")
    assert audio.type == "audio" and base64.b64decode(audio.data).startswith(b"RIFF"), audio
    (embedded,) = await blocks("test_embedded_resource")
    assert str(embedded.resource.uri) == "test://embedded-resource", embedded
    passed(f"{label}: content")


def check_contents(label: str, text, binary, member, templates) -> None:
    assert text[0].text.startswith("This is the content"), text
    assert base64.b64decode(binary[0].blob).startswith(PNG)
    assert json.loads(member[0].text)["id"] == "42", member
    assert TEMPLATE in [attribute(template, "uri_template", "uriTemplate") for template in templates], templates
    passed(f"{label}: resources")


async def check_prompts(label: str, client, names, values, ids) -> None:
    assert {"test_simple_prompt", "test_prompt_with_arguments"} <= set(names), names

    async def content(name, arguments):
        return (await client.get_prompt(name, arguments)).messages[0].content

    words = (await content("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})).text
    assert "arg1='a', arg2='b'" in words, words
    image = await content("test_prompt_with_image", {})
    assert image.type == "image" and base64.b64decode(image.data).startswith(PNG), image
    embedded = await content("test_prompt_with_embedded_resource", {"resourceUri": "test://static-text"})
    assert str(embedded.resource.uri) == "test://static-text", embedded
    await check_refused(-32602, "test_no_such_prompt", client.get_prompt("test_no_such_prompt", {}))
    await check_refused(-32602, "arg2", client.get_prompt("test_prompt_with_arguments", {"arg1": "a"}))
    assert values == ["paris", "park", "party"], values
    assert ids == ["12", "123"], ids
    passed(f"{label}: prompts and completion")


async def check_skills(label: str, entries: dict, read) -> None:
    """Holds the entries of skills, by their URIs, against what is read. Other agents may have some, too."""
    entries = {uri: entry for uri, entry in entries.items() if uri.startswith("skill://test/")}
    assert set(entries) == {f"{CHARTS}/SKILL.md", f"{CLOCK}/SKILL.md"}, entries
    for uri, entry in entries.items():
        _, frontmatter, _ = content_of(await read(uri)).decode().split("---\n", 2)
        assert yaml.safe_load(frontmatter) == entry["frontmatter"], (frontmatter, entry)
    assert entries[f"{CLOCK}/SKILL.md"]["resources"] == "dynamic", entries

    files = {file["uri"].removeprefix(f"{CHARTS}/"): file for file in entries[f"{CHARTS}/SKILL.md"]["resources"]}
    assert set(files) == {"SKILL.md", "references/forms.md", "templates/bar.svg", "templates/colours/red.png"}, files
    for file in files.values():
        content = content_of(await read(file["uri"]))
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert (file["digest"], file["size"]) == (digest, len(content)), (file, content)
    passed(f"{label}: skills, and the digests of their files")


async def check_absent_file(label: str, mode: str, read) -> None:
    code = -32602 if mode == "auto" else -32002
    for uri in (f"{CHARTS}/absent.md", "skill://test/absent/SKILL.md", "skill://nobody/charts/SKILL.md"):
        await check_refused(code, uri, read(uri))
    passed(f"{label}: files that no skill has")


async def check_sdk_skills(label: str, mode: str, client) -> None:
    # The SDK has no methods for the extension, and sends any request.
    async def ask(method, **params):
        request = types.Request[dict, str](method=method, params=params)
        return await client.session.send_request(request, TypeAdapter(dict))

    async def read(uri):
        return (await client.read_resource(uri)).contents

    extension = client.server_capabilities.extensions["io.modelcontextprotocol/skills"]
    assert extension == {"directoryRead": True}, extension
    entries = {skill["uri"]: skill for skill in (await ask("skills/list"))["skills"]}
    await check_skills(label, entries, read)
    await check_absent_file(label, mode, read)

    for uri, entry in entries.items():
        assert (await ask("skills/get", uri=uri))["skill"] == entry, uri
    for uri in ("skill://test/absent/SKILL.md", CHARTS, f"{CHARTS}/templates/bar.svg"):
        await check_refused(-32602, uri, ask("skills/get", uri=uri))

    found, directories = {}, ["skill://test"]
    while directories:
        for child in (await ask("resources/directory/read", uri=directories.pop()))["resources"]:
            if child["mimeType"] == "inode/directory":
                directories.append(child["uri"])
            else:
                found[child["uri"]] = child.get("size")
    files = {file["uri"]: file["size"] for file in entries[f"{CHARTS}/SKILL.md"]["resources"]}
    assert found == {**files, f"{CLOCK}/SKILL.md": None}, found
    for uri in (f"{CHARTS}/absent", f"{CHARTS}/SKILL.md", "skill://nobody"):
        await check_refused(-32602, uri, ask("resources/directory/read", uri=uri))
    passed(f"{label}: entries and directories of skills")


async def check_fastmcp_skills(label: str, mode: str, client) -> None:
    if mode == "auto":
        # The client checks each entry against the rules of the extension by itself.
        entries = {skill.uri: skill.model_dump(exclude_none=True) for skill in await client.list_skills()}
        await check_skills(label, entries, client.read_resource)
        assert (await client.get_skill(f"{CHARTS}/SKILL.md")).frontmatter.name == "charts"
        await check_refused(-32602, "skill://test/absent/SKILL.md", client.get_skill("skill://test/absent/SKILL.md"))
    else:
        # In the older revisions, it finds skills among the resources.
        found = {skill.uri: skill for skill in await resource_skills.list_skills(client)}
        found = {uri: skill for uri, skill in found.items() if uri.startswith("skill://test/")}
        assert set(found) == {f"{CHARTS}/SKILL.md", f"{CLOCK}/SKILL.md"}, found
        for uri, skill in found.items():
            text = content_of(await client.read_resource(uri)).decode()
            assert skill.description and f"description: {skill.description}\n" in text, skill
        assert content_of(await client.read_resource(f"{CHARTS}/templates/colours/red.png")).startswith(PNG)
        passed(f"{label}: skills among the resources")
    await check_absent_file(label, mode, client.read_resource)


async def check_questions(label: str, client, questions: list) -> None:
    async def answer(tool, arguments):
        return texts((await client.call_tool(tool, arguments)).content)

    given = await answer("test_elicitation", {"message": "Who are you?"})
    assert "ada@example.com" in given, given
    declined = await answer("test_elicitation", {"message": "May I?"})
    assert "action=decline" in declined, declined
    visited = await answer("capabilities_visit", {"url": PAGE})
    assert visited == "{}", visited
    sampled = await answer("test_sampling", {"prompt": "The capital of France?"})
    assert "Paris" in sampled, sampled
    roots = await answer("test_input_required_result_list_roots", {})
    assert roots == f"The roots are {ROOT}", roots
    assert questions == ["Who are you?", "May I?", PAGE, "The capital of France?"], questions
    several = await answer("test_input_required_result_multiple_inputs", {})
    assert several == "Paris Ada, with 1 roots", several
    passed(f"{label}: questions to the person and the model, and roots")


async def check_headers(label: str, client) -> None:
    # What the client must repeat in a header, and cannot as it is.
    result = await client.call_tool("test_custom_headers", {"region": "Zürich", "query": "q"})
    assert "Zürich" in texts(result.content), result
    passed(f"{label}: a header that repeats a parameter")


async def check_sdk(mode: str) -> None:
    label, lines, questions = f"mcp, {mode}", [], []

    async def elicit(_context, params):
        if params.mode == "url":
            questions.append(params.url)
            return types.ElicitResult(action="accept")
        questions.append(params.message)
        answer = answer_to(params.message)
        return types.ElicitResult(action="accept" if answer else "decline", content=answer)

    async def sample(_context, params):
        questions.append(params.messages[0].content.text)
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="Paris"), model="m", stop_reason="endTurn"
        )

    async def roots(_context):
        return types.ListRootsResult(roots=[types.Root(uri=ROOT)])

    async def log(params):
        lines.append(params.data)

    updates, prompt_changes = asyncio.Queue(), asyncio.Queue()

    async def receive(message):
        method = getattr(message, "method", "")
        if method == "notifications/resources/updated":
            await updates.put(str(message.params.uri))
        elif method == "notifications/prompts/list_changed":
            await prompt_changes.put(method)

    client = mcp.Client(
        ENDPOINT,
        mode=mode,
        elicitation_callback=elicit,
        sampling_callback=sample,
        list_roots_callback=roots,
        logging_callback=log,
        log_level="info",
        message_handler=receive,
    )
    async with client:
        await check_content(label, client)

        read = [(await client.read_resource(uri)).contents for uri in URIS]
        listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert {*URIS[:2], f"{CHARTS}/SKILL.md"} <= set(listed), listed
        templates = await client.list_resource_templates()
        check_contents(label, *read, attribute(templates, "resource_templates", "resourceTemplates"))
        code = -32602 if mode == "auto" else -32002
        await check_refused(code, "test://absent", client.read_resource("test://absent"))

        await check_sdk_skills(label, mode, client)

        async def complete(reference, name, value):
            return (await client.complete(reference, {"name": name, "value": value})).completion.values

        names = [prompt.name for prompt in (await client.list_prompts()).prompts]
        values, ids = await complete(PROMPT, "arg1", "pa"), await complete(FAMILY, "id", "12")
        await check_prompts(label, client, names, values, ids)

        await check_questions(label, client, questions)
        await check_headers(label, client)

        reports = []

        async def progress(value, total, message):
            reports.append((value, total))

        await client.call_tool("test_tool_with_progress", {}, progress_callback=progress)
        assert reports == [(0, 100), (50, 100), (100, 100)], reports
        if mode == "legacy":
            await client.set_logging_level("info")
        await client.call_tool("test_tool_with_logging", {})
        assert len(lines) == 3 and "completed" in str(lines[-1]), lines
        passed(f"{label}: progress and logs")

        if mode == "legacy":
            await client.subscribe_resource(WATCHED)
            await client.call_tool("test_touch_resource", {})
            assert await updates.get() == WATCHED
            await client.call_tool("test_trigger_prompt_change", {})
            await prompt_changes.get()
            await client.unsubscribe_resource(WATCHED)
            await client.call_tool("test_touch_resource", {})
            # Longer than a change takes: the one before came at once.
            await asyncio.sleep(0.5)
            assert updates.empty(), "told of a resource that is not subscribed to any more"
        else:
            async with client.listen(resource_subscriptions=[WATCHED], prompts_list_changed=True) as subscription:
                events = aiter(subscription)
                await client.call_tool("test_touch_resource", {})
                event = await anext(events)
                assert str(event.uri) == WATCHED, event
                await client.call_tool("test_trigger_prompt_change", {})
                event = await anext(events)
                assert type(event).__name__ == "PromptsListChanged", event
        passed(f"{label}: changes of a resource and of the prompts")


async def check_fastmcp(mode: str) -> None:
    label, questions, lines, reports = f"fastmcp, {mode}", [], [], []

    async def elicit(message, _type, params, _context):
        if params.mode == "url":
            questions.append(params.url)
            return {}
        questions.append(message)
        return answer_to(message) or types.ElicitResult(action="decline")

    async def sample(messages, params, _context):
        questions.append(messages[0].content.text)
        return "Paris"

    async def log(params):
        lines.append(params.data)

    async def progress(value, total, message):
        reports.append((value, total))

    client = fastmcp.Client(
        ENDPOINT,
        mode=mode,
        elicitation_handler=elicit,
        sampling_handler=sample,
        roots=[ROOT],
        log_handler=log,
        progress_handler=progress,
        extensions=[SkillsClientExtension()],
    )
    async with client:
        await check_content(label, client)
        read = [await client.read_resource(uri) for uri in URIS]
        check_contents(label, *read, await client.list_resource_templates())
        await check_fastmcp_skills(label, mode, client)

        async def complete(reference, name, value):
            return attribute(await client.complete(reference, {"name": name, "value": value}), "values")

        names = [prompt.name for prompt in await client.list_prompts()]
        values, ids = await complete(PROMPT, "arg1", "pa"), await complete(FAMILY, "id", "12")
        await check_prompts(label, client, names, values, ids)
        await check_questions(label, client, questions)
        await check_headers(label, client)

        await client.call_tool("test_tool_with_progress", {})
        assert reports == [(0, 100), (50, 100), (100, 100)], reports
        if mode == "legacy":
            await client.set_logging_level("info")
        await client.call_tool("test_tool_with_logging", {})
        assert len(lines) == 3 and "completed" in str(lines[-1]), lines
        passed(f"{label}: progress and logs")

        if mode == "auto":
            await check_tasks(label, client)


async def check_tasks(label: str, client) -> None:
    """Tasks, which the client follows in 2026-07-28 only."""
    # It waits by itself, and answers what a task asks.
    result = await client.call_tool("confirm_delete", {"filename": "a.txt"})
    assert texts(result.content) == "a.txt would go", result
    result = await client.call_tool("failing_job", {}, raise_on_error=False)
    assert result.is_error and "always fails" in texts(result.content), result

    task = await call_tool_task(client, "slow_compute", {"seconds": 1, "label": "x"})
    assert (await task.status()).status == "working"
    done = await task.wait(timeout=PATIENCE_SECONDS)
    assert done.status == "completed" and "computed for 1 s: x" in str(done.result), done
    assert texts((await task).content) == "computed for 1 s: x"

    broken = await call_tool_task(client, "protocol_error_job")
    failed = await broken.wait(timeout=PATIENCE_SECONDS)
    assert failed.status == "failed" and failed.error["message"], failed

    task = await call_tool_task(client, "slow_compute", {"seconds": 100})
    await task.cancel()
    assert (await task.wait(timeout=PATIENCE_SECONDS)).status == "cancelled"

    absent = ToolTask(client, "slow_compute", task.create_result.model_copy(update={"task_id": "absent"}))
    await check_refused(-32602, "no such task", absent.status())
    passed(f"{label}: tasks")


async def check_plain(mode: str) -> None:
    """A client that declares nothing."""
    async with mcp.Client(ENDPOINT, mode=mode) as client:
        await check_refused(-32021, "task", client.call_tool("failing_job", {}))
        result = await client.call_tool("slow_compute", {"seconds": 0})
        assert texts(result.content).startswith("computed for 0 s"), result
    passed(f"mcp, {mode}: a client that follows no tasks")


PROMPT = types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
FAMILY = types.ResourceTemplateReference(type="ref/resource", uri=TEMPLATE)


async def main() -> None:
    for mode in ("auto", "legacy"):
        await check_sdk(mode)
        await check_plain(mode)
        await check_fastmcp(mode)


asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))

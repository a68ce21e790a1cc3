"""What the agents of tests/guests/conformance offer besides plain tools, through the Python SDK's client and
FastMCP's, in both protocol eras: content, resources, prompts, completion, questions, logs, progress.

    python python_conformance.py URL
"""

import asyncio
import base64
import json
import sys
import warnings

import fastmcp
import mcp
import mcp.types as types

ENDPOINT = f"{sys.argv[1]}/mcp"
# Far above what anything here takes: a hung host fails the check instead of stopping it.
PATIENCE_SECONDS = 120
# What 2026-07-28 deprecates is checked, too.
warnings.simplefilter("ignore")
PNG = b"\x89PNG\r\n\x1a\n"


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


def check_blocks(label: str, blocks) -> None:
    kinds = [block.type for block in blocks]
    assert kinds == ["text", "image", "resource"], kinds
    assert base64.b64decode(blocks[1].data).startswith(PNG)
    assert json.loads(blocks[2].resource.text) == {"test": "data", "value": 123}
    passed(f"{label}: content")


def check_contents(label: str, text, binary, member) -> None:
    assert text[0].text.startswith("This is the content"), text
    assert base64.b64decode(binary[0].blob).startswith(PNG)
    assert json.loads(member[0].text)["id"] == "42", member
    passed(f"{label}: resources")


def check_prompt(label: str, names, prompt, values) -> None:
    assert {"test_simple_prompt", "test_prompt_with_arguments"} <= set(names), names
    assert "arg1='a', arg2='b'" in prompt.messages[0].content.text, prompt
    assert values == ["paris", "park", "party"], values
    passed(f"{label}: prompts and completion")


async def check_sdk(mode: str) -> None:
    label, lines, questions = f"mcp, {mode}", [], []

    async def elicit(_context, params):
        questions.append(params.message)
        return types.ElicitResult(action="accept", content={"username": "ada", "email": "ada@example.com"})

    async def sample(_context, params):
        questions.append(params.messages[0].content.text)
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="Paris"), model="m", stop_reason="endTurn"
        )

    async def log(params):
        lines.append(params.data)

    changed = asyncio.Event()

    async def receive(message):
        if getattr(message, "method", "") == "notifications/resources/updated":
            assert str(message.params.uri) == WATCHED, message
            changed.set()

    client = mcp.Client(
        ENDPOINT,
        mode=mode,
        elicitation_callback=elicit,
        sampling_callback=sample,
        logging_callback=log,
        log_level="info",
        message_handler=receive,
    )
    async with client:
        check_blocks(label, (await client.call_tool("test_multiple_content_types", {})).content)

        read = [(await client.read_resource(uri)).contents for uri in URIS]
        listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert set(URIS[:2]) <= set(listed), listed
        check_contents(label, *read)

        names = [prompt.name for prompt in (await client.list_prompts()).prompts]
        prompt = await client.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
        reference = types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
        completion = await client.complete(reference, {"name": "arg1", "value": "pa"})
        check_prompt(label, names, prompt, completion.completion.values)

        answer = texts((await client.call_tool("test_elicitation", {"message": "Who are you?"})).content)
        assert "ada@example.com" in answer, answer
        answer = texts((await client.call_tool("test_sampling", {"prompt": "The capital of France?"})).content)
        assert "Paris" in answer, answer
        assert questions == ["Who are you?", "The capital of France?"], questions
        passed(f"{label}: questions to the person and the model")

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
            await changed.wait()
        else:
            async with client.listen(resource_subscriptions=[WATCHED]) as subscription:
                await client.call_tool("test_touch_resource", {})
                event = await anext(aiter(subscription))
                assert str(event.uri) == WATCHED, event
        passed(f"{label}: a change of a resource")


async def check_fastmcp(mode: str) -> None:
    label, questions = f"fastmcp, {mode}", []

    async def elicit(message, _type, params, _context):
        questions.append(message)
        return {"username": "ada", "email": "ada@example.com"}

    async def sample(messages, params, _context):
        questions.append(messages[0].content.text)
        return "Paris"

    async with fastmcp.Client(ENDPOINT, mode=mode, elicitation_handler=elicit, sampling_handler=sample) as client:
        check_blocks(label, (await client.call_tool("test_multiple_content_types", {})).content)
        check_contents(label, *[await client.read_resource(uri) for uri in URIS])
        names = [prompt.name for prompt in await client.list_prompts()]
        prompt = await client.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
        reference = types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
        completion = await client.complete(reference, {"name": "arg1", "value": "pa"})
        check_prompt(label, names, prompt, attribute(completion, "values"))
        answer = texts((await client.call_tool("test_elicitation", {"message": "Who are you?"})).content)
        assert "ada@example.com" in answer, answer
        answer = texts((await client.call_tool("test_sampling", {"prompt": "The capital of France?"})).content)
        assert "Paris" in answer, answer
        passed(f"{label}: questions to the person and the model")


WATCHED = "test://watched-resource"
URIS = ("test://static-text", "test://static-binary", "test://template/42/data")


async def main() -> None:
    for mode in ("auto", "legacy"):
        await check_sdk(mode)
        await check_fastmcp(mode)


asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))

"""The Python SDK's client and FastMCP's, against a running host in both protocol eras and over stdio.

    python python_client.py URL AOP AGENTS
"""

import asyncio
import sys
import tempfile

import fastmcp
import mcp
from mcp import StdioServerParameters

URL, AOP, AGENTS = sys.argv[1:]
ENDPOINT = f"{URL}/mcp"
# Far above what anything here takes: a hung host fails the check instead of stopping it.
PATIENCE_SECONDS = 120


def passed(label: str) -> None:
    print(f"  {label}")


def attribute(value, *names):
    """The SDKs spell their fields in either case."""
    for name in names:
        if hasattr(value, name):
            return getattr(value, name)
    raise AttributeError(f"none of {names} in {value!r}")


async def list_every_tool(client) -> dict:
    tools, cursor = {}, None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools.update({tool.name: tool for tool in page.tools})
        cursor = attribute(page, "next_cursor", "nextCursor")
        if not cursor:
            return tools


async def check_sdk(label: str, server, mode: str) -> None:
    async with mcp.Client(server, mode=mode) as client:
        passed(f"{label}: connected with {client.protocol_version}")
        tools = await list_every_tool(client)
        assert {"echo_echo", "faults_fail", "aop_discover", "aop_describe", "aop_call"} <= set(tools), tools.keys()
        echo = tools["echo_echo"]
        assert attribute(echo, "input_schema", "inputSchema")["required"] == ["text"]
        passed(f"{label}: {len(tools)} tools")

        # The client checks structured content against the output schema by itself.
        result = await client.call_tool("echo_echo", {"text": "grüß dich 🙂"})
        structured = attribute(result, "structured_content", "structuredContent")
        assert structured == {"success": True, "result": "grüß dich 🙂"}, structured
        assert result.content[0].text == "grüß dich 🙂"
        passed(f"{label}: a call")

        result = await client.call_tool("types_identity_u64", {"value": "18446744073709551615"})
        structured = attribute(result, "structured_content", "structuredContent")
        assert structured["result"] == "18446744073709551615", structured
        passed(f"{label}: a large integer")

        result = await client.call_tool("faults_fail", {"message": "no"})
        assert attribute(result, "is_error", "isError")
        structured = attribute(result, "structured_content", "structuredContent")
        assert structured["code"] == "guest_error" and structured["error"] == "no", structured
        passed(f"{label}: a failing call")

        result = await client.call_tool("echo_echo", {"text": 5})
        structured = attribute(result, "structured_content", "structuredContent")
        assert structured["code"] == "invalid_arguments", structured
        assert structured["details"][0]["pointer"] == "/text", structured
        passed(f"{label}: bad arguments")

        (skill,) = (await client.read_resource("skill://test/charts/SKILL.md")).contents
        assert skill.text.startswith("---\nname: charts\n"), skill
        passed(f"{label}: a skill")

        try:
            await client.call_tool("nobody_home", {})
        except Exception as error:
            code = getattr(getattr(error, "error", None), "code", getattr(error, "code", None))
            assert code == -32602, repr(error)
        else:
            raise AssertionError("an unknown tool was called")
        passed(f"{label}: an unknown tool")

        reports = []

        async def progress(value, total, message):
            reports.append((value, message))

        result = await client.call_tool(
            "asynchronous_count_up", {"limit": 5, "pause_milliseconds": 5}, progress_callback=progress
        )
        structured = attribute(result, "structured_content", "structuredContent")
        assert structured["result"] == ["1", "2", "3", "4", "5"], structured
        assert reports and reports == sorted(reports), reports
        passed(f"{label}: {len(reports)} reports of progress")

        results = await asyncio.gather(*(client.call_tool("echo_echo", {"text": str(n)}) for n in range(50)))
        assert [result.content[0].text for result in results] == [str(n) for n in range(50)]
        passed(f"{label}: 50 calls at once")


async def check_fastmcp(label: str, mode: str) -> None:
    async with fastmcp.Client(ENDPOINT, mode=mode) as client:
        tools = {tool.name for tool in await client.list_tools()}
        assert {"echo_echo", "aop_call"} <= tools, tools
        result = await client.call_tool("echo_echo", {"text": "hello"})
        structured = attribute(result, "structured_content", "structuredContent")
        assert structured == {"success": True, "result": "hello"}, structured
        result = await client.call_tool(
            "aop_call", {"tool": "echo_echo", "arguments": {"text": "through aop_call"}}
        )
        structured = attribute(result, "structured_content", "structuredContent")
        assert structured["result"] == "through aop_call", structured
        passed(f"{label}: {len(tools)} tools, calls")


async def main() -> None:
    for mode in ("auto", "legacy"):
        await check_sdk(f"mcp, {mode}", ENDPOINT, mode)
        await check_fastmcp(f"fastmcp, {mode}", mode)
    with tempfile.TemporaryDirectory() as data:
        arguments = ["serve", "--stdio", "--agents", AGENTS, "--data", data, "--log-level", "error"]
        for mode in ("auto", "legacy"):
            server = StdioServerParameters(command=AOP, args=arguments)
            await check_sdk(f"mcp, stdio, {mode}", server, mode)


asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))

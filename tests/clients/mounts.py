"""A host that mounts FastMCP servers over HTTP and stdio: what they have is listed and called; one is killed and comes back.

    python mounts.py AOP
"""

import asyncio
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import fastmcp

AOP = sys.argv[1]
SERVER = pathlib.Path(__file__).with_name("fastmcp_server.py")
PATIENCE_SECONDS = 120
# What a dead server may cost anybody at most; far below any timeout in the way.
AT_ONCE_SECONDS = 2


def passed(label: str) -> None:
    print(f"  {label}")


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def start_server(port: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, SERVER, "http", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def until(label: str, look):
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < end, f"waited in vain: {label}"
        await asyncio.sleep(0.1)


async def names(client) -> set:
    started = time.monotonic()
    found = {tool.name for tool in await client.list_tools()}
    assert time.monotonic() - started < AT_ONCE_SECONDS, "listing waited"
    return found


async def check(url: str, port: int, server: subprocess.Popen, work: pathlib.Path) -> subprocess.Popen:
    reports = []

    async def note(progress, total, message):
        reports.append((progress, total, message))

    async with fastmcp.Client(f"{url}/mcp", progress_handler=note) as client:

        async def has(*wanted):
            return set(wanted) <= await names(client)

        await until("both servers are listed", lambda: has("far_add", "near_add"))
        passed("tools over HTTP and stdio")

        for name in ("far", "near"):
            result = await client.call_tool(f"{name}_add", {"a": 2, "b": 3})
            assert result.structured_content == {"success": True, "result": {"result": 5}}, result
        passed("calls, with structured results")

        result = await client.call_tool("far_fail", {"reason": "no bread"}, raise_on_error=False)
        assert result.is_error and "no bread" in result.content[0].text, result
        result = await client.call_tool("far_add", {"a": "x", "b": 3}, raise_on_error=False)
        assert result.is_error, result
        passed("failures and wrong arguments")

        await client.call_tool("far_count", {"to": 5})
        assert reports and reports[-1][1] == 5, reports
        passed(f"progress: {len(reports)} reports")

        marker = work / "cancelled"
        waiting = asyncio.create_task(client.call_tool("far_wait", {"file": str(marker)}, timeout=1))
        await asyncio.gather(waiting, return_exceptions=True)

        async def is_cancelled():
            return marker.exists()

        await until("the server stops what nobody waits for", is_cancelled)
        passed("cancelled there")

        await client.call_tool("near_grow", {})
        await until("a new tool is listed", lambda: has("near_grown"))
        passed("a changed list")

        process = (await client.call_tool("near_process", {})).structured_content["result"]["result"]
        os.kill(process, signal.SIGKILL)

        async def is_another():
            try:
                result = await client.call_tool("near_process", {}, raise_on_error=False)
            except Exception as error:
                # Between the list and the call it may have gone.
                assert "near_process" in str(error), error
                return False
            return not result.is_error and result.structured_content["result"]["result"] != process

        async def started_again():
            return await has("near_process") and await is_another()

        await until("a program that died is started again", started_again)
        passed("a program that died")

        server.kill()
        server.wait()

        async def is_gone():
            found = await names(client)
            return "far_add" not in found and "near_add" in found

        await until("a dead server's tools are gone, the others stay", is_gone)
        passed("partial results of a dead server, at once")

        status = subprocess.run([AOP, "cluster", "status", "--url", url], capture_output=True, text=True)
        assert "far" in status.stdout and "down" in status.stdout and "tried again" in status.stdout, status
        passed("its state is shown")

        server = start_server(port)
        await until("it comes back", lambda: has("far_add"))
        result = await client.call_tool("far_add", {"a": 2, "b": 3})
        assert result.structured_content["result"] == {"result": 5}, result
        passed("back again")
    return server


async def main() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        (work / "aop.toml").write_text(
            f'[[cluster.server]]\nname = "far"\nurl = "http://127.0.0.1:{port}/mcp"\nrefresh = "1s"\n'
            f'[[cluster.server]]\nname = "near"\ncommand = ["{sys.executable}", "{SERVER}", "stdio"]\nrefresh = "1s"\n'
        )
        server = start_server(port)
        with open(work / "log", "w") as log:
            host = subprocess.Popen(
                [AOP, "serve", "--listen", "127.0.0.1:0", "--data", work / "data", "--config", work / "aop.toml"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            url = "http://" + host.stdout.readline().strip().removeprefix("http://")
            server = await asyncio.wait_for(check(url, port, server, work), 4 * PATIENCE_SECONDS)
        except BaseException:
            print((work / "log").read_text()[-8000:], file=sys.stderr)
            raise
        finally:
            for process in (host, server):
                process.kill()
                process.wait()


asyncio.run(main())

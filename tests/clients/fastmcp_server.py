"""A FastMCP server as its users write one, to be mounted.

    python fastmcp_server.py http PORT | stdio
"""

import asyncio
import os
import sys

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError

server = FastMCP("fixture", instructions="Adds and more.")


@server.tool(annotations={"readOnlyHint": True, "idempotentHint": True})
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool
def fail(reason: str) -> str:
    """Fail for a reason."""
    raise ToolError(reason)


@server.tool
async def count(to: int, ctx: Context) -> str:
    """Count and tell of it."""
    for n in range(1, to + 1):
        await ctx.report_progress(n, to, f"at {n}")
        await asyncio.sleep(0.02)
    return "counted"


@server.tool
async def wait(file: str) -> str:
    """Wait for a long time; write into a file how it ended."""
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        with open(file, "w") as out:
            out.write("cancelled")
        raise
    return "waited"


@server.tool
def process() -> int:
    """The id of this server's process."""
    return os.getpid()


@server.tool
async def grow(ctx: Context) -> str:
    """Get another tool."""

    @server.tool
    def grown() -> str:
        """It was not there before."""
        return "new"

    return "grown"


if sys.argv[1] == "http":
    server.run(transport="http", host="127.0.0.1", port=int(sys.argv[2]), show_banner=False)
else:
    server.run(transport="stdio", show_banner=False)

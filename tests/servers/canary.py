"""A real FastMCP server whose tools are called as canaries.

What they do is a file that is read again at each call, so a test changes the server by replacing it:
{"score": 0.9, "fail": false, "seconds": 0, "gone": false, "destructive": false}. Each call is written down in `calls`.
"""

import argparse
import json
import os
from pathlib import Path

os.environ["FASTMCP_CHECK_FOR_UPDATES"] = "off"
os.environ["FASTMCP_SHOW_SERVER_BANNER"] = "false"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--calls", type=Path, required=True)
    return parser.parse_args()


def build(options):
    import anyio
    from fastmcp import FastMCP
    from fastmcp.exceptions import ToolError
    from fastmcp.server.middleware import Middleware
    from mcp.types import ToolAnnotations

    server = FastMCP("canary-server", version="1.0.0")
    reads = ToolAnnotations(readOnlyHint=True)

    def state():
        return json.loads(options.state.read_text())

    def called(tool):
        with options.calls.open("a") as calls:
            calls.write(f"{tool}\n")

    @server.resource("health://status", mime_type="application/json")
    def status() -> str:
        return '{"status": "healthy"}'

    @server.tool(annotations=reads)
    async def find(query: str) -> dict:
        """Finds something, or does what the file says."""
        called("find")
        now = state()
        await anyio.sleep(now.get("seconds", 0))
        if now.get("fail"):
            raise ToolError(f"no index for {query}")
        return {"results": [{"path": "a.py", "score": now["score"]}], "query": query}

    @server.tool(annotations=reads)
    def add(a: int, b: int) -> int:
        """Adds; FastMCP wraps what it gives back."""
        called("add")
        return a + b

    @server.tool(annotations=reads, output_schema=None)
    def say() -> str:
        """Answers a text alone."""
        called("say")
        return "pong 7"

    @server.tool
    def unannotated() -> str:
        """Says nothing about the harm it can do."""
        called("unannotated")
        return "called"

    @server.tool(annotations=ToolAnnotations(readOnlyHint=False, destructiveHint=True))
    def delete() -> str:
        """Says that it destroys something."""
        called("delete")
        return "called"

    class Changes(Middleware):
        """Takes `find` off the list, or makes it destructive, as the file says."""

        async def on_list_tools(self, context, call_next):
            now = state()
            tools = []
            for tool in await call_next(context):
                if tool.name == "find" and now.get("gone"):
                    continue
                if tool.name == "find" and now.get("destructive"):
                    tool = tool.model_copy(update={"annotations": ToolAnnotations(destructiveHint=True)})
                tools.append(tool)
            return tools

    server.add_middleware(Changes())
    return server.http_app(transport="http")


def main():
    options = arguments()
    import uvicorn

    uvicorn.run(build(options), host="127.0.0.1", port=options.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()

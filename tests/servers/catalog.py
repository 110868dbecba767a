"""A real FastMCP server whose catalog is a file.

The file is read again at each list, so a test changes the server by replacing it:
{"tools": [{"name", "description", "inputSchema", "annotations"}], "prompts": [{"name", "description"}],
 "resources": [{"uri", "description"}], "page": 50, "vary": "order" or "description"}
"""

import argparse
import json
import os
import random
import uuid
from pathlib import Path

os.environ["FASTMCP_CHECK_FOR_UPDATES"] = "off"
os.environ["FASTMCP_SHOW_SERVER_BANNER"] = "false"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=["streamable-http", "sse", "stdio"], required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--catalog", type=Path, required=True)
    return parser.parse_args()


def described(catalog):
    """The tools as the file has them now, in its order or another, with its words or others."""
    tools = list(catalog.get("tools", []))
    if catalog.get("vary") == "order":
        random.shuffle(tools)
    if catalog.get("vary") == "description":
        tools = [{**tool, "description": f"{tool['description']} {uuid.uuid4()}"} for tool in tools]
    return tools


def build(options):
    from fastmcp import FastMCP
    from fastmcp.prompts import Prompt
    from fastmcp.resources import TextResource
    from fastmcp.server.middleware import Middleware
    from fastmcp.tools import Tool

    server = FastMCP("catalog-server", version="1.0.0", list_page_size=json.loads(options.catalog.read_text()).get("page"))

    class FromFile(Tool):
        async def run(self, arguments):
            raise NotImplementedError

    @server.resource("health://status", mime_type="application/json")
    def status() -> str:
        return '{"status": "healthy"}'

    class Reread(Middleware):
        """Replaces what a list answers by what the file says."""

        async def on_list_tools(self, context, call_next):
            catalog = json.loads(options.catalog.read_text())
            return [
                FromFile(
                    name=tool["name"],
                    description=tool.get("description"),
                    parameters=tool.get("inputSchema", {"type": "object"}),
                    annotations=tool.get("annotations"),
                )
                for tool in described(catalog)
            ]

        async def on_list_prompts(self, context, call_next):
            catalog = json.loads(options.catalog.read_text())
            return [
                Prompt(name=prompt["name"], description=prompt.get("description"))
                for prompt in catalog.get("prompts", [])
            ]

        async def on_list_resources(self, context, call_next):
            catalog = json.loads(options.catalog.read_text())
            more = [
                TextResource(uri=one["uri"], name=one["uri"], description=one.get("description"), text="")
                for one in catalog.get("resources", [])
            ]
            return [*await call_next(context), *more]

    server.add_middleware(Reread())
    if options.transport == "stdio":
        return server.run(transport="stdio")
    return server.http_app(transport="sse" if options.transport == "sse" else "http")


def main():
    options = arguments()
    app = build(options)
    if app is not None:
        import uvicorn

        uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()

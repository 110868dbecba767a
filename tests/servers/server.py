"""A real MCP server for the tests: FastMCP or the official SDK's own, whichever this Python has.

Its health is a file that is read again at each question, so a test changes it by replacing the file. What clients cost
it is written to a journal, one JSON object a request, so that a test counts sessions where they really are.
"""

import argparse
import gc
import json
import os
import sys
from pathlib import Path

# No network, and nothing but the server.
os.environ["FASTMCP_CHECK_FOR_UPDATES"] = "off"
os.environ["FASTMCP_SHOW_SERVER_BANNER"] = "false"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=["fastmcp", "sdk"], required=True)
    parser.add_argument("--transport", choices=["streamable-http", "sse", "stdio"], required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--version", default="1.2.3", help="which FastMCP's server says it has")
    parser.add_argument("--socket", help="listen on this unix socket instead of a port")
    parser.add_argument("--certificate", help="speak TLS with this; with --key")
    parser.add_argument("--key")
    parser.add_argument("--document", type=Path, required=True, help="what health://status answers")
    parser.add_argument("--journal", type=Path, help="what clients asked")
    parser.add_argument("--resource", choices=["answers", "raises", "absent"], default="answers")
    parser.add_argument("--cache-seconds", type=int, help="the cache lifetime that answers state")
    parser.add_argument("--json-response", action="store_true")
    parser.add_argument("--stateless", action="store_true")
    return parser.parse_args()


def build(options):
    """Gives back the server and, unless it is for stdio, its ASGI application."""
    http = {"json_response": options.json_response, "stateless_http": options.stateless}
    if options.kind == "fastmcp":
        from fastmcp import FastMCP

        cache = {"cache_ttl": options.cache_seconds} if options.cache_seconds else {}
        server = FastMCP("fastmcp-server", version=options.version, **cache)
        make = lambda: server.http_app(transport="sse") if options.transport == "sse" else server.http_app(**http)
    else:
        try:
            from mcp.server.mcpserver import MCPServer

            server, late = MCPServer("sdk-server"), http
        except ImportError:
            from mcp.server.fastmcp import FastMCP

            server, late = FastMCP("sdk-server", **http), {}
        make = lambda: server.sse_app() if options.transport == "sse" else server.streamable_http_app(**late)
    add_health(server, options)
    return server, None if options.transport == "stdio" else make()


def add_health(server, options):
    from starlette.responses import Response

    if options.resource != "absent":

        @server.resource("health://status", mime_type="application/json")
        def status() -> str:
            if options.resource == "raises":
                raise RuntimeError("the health of this server cannot be told")
            return options.document.read_text()

    @server.resource("notes://today")
    def notes() -> str:
        return "nothing to do with health"

    @server.tool()
    def health() -> dict:
        return json.loads(options.document.read_text())

    @server.tool()
    def broken() -> dict:
        raise RuntimeError("this tool is broken")

    @server.custom_route("/health", methods=["GET"])
    async def document(_request):
        # Many servers answer 503 with a full document as soon as they are not healthy.
        text = options.document.read_text()
        healthy = json.loads(text).get("status") == "healthy"
        return Response(text, media_type="application/json", status_code=200 if healthy else 503)


class Journal:
    """ASGI middleware that notes each request: its verb, path, JSON-RPC method, session and answer's status."""

    def __init__(self, app, path):
        self.app = app
        self.path = path

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body = bytearray()
        session = dict(scope["headers"]).get(b"mcp-session-id", b"").decode()

        async def receiving():
            message = await receive()
            if message["type"] == "http.request":
                body.extend(message.get("body", b""))
            return message

        noted = False

        async def sending(message):
            nonlocal noted
            # An event stream that ends may start a second, empty answer, which nobody sees.
            if message["type"] == "http.response.start" and not noted:
                noted = True
                given = {name.lower(): value for name, value in message["headers"]}.get(b"mcp-session-id", b"")
                try:
                    method = json.loads(bytes(body)).get("method")
                except ValueError:
                    method = None
                line = {
                    "verb": scope["method"],
                    "path": scope["path"],
                    "method": method,
                    "session": given.decode() or session,
                    "status": message["status"],
                    "connection": scope["client"][1] if scope["client"] else None,
                }
                self.note(line)
            await send(message)

        await self.app(scope, receiving, sending)
        if scope["method"] == "DELETE":
            self.note({"open_sessions": open_sessions()})

    def note(self, line):
        with self.path.open("a") as journal:
            journal.write(json.dumps(line) + "\n")


def open_sessions():
    """How many sessions the SDK itself holds; it has no public way to tell."""
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager as Manager

    return sum(len(thing._server_instances) for thing in gc.get_objects() if isinstance(thing, Manager))


def main():
    options = arguments()
    server, app = build(options)
    if app is None:
        server.run(transport="stdio")
        return
    import uvicorn

    if options.journal:
        app = Journal(app, options.journal)
    where = {"uds": options.socket} if options.socket else {"host": options.host, "port": options.port}
    if options.certificate:
        where |= {"ssl_certfile": options.certificate, "ssl_keyfile": options.key}
    uvicorn.run(app, **where, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    sys.exit(main())

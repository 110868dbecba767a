"""A small MCP server with a health resource in the shape of the health guide, for the compose stack.

Its pool fills and empties over ten minutes, its database is slow for a while at the top, and once an hour it says for a
minute that it is unhealthy: so dashboards move and alerts fire without anybody's help.
"""

import json
import math
import os
import time
from datetime import datetime, timezone

from fastmcp import FastMCP

mcp = FastMCP("demo", version="1.0.0")
STARTED = time.time()
POOL_SIZE = 20


def load(uptime: float) -> float:
    """How busy the server is, 0 to 1."""
    return 0.5 - 0.5 * math.cos(uptime / 600 * 2 * math.pi)


@mcp.resource("health://status", mime_type="application/json")
def health() -> str:
    uptime = time.time() - STARTED
    busy = load(uptime)
    active = round(busy * 0.9 * POOL_SIZE)
    latency_ms = 4 + (150 * (busy - 0.8) / 0.2 if busy > 0.8 else 0)
    down = uptime % 3600 > 3540
    status = "unhealthy" if down else "degraded" if latency_ms > 100 else "healthy"
    return json.dumps({
        "status": status,
        "timestamp": datetime.now(timezone.utc).isoformat(),
        "database_status": "disconnected" if down else "connected",
        "uptime_seconds": round(uptime, 2),
        "connection_pool": {
            "total_connections": POOL_SIZE,
            "active_connections": active,
            "idle_connections": POOL_SIZE - active,
            "waiting_requests": 0,
            "pool_utilization": active / POOL_SIZE,
        },
        "checks": {
            "database": {"status": "fail" if down else "pass", "latency_ms": round(latency_ms, 2)},
            "memory": {"status": "pass", "usage_mb": 180 + 60 * busy, "limit_mb": 512, "percentage": (180 + 60 * busy) / 5.12},
            "disk": {"status": "pass", "free_gb": 42.0, "percentage_used": 58.0},
        },
        "metadata": {"version": "1.0.0", "environment": "compose", "region": "local"},
    })


@mcp.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


if __name__ == "__main__":
    mcp.run(transport="http", host="0.0.0.0", port=int(os.environ.get("PORT", "8000")))

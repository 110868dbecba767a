"""The exporter and its children under the system call filter of the systemd unit, applied by the kernel."""

import re
import sys
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

from common import DEPLOY, ENV, exporter, free_port, get, process, run, wait_for

UNIT = DEPLOY / "systemd/mcp-exporter.service"
STDIO = DEPLOY / "systemd/mcp-exporter.service.d/stdio.conf"
SERVER = DEPLOY / "compose/demo-server"

# What a process may do without any privilege, and what each unit makes of it.
ATTEMPTS = """
import ctypes, errno, mmap, os, socket, threading
libc = ctypes.CDLL(None, use_errno=True)
def raw(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)
for name, attempt in {
    "connect": lambda: socket.socket(socket.AF_INET6),
    "unix": lambda: socket.socket(socket.AF_UNIX),
    "child": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
    "thread": lambda: threading.Thread(target=id, args=(0,)).start(),
    "code from a file": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "code from memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "interfaces": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "priority": lambda: os.nice(1),
    "personality": lambda: raw("personality", 8),
    "trace": lambda: raw("ptrace", 0, 0, 0, 0),
}.items():
    try:
        attempt()
        print(f"{name}: yes")
    except OSError as error:
        print(f"{name}: {errno.errorcode[error.errno]}")
"""


def under(*units):
    return [sys.executable, Path(__file__).with_name("confine.py"), *units, "--"]


def attempts(*before):
    said = run(*before, sys.executable, "-c", ATTEMPTS)
    return dict(line.split(": ") for line in said.splitlines())


class Confined(unittest.TestCase):
    def test_the_filter_refuses(self):
        harmless = {name: "yes" for name in ("connect", "unix", "child", "thread", "code from a file")}
        free = dict.fromkeys(("code from memory", "interfaces", "priority", "personality", "trace"), "yes")
        self.assertEqual(attempts(), harmless | free)
        refused = {"code from memory": "EPERM", "interfaces": "EAFNOSUPPORT", "priority": "EPERM"}
        never = {"personality": "EPERM", "trace": "EPERM"}
        self.assertEqual(attempts(*under(UNIT)), harmless | refused | never)
        # What Node needs, and no more.
        self.assertEqual(attempts(*under(UNIT, STDIO)), harmless | dict.fromkeys(refused, "yes") | never)

    def test_the_demo(self):
        """Streamable HTTP, HTTP+SSE and a child process, under the unit as it is."""
        with exporter("demo", under=under(UNIT)) as url:
            transports = lambda: set(re.findall(r'mcp_server_info{[^}]*transport="([\w-]+)"', get(f"{url}/metrics")))  # noqa: E731
            wait_for(lambda: transports() == {"streamable-http", "sse", "stdio"}, 60)
            self.assertIn("mcp_process_resident_memory_bytes{", get(f"{url}/metrics"))

    def test_servers_with_a_command(self):
        """A server of Python's as a child, and the same by name and port, under the unit with its drop-in."""
        python = ENV / "demo-server/bin/python"
        port = free_port()
        with TemporaryDirectory() as place, process(python, SERVER / "server.py", env={"PORT": str(port)}):
            path = Path(place) / "mcp-exporter.yaml"
            run_it = "import server; server.mcp.run(transport='stdio')"
            path.write_text(
                f"servers:\n- {{name: child, command: {python}, args: [-c, \"{run_it}\"], cwd: {SERVER}}}\n"
                f"- {{name: remote, url: 'http://localhost:{port}/mcp'}}\n"
            )
            with exporter(env={"MCP_EXPORTER_CONFIG_FILE": str(path)}, under=under(UNIT, STDIO)) as url:
                for name in ("child", "remote"):
                    wait_for(lambda: f'mcp_pool_utilization{{server="{name}"' in get(f"{url}/metrics"), 90)

    def test_node_needs_the_drop_in(self):
        script = "let n = 0; for (let i = 0; i < 1e7; i++) n += i; console.log(n)"
        self.assertEqual(run(*under(UNIT, STDIO), "node", "-e", script), "49999995000000\n")
        with self.assertRaises(AssertionError):
            run(*under(UNIT), "node", "-e", script)

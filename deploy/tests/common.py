"""Where things are, and how to run them."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
ENV = Path(os.environ["TEST_ENV"])
EXPORTER = os.environ["MCP_EXPORTER"]


def load(path):
    return yaml.safe_load(Path(path).read_text())


def run(*command, **options):
    """The command's standard output; its whole output in the error when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def wait_for(what, seconds=20):
    """The first true value of `what()`; connection errors count as false."""
    end = time.monotonic() + seconds
    while True:
        try:
            if value := what():
                return value
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


@contextmanager
def process(*command, **options):
    """A process that ends with the block."""
    child = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def exporter(*arguments, env=None, under=()):
    """A running exporter, started through another command where there is one; its base URL."""
    port = free_port()
    listen = f"127.0.0.1:{port}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MCP_EXPORTER_")}
    variables = {**clean, **(env or {}), "MCP_EXPORTER_WEB_LISTEN_ADDRESS": listen}
    with process(*under, EXPORTER, *arguments, env=variables):
        wait_for(lambda: get(f"http://{listen}/-/healthy") or True)
        yield f"http://{listen}"

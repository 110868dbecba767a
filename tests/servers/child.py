"""A child process that speaks MCP on its standard streams, and misbehaves in one way. Standard library only."""

import itertools
import json
import os
import signal
import sys
import threading
import time

HANDSHAKE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"resources": {}},
    "serverInfo": {"name": "child", "version": "0"},
}
HEALTH = {"contents": [{"uri": "health://status", "mimeType": "application/json", "text": '{"status": "healthy"}'}]}
RESULTS = {
    "initialize": HANDSHAKE,
    "ping": {},
    "resources/list": {"resources": [{"uri": "health://status", "name": "health"}]},
    "resources/read": HEALTH,
}


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def answer(message):
    """A well-behaved answer; notifications get none."""
    if "id" not in message:
        return
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] in RESULTS:
        reply["result"] = RESULTS[message["method"]]
    else:
        reply["error"] = {"code": -32601, "message": "Method not found"}
    say(json.dumps(reply))


def serve(before=lambda message: None):
    for line in sys.stdin:
        message = json.loads(line)
        before(message)
        answer(message)


def huge_line(message):
    """Instead of the health: a line of 150 MB, more than the exporter may use."""
    if message["method"] != "resources/read":
        return
    for _ in range(150):
        sys.stdout.write("x" * 1_000_000)
    say("")


def flood():
    """Healthy, with a standard error that never ends."""

    def shout():
        for number in itertools.count():
            sys.stderr.write(f"flood {number} " + "y" * 1500 + "\n")
            if number % 1000 == 999:
                sys.stderr.write("a line of its own " * 100_000)

    threading.Thread(target=shout, daemon=True).start()
    serve()


def garbage():
    """Far more noise than anybody means by a start-up banner, and no message."""
    for _line in sys.stdin:
        for _ in range(1000):
            say("Traceback (most recent call last): \x00 {[")


def late():
    """Healthy, after a start of eleven seconds. It speaks 2026-07-28 and, as FastMCP does, nothing else after that."""
    time.sleep(11)
    RESULTS["server/discover"] = {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"resources": {}},
        "serverInfo": {"name": "child", "version": "0"},
        "ttlMs": 0,
        "cacheScope": "private",
    }
    del RESULTS["initialize"]
    serve()


def stubborn():
    """Answers, but neither a closed standard input nor SIGTERM ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve()
    # Not for ever: nothing may outlive a test that failed.
    time.sleep(300)


def family():
    """Has a child of its own, which holds the same standard streams and outlives its parent unless it is ended."""
    if os.fork() == 0:
        with open(os.environ["TEST_DIRECTORY"] + "/ids", "a") as ids:
            ids.write(f"{os.getpid()}\n")
        time.sleep(300)
        return
    serve()


def faults():
    """Answers twice, with a descendant in a session of its own, and dies of a segmentation fault."""
    if os.fork() == 0:
        os.setsid()
        with open(os.environ["TEST_DIRECTORY"] + "/ids", "a") as ids:
            ids.write(f"{os.getpid()}\n")
        time.sleep(300)
        return
    asked = itertools.count(1)

    def die(message):
        if message["method"] == "resources/read" and next(asked) > 2:
            sys.stderr.write("about to die\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGSEGV)

    serve(die)


def echo_environment(message):
    """Tells what it was given, on standard error and in an error."""
    given = " ".join(sys.argv[2:]) + " " + json.dumps(dict(os.environ))
    with open(os.environ["TEST_DIRECTORY"] + "/given", "a") as file:
        file.write(given + "\n")
    sys.stderr.write(f"my environment is {given}\n" + given * 40 + "\n")
    sys.stderr.flush()
    if message["method"] == "resources/read":
        error = {"code": -32000, "message": f"cannot work with {given}", "data": given}
        say(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}))


def echo():
    for line in sys.stdin:
        message = json.loads(line)
        echo_environment(message)
        if message["method"] != "resources/read":
            answer(message)


MODES = {
    "healthy": serve,
    "garbage": garbage,
    "noisy": lambda: serve(lambda message: say("INFO: this server prints to standard output")),
    "huge-line": lambda: serve(huge_line),
    "exits": lambda: sys.exit("cannot start: no configuration"),
    "flood": flood,
    "late": late,
    "stubborn": stubborn,
    "family": family,
    "faults": faults,
    "echo": echo,
    "hangs": lambda: [None for line in sys.stdin],
}

if __name__ == "__main__":
    MODES[sys.argv[1]]()

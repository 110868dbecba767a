"""A child process whose life is short: now and then it ends, is killed or leaves a descendant behind before it answers.
Notes down what it does. Standard library only.

    TEST_DIRECTORY=WHERE mortal.py SEED
"""

import json
import os
import random
import signal
import subprocess
import sys

HERE, SEED = os.environ["TEST_DIRECTORY"], sys.argv[1]
RESULTS = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"resources": {}},
        "serverInfo": {"name": "mortal", "version": "0"},
    },
    "ping": {},
    "resources/read": {"contents": [{"uri": "health://status", "text": '{"status": "healthy"}'}]},
}


def note(word, file="given"):
    with open(os.path.join(HERE, file), "a", encoding="utf-8") as journal:
        journal.write(f"{word}\n")


def live_dangerously(chance):
    """Before a health question is answered. Whoever ends here has not noted it."""
    fate = chance.randrange(24)
    if fate == 0:
        sys.exit(3)
    if fate == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == 2:
        # A descendant that holds none of our pipes and would outlive us.
        nothing = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], **nothing)
        note(orphan.pid, "ids")
        os._exit(0)


def main():
    chance = random.Random(f"{SEED} {os.getpid()}")
    note("start")
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        reply = {"jsonrpc": "2.0", "id": message["id"]}
        if message["method"] not in RESULTS:
            reply["error"] = {"code": -32601, "message": "Method not found"}
        else:
            if message["method"] == "resources/read":
                if not os.path.exists(os.path.join(HERE, "peace")):
                    live_dangerously(chance)
                note("answered")
            reply["result"] = RESULTS[message["method"]]
        print(json.dumps(reply), flush=True)


main()

"""How long a wrong password takes to be refused, for a user that there is and for names that nobody has.

    python3 tests/web_config/timing.py PROGRAM [COST [ROUNDS]]

Starts PROGRAM (mcp-exporter) with one user and asks in turn: the known user and an unknown one, each time with a password
that was not asked before, so that no answer comes from the cache. Prints medians and quartiles. No test looks at them: a
busy machine would make it one of luck. What the code guarantees instead is tested: one comparison each, at one cost.
"""

import base64
import http.client
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main(program, cost=10, rounds=100):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as place:
        web = Path(place) / "web.yaml"
        # No password has this hash, and none is asked for that would be right.
        web.write_text(f"basic_auth_users: {{prometheus: $2b${int(cost):02}${'.' * 53}}}\n")
        daemon = subprocess.Popen(
            [program, "--target=http://127.0.0.1:9/mcp", f"--web.listen-address=127.0.0.1:{port}", f"--web.config.file={web}"],
            stderr=subprocess.DEVNULL,
        )
        try:
            print(measure(port, int(rounds), int(cost)))
        finally:
            daemon.terminate()
            daemon.wait()


def measure(port, rounds, cost):
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.connect()
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    times = {"known": [], "unknown": []}
    for n in range(rounds):
        for kind, user in (("known", "prometheus"), ("unknown", f"stranger{n}")):
            token = base64.b64encode(f"{user}:wrong{n}".encode()).decode()
            start = time.perf_counter()
            connection.request("GET", "/metrics", headers={"Authorization": f"Basic {token}"})
            answer = connection.getresponse()
            answer.read()
            times[kind].append((time.perf_counter() - start) * 1000)
            assert answer.status == 401, answer.status
    lines = [f"cost {cost}, {rounds} each"]
    for kind, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        lines.append(f"{kind:8} median {median:.2f} ms, quartiles {low:.2f} to {high:.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs a command under the system call filter of a systemd unit: confine.py UNIT [DROP-IN ...] -- COMMAND ...

For machines where systemd does not run. The kernel's own filter, made by libseccomp from the unit's lines as systemd makes
it: SystemCallFilter= with the groups as systemd-analyze lists them, SystemCallErrorNumber=, RestrictAddressFamilies=,
MemoryDenyWriteExecute=, RestrictNamespaces=, LockPersonality= and NoNewPrivileges=. What is made of mounts and users
(ProtectSystem=, DynamicUser= and the like) is not there.
"""

import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pyseccomp as seccomp

PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
NAMESPACES = 0x7E020080  # CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET


def settings(paths):
    """The values of each key in the units, in order; systemd adds those of lists together, and of others takes the last."""
    found = {}
    for path in paths:
        for key, value in re.findall(r"^(\w+)=(.*)$", Path(path).read_text(), re.M):
            found.setdefault(key, []).append(value)
    return found


def group(name):
    """The system calls of a group such as `@system-service`, those of the groups in it included."""
    said = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    words = [line.strip() for line in said.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*(group(word) if word.startswith("@") else {word} for word in words))


def allowed(lists):
    """The first line says that what is listed is allowed; a line with `~` takes away from it."""
    # Allowed whatever the unit says, by systemd.exec(5).
    calls = group("@default")
    for line in lists:
        names = set().union(*(group(word) if word.startswith("@") else {word} for word in line.removeprefix("~").split()))
        calls = calls - names if line.startswith("~") else calls | names
    return calls


def confine(unit):
    yes = lambda key: unit.get(key, ["no"])[-1] == "yes"  # noqa: E731
    refusal = getattr(errno, unit["SystemCallErrorNumber"][-1])
    families = {getattr(socket, name) for line in unit["RestrictAddressFamilies"] for name in line.split()}
    rules = seccomp.SyscallFilter(seccomp.ERRNO(refusal))
    calls = allowed(unit["SystemCallFilter"])

    def add(action, call, *conditions):
        try:
            rules.add_rule(action, call, *conditions)
        except (OSError, ValueError):
            # Names that this machine's architecture, or its libseccomp, does not have; systemd leaves them out, too.
            pass

    # Special cases are lines of their own with their conditions, since a call without one is allowed as it is.
    if yes("MemoryDenyWriteExecute"):
        for call, argument, flags in (("mmap", 2, PROT_WRITE | PROT_EXEC), ("mprotect", 2, PROT_EXEC), ("pkey_mprotect", 2, PROT_EXEC), ("shmat", 2, SHM_EXEC)):
            calls.discard(call)
            # Allowed where at least one of the bits is not set.
            for bit in (1 << place for place in range(16) if flags >> place & 1):
                add(seccomp.ALLOW, call, seccomp.Arg(argument, seccomp.MASKED_EQ, bit, 0))
    if yes("RestrictNamespaces"):
        for call, argument in (("clone", 0), ("unshare", 0)):
            calls.discard(call)
            add(seccomp.ALLOW, call, seccomp.Arg(argument, seccomp.MASKED_EQ, NAMESPACES, 0))
        calls -= {"setns", "clone3"}
        # Its flags are behind a pointer; callers know what to do without it.
        add(seccomp.ERRNO(errno.ENOSYS), "clone3")
    if yes("LockPersonality"):
        calls.discard("personality")
        add(seccomp.ALLOW, "personality", seccomp.Arg(0, seccomp.EQ, 0))
    calls.discard("socket")
    for family in families:
        add(seccomp.ALLOW, "socket", seccomp.Arg(0, seccomp.EQ, family))
    for family in set(map(int, socket.AddressFamily)) - families:
        add(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket", seccomp.Arg(0, seccomp.EQ, family))
    for call in calls:
        add(seccomp.ALLOW, call)
    # Without it the kernel takes a filter from root alone, and libseccomp sets it.
    rules.set_attr(seccomp.Attr.CTL_NNP, int(yes("NoNewPrivileges")))
    rules.load()


if __name__ == "__main__":
    end = sys.argv.index("--")
    confine(settings(sys.argv[1:end]))
    os.execvp(sys.argv[end + 1], sys.argv[end + 1 :])

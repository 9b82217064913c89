"""Runs a command and writes what it cost: measure.py REPORT COMMAND...

A process of its own, because Linux counts the memory of the process that starts a child to the child's peak:
started from here, that is a few MB and not the test's hundreds.
"""

import json
import os
import sys
import time


def counted_bytes(pid: int) -> int:
    """Bytes that the process has read so far, from files and pipes; 0 where the kernel does not say."""
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as lines:
            return int(dict(line.split(":") for line in lines)["rchar"])
    except OSError:
        return 0


def main() -> None:
    report, command = sys.argv[1], sys.argv[2:]
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            os.execv(command[0], command)
        finally:
            os._exit(127)
    os.close(0)  # so that a writer to our stdin learns that the child is gone
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    seconds = time.monotonic() - started
    bytes_read = counted_bytes(pid)
    _, status, usage = os.wait4(pid, 0)
    measured = {
        "status": os.waitstatus_to_exitcode(status),
        "peak_bytes": usage.ru_maxrss * 1024,
        "seconds": seconds,
        "bytes_read": bytes_read,
    }
    with open(report, "w", encoding="ascii") as out:
        json.dump(measured, out)


main()

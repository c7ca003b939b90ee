"""A gateway process without the gateway: takes orders on its standard input, and answers each with one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import contextforge_double

from mcpgateway_usage import process
from mcpgateway_usage.settings import load


def here() -> process.Process:
    found = process.current()
    assert found is not None
    return found


def run(gateway: str) -> None:
    """Use it about a thousand times a second, and say each time when and how often it has been."""
    count = 0
    while True:
        here().counts.used(gateway)
        count += 1
        os.write(1, f"{time.time()} {count}\n".encode())
        time.sleep(0.001)


def fork(gateway: str, count: int) -> str:
    """A child that uses the gateway and lives until the test kills it."""
    child = os.fork()
    if child == 0:
        for _ in range(count):
            here().counts.used(gateway)
        while True:
            signal.pause()
    return str(child)


def check(count: int) -> str:
    """So many health checks of a cold gateway, and what this process says of its polling then."""
    scene = contextforge_double.Scene()
    for _ in range(count):
        scene.check()
    assert scene.is_due("http://hot.example/mcp")
    here().flush()
    return here().polling.encode()


def fork_and_check(count: int) -> str:
    """The same in a child, which lives until the test kills it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, check(count).encode())
        while True:
            signal.pause()
    return f"{child} {os.read(reader, 4096).decode()}"


def obey(words: list[str]) -> str:  # noqa: PLR0911
    match words:
        case ["id"]:
            return here().id
        case ["use", gateway, count]:
            for _ in range(int(count)):
                here().counts.used(gateway, "https://mcp.example.com/mcp")
            return "ok"
        case ["serves"]:
            endpoint = here()._endpoint
            return "yes" if endpoint is not None and endpoint.is_alive() else "no"
        case ["fork", gateway, count]:
            return fork(gateway, int(count))
        case ["check", count]:
            return check(int(count))
        case ["fork-check", count]:
            return fork_and_check(int(count))
        case ["spawn"]:
            # Lives on with whatever it inherits, until the test kills it.
            return str(subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).pid)
        case ["run", gateway]:
            threading.Thread(target=run, args=(gateway,), daemon=True).start()
            return "ok"
    raise SystemExit(f"no such order: {words}")


def main() -> None:
    if "PLANT" in os.environ:
        contextforge_double.plant()
    process.configure(load(None))
    for line in sys.stdin:
        print(obey(line.split()), flush=True)


if __name__ == "__main__":
    main()

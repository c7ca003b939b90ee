"""Reads in Redis what gateways read, every few milliseconds on a connection of its own, until SIGTERM.

Run as: python3 redis_observer.py PORT FLEET, where FLEET is the file with the objects. Each read is one transaction:
the lock, metadata and timestamp, the sizes of hot set, cold set and refresh plan, and in which of them one server is,
another one each time. It is whole if they are of one publication (docs/contract.md#redis-keys): the sizes are those of
the metadata, the plan has one field for each cold server, and the server is in one of the sets.

Prints lines with a word, the time in Unix seconds, and:

- `reads`, for each tenth of a second: the number of reads, those without the operator's lock, those without a
  publication, those that were not whole, how long the longest one took, and by how much the observer woke up late at
  most, both in ms: what a busy machine adds to a read;
- `published`: the timestamp of a new publication and the term of the lock;
- `broken`: why a read was not whole.
"""

import gc
import json
import signal
import socket
import sys
import time

PERIOD = 0.003
KEYS = "mcpgateway:server_classification:"
Answer = int | bytes | None


def command(*words: str) -> bytes:
    """A command of the protocol."""
    parts = [f"*{len(words)}\r\n".encode()]
    parts += (b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words)
    return b"".join(parts)


class Connection:
    """A connection that reads in transactions."""

    def __init__(self, port: int) -> None:
        """Connects."""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answers = self.socket.makefile("rb")
        names = ["metadata", "timestamp", "leader"]
        self.begin = command("MULTI") + b"".join(command("GET", KEYS + name) for name in names)
        self.begin += command("SCARD", KEYS + "hot") + command("SCARD", KEYS + "cold")
        self.begin += command("HLEN", KEYS + "intervals")

    def answer(self) -> Answer | list[Answer]:
        """Reads one answer."""
        line = self.answers.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.answers.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]  # type: ignore[misc]
        if kind == b"+":
            return rest
        raise ConnectionError(line.decode(errors="replace"))

    def read(self, url: str) -> list[Answer]:
        """One transaction."""
        asked = command("SISMEMBER", KEYS + "hot", url) + command("SISMEMBER", KEYS + "cold", url)
        self.socket.sendall(self.begin + asked + command("HEXISTS", KEYS + "intervals", url) + command("EXEC"))
        for _ in range(10):
            self.answer()
        return self.answer()  # type: ignore[return-value]


def fault(found: list[Answer], url: str) -> str | None:
    """Why this is not a whole publication."""
    metadata, timestamp, _, hot, cold, planned, is_hot, is_cold, is_planned = found
    if metadata is None or timestamp is None:
        return f"metadata {metadata!r}, timestamp {timestamp!r}, {hot} hot, {cold} cold"
    facts = json.loads(metadata)  # type: ignore[arg-type]
    if (facts["hot_actual"], facts["total_servers"]) != (hot, hot + cold):  # type: ignore[operator]
        return f"{hot} hot, {cold} cold, but {metadata!r}"
    if planned != cold:
        return f"{cold} cold servers, and a plan for {planned}"
    if is_hot + is_cold != 1 or is_planned != is_cold:  # type: ignore[operator]
        return f"{url} is in {is_hot} hot set, {is_cold} cold set, {is_planned} plan"
    return None


def main() -> None:
    """Reads until SIGTERM."""
    port, fleet = sys.argv[1:]
    with open(fleet, encoding="utf-8") as file:
        urls = [item["spec"]["url"] for item in json.load(file)["items"]]
    connection = Connection(int(port))
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    # A collection would count as a slow read.
    gc.collect()
    gc.freeze()
    gc.disable()
    begun, longest, late, newest, number = time.time(), 0.0, 0.0, None, 0
    reads = unlocked = missing = broken = 0
    while not ended:
        # A step that has no common divisor with usual numbers of servers, so that all of them have their turn.
        url = urls[number * 7919 % len(urls)]
        number += 1
        before = time.perf_counter()
        found = connection.read(url)
        longest = max(longest, time.perf_counter() - before)
        at, lock = time.time(), found[2] or b""
        reads += 1
        unlocked += not lock.startswith(b"mcpgateway-operator/")  # type: ignore[union-attr]
        if not any(found[:2] + found[3:6]):
            missing += 1
        elif (why := fault(found, url)) is not None:
            broken += 1
            print(f"broken {at:.6f} {why}", flush=True)
        if found[1] not in (None, newest):
            newest = found[1]
            term = lock.split(b"/")[-1]  # type: ignore[union-attr]
            print(f"published {at:.6f} {newest.decode()} {term.decode()}", flush=True)  # type: ignore[union-attr]
        if at - begun >= 0.1:
            counts = f"{reads} {unlocked} {missing} {broken}"
            print(f"reads {begun:.6f} {counts} {longest * 1000:.3f} {late * 1000:.3f}", flush=True)
            begun, longest, late = at, 0.0, 0.0
            reads = unlocked = missing = broken = 0
        before = time.perf_counter()
        time.sleep(PERIOD)
        late = max(late, time.perf_counter() - before - PERIOD)


main()

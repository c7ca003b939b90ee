#!/usr/bin/env python3
"""Samples Redis as a gateway does, and reports broken promises.

In: the address of Redis. Out: FILE, rewritten every half second: one JSON object with what was seen so far. Each sample
reads both sets, metadata, timestamp, lock and term in one command, and checks two promises. docs/contract.md#p3: hot
and cold are disjoint and as many as the metadata says, or nothing is there. docs/contract.md#p1: the term and the
lock's term never fall.
"""

import json
import os
import socket
import sys
import time

KEYS = "mcpgateway:server_classification:"
LOOK = ("local k = ARGV[1] return {redis.call('SMEMBERS', k..'hot'), redis.call('SMEMBERS', k..'cold'), "
        "redis.call('GET', k..'metadata') or '', redis.call('GET', k..'timestamp') or '', "
        "redis.call('GET', k..'leader') or '', redis.call('GET', k..'term') or '0'}")
PAUSE_SECONDS = 0.02


class Redis:
    """The few words of Redis' protocol that are needed here."""

    def __init__(self, host):
        self.socket = socket.create_connection((host, 6379), timeout=5)
        self.file = self.socket.makefile("rb")

    def call(self, *words):
        text = b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words)
        self.socket.sendall(b"*%d\r\n" % len(words) + text)
        return self.read()

    def read(self):
        line = self.file.readline().decode().strip()
        kind, rest = line[:1], line[1:]
        if kind == "$":
            return self.file.read(int(rest) + 2)[:-2].decode() if int(rest) >= 0 else None
        if kind == "*":
            return [self.read() for _ in range(int(rest))]
        if kind == "-":
            raise RuntimeError(rest)
        return rest


class Seen:
    """What was seen so far."""

    def __init__(self):
        self.looks = self.without = self.unlocked = self.term = self.lock_term = 0
        self.published = False
        self.wrong = []

    def look(self, hot, cold, metadata, timestamp, lock, term):
        self.looks += 1
        if int(term) < self.term:
            self.wrong.append(f"the term fell from {self.term} to {term}")
        self.term = max(self.term, int(term))
        if lock.startswith("mcpgateway-operator/"):
            of = int(lock.rsplit("/", 1)[1])
            if of < self.lock_term:
                self.wrong.append(f"the lock's term fell from {self.lock_term} to {of}")
            self.lock_term = of
        if timestamp:
            self.published = True
            count = json.loads(metadata)["total_servers"] if metadata else None
            if set(hot) & set(cold):
                self.wrong.append(f"hot and cold at once: {set(hot) & set(cold)}")
            if len(hot) + len(cold) != count:
                self.wrong.append(f"{len(hot)} hot and {len(cold)} cold, the metadata says {count}")
        elif hot or cold or metadata:
            self.wrong.append(f"{len(hot)} hot, {len(cold)} cold, metadata '{metadata}', and no timestamp")
        elif self.published:
            self.without += 1
        if self.published and not lock:
            self.unlocked += 1

    def write(self, path):
        with open(path + ".new", "w") as file:
            json.dump({**vars(self), "wrong": self.wrong[:20]}, file)
        os.replace(path + ".new", path)


def main():
    host, path = sys.argv[1:]
    redis, seen, written = Redis(host), Seen(), 0.0
    while True:
        seen.look(*redis.call("EVAL", LOOK, "0", KEYS))
        if time.monotonic() - written > 0.5:
            seen.write(path)
            written = time.monotonic()
        time.sleep(PAUSE_SECONDS)


main()

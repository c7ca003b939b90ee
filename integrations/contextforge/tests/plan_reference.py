"""A second implementation of the contract's rule of the refresh plan, and random states to test it with."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

KEYS = "mcpgateway:server_classification"
HOT_INTERVAL, COLD_INTERVAL = 300, 900
TOLERANCE = 60
DIGITS = set("0123456789")


@dataclass(frozen=True)
class State:
    """What Redis holds for one server."""

    tier: str | None
    """hot, cold, both (of which hot counts), or neither."""
    field: str | None
    stamp: str | None
    now: float
    wrong_type: str | None = None
    """The key that is a list: plan or stamp."""


async def put(redis: Any, state: State, url: str, stamp_key: str, life: int) -> None:
    """Have Redis hold it; the stamp lives for ``life`` seconds."""
    plan = f"{KEYS}:intervals"
    for tier in ("hot", "cold") if state.tier == "both" else (state.tier,) if state.tier else ():
        await redis.sadd(f"{KEYS}:{tier}", url)
    if state.field is not None:
        await redis.hset(plan, url, state.field)
    if state.stamp is not None:
        await redis.set(stamp_key, state.stamp, ex=life)
    for key, name in ((plan, "plan"), (stamp_key, "stamp")):
        if state.wrong_type == name:
            await redis.delete(key)
            await redis.rpush(key, url)


def whole(text: str, highest: int) -> int | None:
    """A whole number from 1, without a sign and without a leading zero."""
    if not text or not set(text) <= DIGITS or text[0] == "0" or int(text) > highest:
        return None
    return int(text)


def parsed(field: str | None) -> tuple[int, int] | None:
    """SECONDS and BEFORE; a missing BEFORE is 0."""
    if field is None:
        return None
    first, comma, second = field.partition(",")
    seconds, before = whole(first, 2_592_000), whole(second, 9_999_999_999)
    if seconds is None or (comma and before is None):
        return None
    return seconds, before or 0


def number(stamp: str | None) -> float | None:
    """A stamp that the release can read, and that is not too far in the future."""
    return float(stamp) if stamp and stamp not in UNREADABLE else None


def field_of(state: State) -> tuple[int, int] | None:
    """SECONDS and BEFORE, where the field counts."""
    field = parsed(state.field) if state.tier == "cold" and state.wrong_type is None else None
    return field if field is not None and field[0] >= HOT_INTERVAL else None


def by_tiers(state: State) -> bool:
    """The release's own rule."""
    if state.tier is None or state.wrong_type == "stamp":
        return True
    stamp = number(state.stamp)
    if stamp is None or not 0 < stamp <= state.now + TOLERANCE:
        return True
    return state.now - stamp >= (COLD_INTERVAL if state.tier == "cold" else HOT_INTERVAL)


def obeys(state: State) -> bool:
    """Whether the plan decides."""
    return field_of(state) is not None


def due(state: State) -> bool:
    """The rule with a plan."""
    field = field_of(state)
    if field is None:
        return by_tiers(state)
    stamp = number(state.stamp)
    if stamp is None or stamp > state.now + TOLERANCE:
        return True
    return state.now - stamp >= field[0] or stamp < field[1]


UNREADABLE = ("", "soon", "0x10", "nan", "-")
BAD_FIELDS = (
    *("", "0", "-300", "+300", "0300", "300 ", " 300", "300\n", "300.0", "3e2", "2592001", "99999999999", "plan"),
    *(",", "300,", "300,0", "300,-1", "300,01", "300,10000000000", "300,1.5", "300,1,1", "300;1", "３００", "300,１"),  # noqa: RUF001
)


def some_field(chance: random.Random, now: float) -> str | None:
    """One that is missing, valid or not."""
    seconds = chance.choice(
        [1, 299, 300, 301, 600, 899, 900, 901, 1200, 4800, 14400, 2_592_000, chance.randint(1, 9999)]
    )
    before = chance.choice([1, int(now) - 450, int(now) - 600, int(now), int(now) + 90, 9_999_999_999])
    return chance.choice([None, chance.choice(BAD_FIELDS), str(seconds), str(seconds), f"{seconds},{before}"])


def some_stamp(chance: random.Random, now: float) -> str | None:
    """One that is missing, at an edge, anywhere or unreadable."""
    edges = [0, 60, 300, 450, 600, 900, 1200, 4800, 14400, 2_592_000, -60, -61]
    at = now - chance.choice([*edges, chance.uniform(-200, 5000)]) + chance.choice([0, 0, -0.001, 0.001])
    odd = [*UNREADABLE, "0", "-0.0", "-5", "0.001", "inf", "-inf", "1e308", "1e999", f" {at}\n", str(at * 1000)]
    return chance.choice([None, chance.choice(odd), str(int(at)), repr(at), repr(at), repr(at), repr(at)])


def some_state(chance: random.Random, now: float) -> State:
    """One of any kind."""
    tier = chance.choice(("hot", "both", "cold", "cold", "cold", "cold", None))
    wrong_type = chance.choice(("plan", "stamp", *[None] * 18))
    return State(tier, some_field(chance, now), some_stamp(chance, now), now, wrong_type)


def states(seed: int, count: int) -> list[State]:
    """Random states around this moment."""
    chance = random.Random(seed)
    now = float(int(time.time())) + 0.5
    return [some_state(chance, now) for _ in range(count)]

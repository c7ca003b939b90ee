"""The release's class under a refresh plan, on a real Redis: run by test_refresh_plan.py in a process of its own.

Exits with 0 if all is as it should be.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mcpgateway.services import server_classification_service
from mcpgateway.services.gateway_service import GatewayService
from plan_reference import COLD_INTERVAL, HOT_INTERVAL, KEYS, State, due, obeys, put, states
from redis.asyncio import Redis
from servers import free_port, wait_for

from mcpgateway_usage import wrapping
from mcpgateway_usage.polling import Polling
from mcpgateway_usage.refresh_plan import Field, Planned, _keep
from mcpgateway_usage.settings import load

KIND = "tool_discovery"
Service = server_classification_service.ServerClassificationService


def same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise SystemExit(f"{what}: {found}, expected {wanted}")


@contextmanager
def at(moment: float) -> Iterator[None]:
    """The clock of this process stands still; Redis has its own."""
    real, time.time = time.time, lambda: moment
    try:
        yield
    finally:
        time.time = real


class Scene:
    """A classification service of the release, with the client and the settings of the release."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.tiers = Service(redis)

    async def put(self, state: State, url: str, gateway: str = "") -> str:
        """What Redis is to hold; the key of the stamp, which lives as long as the release lets it."""
        key: str = self.tiers._poll_state_key(url, KIND, gateway)
        await put(self.redis, state, url, key, 2 * COLD_INTERVAL)
        return key

    async def due(self, url: str, gateway: str = "", kind: str = KIND) -> Any:
        return await self.tiers.should_poll_server(url, kind, gateway_id=gateway)


async def thousand_states(scene: Scene, seed: int) -> None:
    """The answer is that of the contract, a stamp keeps its value, and lives long enough and never shorter."""
    tried = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for number, state in enumerate(states(seed, 1000)):
        url, gateway = f"http://server-{number}.example/mcp?a=%20&ü", ("", f"{number:032x}")[number % 2]
        await scene.redis.delete(f"{KEYS}:intervals")
        key = await scene.put(state, url, gateway)
        what = f"seed {seed}, number {number}, {state}"
        with at(state.now):
            answer = await scene.due(url, gateway)
        same(what, answer, due(state))
        tried[obeys(state), answer] += 1
        if state.stamp is None or state.wrong_type == "stamp":
            continue
        same(f"the stamp of {what}", await scene.redis.get(key), state.stamp)
        # It got the cold tier's two intervals just now.
        life = 2.0 * COLD_INTERVAL
        if obeys(state) and not answer:
            assert state.field is not None
            seconds = int(state.field.partition(",")[0])
            life = max(life, float(state.stamp) + 2 * seconds - state.now)
        left = await scene.redis.pttl(key) / 1000
        if not life - 30 < left < life + 90:
            raise SystemExit(f"the stamp lives for {left} s and not {life} s: {what}")
        with at(state.now):
            # A type without a stamp, whatever the plan says.
            same(f"health, {what}", await scene.due(url, gateway, "health"), True)
    if min(tried.values()) < 50:
        raise SystemExit(f"not much was tried: {tried}")


async def stamps(scene: Scene) -> None:
    """Marks of the release under a plan, and a stamp that another process replaces meanwhile."""
    url = "http://stamps.example/mcp"
    key = await scene.put(State("cold", "14400", None, 0.0), url)
    same("never polled", await scene.due(url), True)
    await scene.tiers.mark_poll_completed(url, KIND)
    stamp = await scene.redis.get(key)
    same("the plan's expiry", 2 * 14400 <= await scene.redis.ttl(key) <= 2 * 14400 + 61, True)
    same("just polled", await scene.due(url), False)
    same("its value", await scene.redis.get(key), stamp)
    # As written by a process without the plugin.
    await scene.redis.expire(key, 2 * COLD_INTERVAL)
    same("just polled by another", await scene.due(url), False)
    same("the plan's expiry", await scene.redis.ttl(key) >= 2 * 14400, True)
    same("its value", await scene.redis.get(key), stamp)
    # Longer than it must, or for ever: left as it is.
    await scene.redis.expire(key, 100_000)
    same("still", await scene.due(url), False)
    same("never shorter", await scene.redis.ttl(key) > 99_000, True)
    await scene.redis.persist(key)
    same("still", await scene.due(url), False)
    same("for ever", await scene.redis.ttl(key), -1)
    # A newer stamp is another's, and keeps its own expiry.
    seen = Planned(Field(4_500), key, "1", 1000, now=1.0)
    await scene.redis.set(key, "2", ex=500)
    await _keep(scene.redis, seen)
    same("another stamp", await scene.redis.ttl(key) <= 500, True)
    await scene.redis.set(key, "1", ex=50_000)
    await _keep(scene.redis, seen)
    same("it lives longer by now", await scene.redis.ttl(key) > 49_000, True)
    # A refresh that the plan has nothing to do with has the release's expiry.
    await scene.redis.hdel(f"{KEYS}:intervals", url)
    await scene.tiers.mark_poll_completed(url, KIND)
    same("without a plan", await scene.redis.ttl(key) <= 2 * COLD_INTERVAL, True)


COLD, HOT, PLAIN = (f"http://{name}.example/mcp" for name in ("cold", "hot", "plain"))


async def answers(scene: Scene, what: str, *planned: tuple[str, ...], by_plan: bool) -> None:
    """Two states of the cold server in which plan and tiers differ, after these commands."""
    for field, age, due_by_plan in (("300", 400.0, True), ("14400", 1000.0, False)):
        await scene.redis.delete(f"{KEYS}:intervals")
        await scene.put(State("cold", field, repr(time.time() - age), 0.0), COLD)
        for command in planned:
            await scene.redis.execute_command(*command)
        same(f"{what}, {field}", await scene.due(COLD), due_by_plan is by_plan)


async def without_field(scene: Scene) -> None:
    """No field, no key, a key of a wrong type: the answer without a plan."""
    now = repr(time.time())
    await scene.put(State("hot", "14400", now, 0.0), HOT)
    await scene.put(State(None, "14400", now, 0.0), PLAIN)
    same("hot", await scene.due(HOT), True)
    same("unclassified with a field", await scene.due(PLAIN), True)
    key = f"{KEYS}:intervals"
    await answers(scene, "well", by_plan=True)
    await answers(scene, "a bad field", ("HSET", key, COLD, "often"), by_plan=False)
    await answers(scene, "a field of another", ("HDEL", key, COLD), ("HSET", key, f"{COLD}/", "300"), by_plan=False)
    await answers(scene, "no key", ("DEL", key), by_plan=False)
    await answers(scene, "another type", ("DEL", key), ("SADD", key, COLD), by_plan=False)
    await answers(scene, "mended", by_plan=True)


async def wrong_keys(scene: Scene) -> None:
    """A stamp or a hot set of another type, and EVAL that is refused."""
    key = scene.tiers._poll_state_key(COLD, KIND, "")
    await scene.redis.delete(key)
    await scene.redis.sadd(key, "x")
    same("a stamp of another type", await scene.due(COLD), True)
    await scene.redis.delete(key)
    await scene.put(State("cold", "14400", repr(time.time()), 0.0), COLD)
    same("not due", await scene.due(COLD), False)
    await scene.redis.rename(f"{KEYS}:hot", "away")
    await scene.redis.set(f"{KEYS}:hot", "x")
    same("a hot set of another type", await scene.due(COLD), True)
    await scene.redis.rename("away", f"{KEYS}:hot")
    same("not due again", await scene.due(COLD), False)
    await scene.redis.expire(key, 100)
    await scene.redis.execute_command("ACL", "SETUSER", "default", "-eval")
    same("EVAL refused", await scene.due(COLD), False)
    same("no longer life", await scene.redis.ttl(key) <= 100, True)
    await scene.tiers.mark_poll_completed(COLD, KIND)
    same("marked without EVAL", 100 < await scene.redis.ttl(key) <= 2 * COLD_INTERVAL, True)
    await scene.redis.execute_command("ACL", "SETUSER", "default", "+eval")


async def full_rate(scene: Scene, what: str) -> None:
    """Every server is due, however lately it was polled."""
    for url in (COLD, HOT, PLAIN):
        await scene.redis.set(scene.tiers._poll_state_key(url, KIND, ""), repr(time.time()), ex=2 * COLD_INTERVAL)
        same(f"{what}, {url}", await scene.due(url), True)


async def ended(scene: Scene) -> None:
    """The keys are withdrawn, as by an operator that is suspended, or expire, as without one: the plan first."""
    sets = (f"{KEYS}:hot", f"{KEYS}:cold")
    for command, *arguments in (("DEL",), ("PEXPIRE", "1")):
        await answers(scene, f"{command}, before", by_plan=True)
        await scene.redis.execute_command(command, f"{KEYS}:intervals", *arguments)
        await gone(scene, f"{KEYS}:intervals")
        same(f"{command}, the plan: the cold tier", await scene.due(COLD), True)
        await scene.redis.set(scene.tiers._poll_state_key(COLD, KIND, ""), repr(time.time() - 899.0))
        same(f"{command}, the plan: the cold tier again", await scene.due(COLD), False)
        for key in sets:
            await scene.redis.execute_command(command, key, *arguments)
            await gone(scene, key)
        await full_rate(scene, command)


async def gone(scene: Scene, key: str) -> None:
    while await scene.redis.exists(key):
        await asyncio.sleep(0)


async def refused(scene: Scene) -> None:
    """A release whose methods have another form: the plan is not obeyed, nothing is replaced, the tiers decide."""
    known = {name: wrapping.original(vars(Service)[name]) for name in ("should_poll_server", "mark_poll_completed")}

    async def should_poll_server(
        self: Any, url: str, poll_type: str, gateway_id: str = "", *, force: bool = False
    ) -> Any:
        return force or await known["should_poll_server"](self, url, poll_type, gateway_id)

    async def mark_poll_completed(self: Any, url: str, poll_type: str) -> None:
        await known["mark_poll_completed"](self, url, poll_type)

    for changed in (should_poll_server, mark_poll_completed):
        for name, method in known.items():
            setattr(Service, name, method)
        setattr(Service, changed.__name__, changed)
        Current.polling = Polling(load({}, {}))
        Current.polling.install(lambda: Current.polling)
        what = f"another {changed.__name__}"
        same(what, (Current.polling.planned.name, vars(Service)[changed.__name__]), ("Unsupported", changed))
        await answers(scene, what, by_plan=False)
        key = await scene.put(State("cold", "14400", None, 0.0), COLD)
        await scene.tiers.mark_poll_completed(COLD, KIND)
        same(f"the release's expiry, {what}", await scene.redis.ttl(key) <= 2 * COLD_INTERVAL, True)
        await scene.redis.delete(f"{KEYS}:hot", f"{KEYS}:cold")
        await full_rate(scene, what)
    for name, method in known.items():
        setattr(Service, name, method)


async def without_redis(scene: Scene, polling: Polling, server: subprocess.Popen[bytes]) -> None:
    """The plan is switched off and on; Redis hangs and is killed."""
    await scene.redis.set(scene.tiers._poll_state_key(COLD, KIND, ""), repr(time.time() - 1000.0))
    Current.polling = Polling(load({"refresh_plan": False}, {}))
    Current.polling.install(lambda: Current.polling)
    same("switched off", await scene.due(COLD), True)
    same("hot, still at the full rate", await scene.due(HOT), True)
    Current.polling = polling
    same("switched on", await scene.due(COLD), False)
    server.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    same("Redis hangs", await scene.due(COLD), True)
    print(f"Redis hangs: {time.monotonic() - begun:.1f} s", flush=True)
    server.send_signal(signal.SIGCONT)
    same("Redis goes on", await scene.due(COLD), False)
    server.kill()
    server.wait()
    for url in (COLD, HOT, PLAIN):
        same(f"Redis is gone, {url}", await scene.due(url), True)
    await scene.tiers.mark_poll_completed(COLD, KIND)


class Current:
    """The polling of this process."""

    polling: Polling


async def play(port: int, server: subprocess.Popen[bytes]) -> None:
    # Both forms of answers that the release can be set to.
    for decode in (False, True):
        client = Redis.from_url(f"redis://127.0.0.1:{port}/0", decode_responses=decode, socket_timeout=2.0)
        scene = Scene(client)
        if not decode:
            now = time.time()
            await scene.put(State("cold", "14400", repr(now - 1000), now), "http://bytes.example/mcp")
            same("bytes", await scene.due("http://bytes.example/mcp"), False)
            key = scene.tiers._poll_state_key("http://bytes.example/mcp", KIND, "")
            same("life by bytes", await client.ttl(key) > 27_000, True)
            await client.aclose()
    polling = Polling(load({"hot_at_full_rate": False}, {}))
    Current.polling = polling
    polling.install(lambda: Current.polling)
    await thousand_states(scene, int(os.environ.get("SEED", "20261127")))
    await scene.redis.flushall()
    await stamps(scene)
    polling = Polling(load({}, {}))
    Current.polling = polling
    polling.install(lambda: Current.polling)
    await without_field(scene)
    await wrong_keys(scene)
    await ended(scene)
    await refused(scene)
    Current.polling = polling
    polling.install(lambda: Current.polling)
    await answers(scene, "the known form again", by_plan=True)
    await scene.put(State("hot", None, None, 0.0), HOT)
    await without_redis(scene, polling, server)


def main() -> None:
    assert GatewayService is not None
    settings = server_classification_service.settings
    same("I", (settings.hot_server_check_interval, settings.cold_server_check_interval), (HOT_INTERVAL, COLD_INTERVAL))
    Current.polling = Polling(load({}, {}))
    Current.polling.install(lambda: Current.polling)
    same("the state", Current.polling.planned.name, "Active")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_for(port)
            asyncio.run(play(port, server))
        finally:
            server.kill()
            server.wait()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

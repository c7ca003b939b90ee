"""Registration on a real ContextForge: objects, entries, and the requests between operator and ContextForge.

Each play has a ContextForge, a Redis, MCP servers and an API server of its own. The operator reaches ContextForge
through a relay that counts its requests, with the token of a service account that has the four permissions.

    situations  the twelve in which a registration changes: the requests made and the condition seen
    fill40      40 objects with kubectl apply -k; a tool of one is called, and that one is hot
    leaders     two replicas; the leader is killed 20 times in the middle of a fill, and at each step of every request
    secrets     planted credentials of each kind are looked for everywhere
    mirror      120 gateways registered by REST become objects and go with them; the guard
    fill300     300 objects; then one request a round
    faults      ContextForge away, slow, restarted, limiting; lost updates, a foreign writer, deletions
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import registration_fills as fills
from . import registration_leaders as leaders
from . import registration_secrets
from .checks import note, step
from .contextforge import Release
from .registered import NAMESPACE, Programs, Stage
from .registration_faults import ALL_FAULTS, DOOMED
from .registration_mirror import MIRROR, mirror
from .registration_situations import ADOPTING, SITUATIONS
from .scene import folder, parser


@dataclass(frozen=True, slots=True)
class Play:
    """Acts on a stage of their own."""

    acts: Sequence[Callable[[Stage], None]]
    namespaces: tuple[str, ...] = ()
    """More namespaces that are watched, and whose objects may be registered."""
    flags: tuple[str, ...] = ()
    resync: int = 5
    """Seconds."""
    health: int = 60
    """Seconds between two health checks of the release; the default is 60."""
    has_operator: bool = False
    """Whether the operator runs before the first act."""


PLAYS = {
    "situations": Play(SITUATIONS, (ADOPTING,), (f"--adoption-namespace={ADOPTING}",), health=5, has_operator=True),
    "fill40": Play((fills.fill40,), resync=30),
    "leaders": Play((leaders.during_a_fill, leaders.at_each_step), flags=leaders.FLAGS, resync=10),
    "secrets": Play((registration_secrets.planted,), flags=registration_secrets.FLAGS, resync=20, health=5),
    "mirror": Play((mirror,), (MIRROR,), (f"--mirror-namespace={MIRROR}",), resync=10),
    "fill300": Play((fills.fill300,), resync=10),
    "faults": Play(ALL_FAULTS, (DOOMED,), has_operator=True),
}


def play(name: str, place: Path, programs: Programs, acts: set[str]) -> list[str]:
    """One play; the names of the acts that failed."""
    wanted = PLAYS[name]
    step(f"{name} on ContextForge {programs.release.version}")
    flags = list(wanted.flags)
    for namespace in wanted.namespaces:
        flags += [f"--watch-namespace={namespace}", f"--registration-namespace={namespace}"]
    flags.append(f"--registration-namespace={NAMESPACE}")
    stage = Stage(place / name, programs, resync=wanted.resync, health=wanted.health, flags=tuple(flags))
    failed = []
    with stage.ending():
        stage.start(*wanted.namespaces)
        if wanted.has_operator:
            stage.operators.start("a")
            stage.operators.wait_leader()
        for act in wanted.acts:
            title = act.__name__ if len(wanted.acts) == 1 else f"{name}: {act.__name__}"
            if acts and act.__name__ not in acts:
                continue
            step(f"{title}: {(act.__doc__ or '').strip()}")
            begun = time.monotonic()
            right = perform(stage, act)
            print(f"{'PASS' if right else 'FAIL'} {title} ({time.monotonic() - begun:.0f} s)", flush=True)
            if not right:
                failed.append(title)
    return failed


def perform(stage: Stage, act: Callable[[Stage], None]) -> bool:
    """One act; whether all was right."""
    try:
        act(stage)
    except SystemExit as failure:
        # A failed check has been printed.
        if str(failure) != "1":
            note(f"FAIL {failure}")
        note(f"the last lines of the operator:\n{stage.processes.tail('operator-a', 20)}")
        return False
    except OSError as error:
        note(f"FAIL {error!r}")
        return False
    finally:
        stage.relay.rule = None
    return True


def main() -> None:
    """Read the arguments and play."""
    made = parser(__doc__)
    made.add_argument("--only", help="plays to perform, by comma; default: all")
    made.add_argument("--acts", default="", help="acts to perform, by comma; default: all")
    arguments = made.parse_args()
    wanted = arguments.only.split(",") if arguments.only else list(PLAYS)
    if unknown := set(wanted) - set(PLAYS):
        made.error(f"no such play: {', '.join(sorted(unknown))}")
    programs = Programs(Release.installed(sys.executable), arguments.fastmcp, arguments.operator)
    acts = {act for act in arguments.acts.split(",") if act}
    failed = []
    with folder(arguments.keep) as place:
        for name in wanted:
            failed += play(name, place, programs, acts)
    if failed:
        raise SystemExit(f"FAIL: {', '.join(failed)}")
    step("PASS: all")


if __name__ == "__main__":
    main()

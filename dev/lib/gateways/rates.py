"""Prints how many requests of each kind each MCP server received per minute: NAME HEALTH REFRESH CALL.

    python3 rates.py RECORD BEGIN END

RECORD is a file written by fleet/upstream.py; BEGIN and END are Unix seconds. The last line is the sum of health checks and
refreshes of all servers, which is what ContextForge polls.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "integrations/contextforge/dev"))

from fleet.counting import Kind, read, received  # noqa: E402


def main(record, begin, end):
    requests = read(Path(record))
    minutes = (float(end) - float(begin)) / 60
    polls = 0.0
    found = received(requests, float(begin), float(end))
    for name in sorted({request.server for request in requests}):
        counts = found.get(name, {})
        rates = {kind: counts.get(kind, 0) / minutes for kind in Kind}
        polls += rates[Kind.HEALTH] + rates[Kind.REFRESH]
        print(name, *(f"{rates[kind]:.1f}" for kind in Kind))
    print(f"polls {polls:.1f}")


main(*sys.argv[1:])

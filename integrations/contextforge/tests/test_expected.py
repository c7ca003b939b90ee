from __future__ import annotations

import pytest

from mcpgateway_usage.expected import from_parent, workers


@pytest.mark.parametrize(
    ("command", "environ", "number"),
    [
        ("/venv/bin/python /venv/bin/gunicorn -c gunicorn.config.py --workers 4 mcpgateway.main:app", {}, 4),
        ("python3 -m uvicorn mcpgateway.main:app --workers=3", {}, 3),
        ("/app/bin/python3 /app/bin/mcpgateway --host 0.0.0.0 --workers 2", {}, 2),
        ("gunicorn -w2 app", {}, 2),
        ("gunicorn -w 2 app", {}, 2),
        ("tini -- gunicorn app", {"GUNICORN_CMD_ARGS": "--workers=5 --preload"}, 5),
        ("gunicorn: master [mcpgateway.main:app]", {"GUNICORN_WORKERS": "6", "WEB_CONCURRENCY": "7"}, 6),
        ("gunicorn app", {"GUNICORN_WORKERS": "auto", "WEB_CONCURRENCY": "7"}, 7),
        ("gunicorn app", {"GUNICORN_CMD_ARGS": "--workers '"}, 0),
        ("python -m uvicorn app", {"WEB_CONCURRENCY": "2"}, 2),
        ("python -m uvicorn app", {"GUNICORN_WORKERS": "2"}, 0),
        ("/bin/sh -c exec server", {"WEB_CONCURRENCY": "2", "GUNICORN_WORKERS": "4"}, 0),
        ("python -m pytest tests/gunicorn --workers 3", {}, 0),
        ("gunicorn --workers 99999999 app", {}, 0),
        ("", {}, 0),
    ],
)
def test_from_the_parent(command: str, environ: dict[str, str], number: int) -> None:
    arguments = [command] if command.startswith("gunicorn: ") else command.split()
    assert from_parent(arguments, environ) == number


def test_of_this_process() -> None:
    assert workers({}) == 0

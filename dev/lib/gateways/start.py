"""Starts ContextForge as the script of its own image does: gunicorn, with the numbers of the environment."""

import os
import sys

OPTIONS = {
    "--workers": os.environ.get("GUNICORN_WORKERS", "2"),
    "--timeout": os.environ.get("GUNICORN_TIMEOUT", "600"),
    "--max-requests": os.environ.get("GUNICORN_MAX_REQUESTS", "100000"),
    "--max-requests-jitter": os.environ.get("GUNICORN_MAX_REQUESTS_JITTER", "100"),
    "--worker-class": "uvicorn.workers.UvicornWorker",
    "--access-logfile": "/dev/null",
    "--error-logfile": "-",
    "--forwarded-allow-ips": "*",
}

os.chdir("/app")
command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.config.py", "--preload", "--no-control-socket"]
for option in OPTIONS.items():
    command += option
os.execv(sys.executable, [*command, "mcpgateway.main:app"])

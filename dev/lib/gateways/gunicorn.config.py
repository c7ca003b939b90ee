"""Settings of gunicorn in an image of ContextForge: where it listens, and what a process must not share with others.

The same as in ContextForge's own image, whose file is not part of the released package.
"""

import os
import socket

from mcpgateway.config import settings
from mcpgateway.db import engine
from mcpgateway.services import session_affinity
from mcpgateway.utils.redis_client import _reset_client

bind = f"{settings.host}:{settings.port}"
reuse_port = True


def post_fork(server, worker):
    """The application was loaded before the fork, with the connections to its database and to Redis."""
    engine.dispose(close=False)
    _reset_client()
    if settings.mcpgateway_session_affinity_enabled:
        session_affinity.WORKER_ID = f"{socket.gethostname()}:{os.getpid()}"

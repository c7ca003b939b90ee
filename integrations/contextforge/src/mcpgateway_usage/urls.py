"""URLs without what may be secret in them. Pure.

The operator knows a row by its gateway id; the URL is for objects without one, and for people. So leaving something out
costs little, and leaving a secret in costs much.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

# Names of query parameters that carry credentials: what the operator's CRD refuses in `spec.url`, decoded or not.
_CREDENTIAL = re.compile(
    r"(?:(?i:key|token|secret|password|passwd|pwd|sig|signature|auth|authorization|jwt|credentials?"
    r"|(?:tavily)?api[-_.]?key|(?:access|auth|refresh|session|secret|private|subscription)[-_.]?(?:key|token))"
    r"|[^=&]*(?:[-_.](?i:key|token|secret|password|signature|credential|sig)"
    r"|[a-z0-9](?:Key|Token|Secret|Password|Signature)))"
)


def public(url: str, *, keep_query: bool = True) -> str | None:
    """The URL without user info, fragment, and a query that may hold a credential. None if it is no HTTP URL.

    ``keep_query=False`` drops every query: for URLs to which ContextForge may have added a credential under any name.
    What holds nothing to hide comes back byte for byte, because the operator compares exactly.
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https") or not host:
        return None
    query = parts.query if keep_query and not _may_hold_credential(parts.query) else ""
    if host == parts.netloc and query == parts.query and not parts.fragment:
        return url.partition("#")[0]
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def _may_hold_credential(query: str) -> bool:
    # An escaped name is looked at no closer: nobody writes one in an honest URL.
    names = [field.partition("=")[0] for field in re.split("[&;]", query)]
    return any("%" in name or _CREDENTIAL.fullmatch(name) for name in names)

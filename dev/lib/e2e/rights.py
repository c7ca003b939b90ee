#!/usr/bin/env python3
"""Tries every verb on every resource with an account's token, and prints the calls that are allowed.

Input: a server, its certificate authority, the token, and the namespaces and names to try. Output: one line for each
allowed call, "VERB GROUP/RESOURCE[/SUBRESOURCE] NAMESPACE NAME", with "-" where a part does not apply, and the number
of calls on stderr. Calls that would write use dryRun. A call is allowed if the answer is not 403: the API server checks
rights first, so an empty body does not matter.
"""

import argparse
import http.client
import json
import ssl
import sys
from urllib.parse import urlsplit

# By RBAC verb: method, whether the path has the name of an object, query.
CALLS = {
    "get": ("GET", True, ""),
    "list": ("GET", False, ""),
    "watch": ("GET", False, "?watch=1&timeoutSeconds=1&resourceVersion=0"),
    "create": ("POST", False, "?dryRun=All"),
    "update": ("PUT", True, "?dryRun=All"),
    "patch": ("PATCH", True, "?dryRun=All"),
    "delete": ("DELETE", True, "?dryRun=All"),
    "deletecollection": ("DELETE", False, "?dryRun=All"),
}
# Every account may ask these about itself, and every service account may read the cluster's public certificate
# authorities.
EVERYBODYS = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews", "clustertrustbundles"}


class Server:
    """The API server, with the account's token."""

    def __init__(self, given):
        self.url = urlsplit(given.server)
        self.tls = ssl.create_default_context(cafile=given.authority)
        self.headers = {"Authorization": f"Bearer {given.token}", "Accept": "application/json"}
        self.connection = None

    def call(self, method, path):
        """Returns status and body. Does not wait for the body of a watch."""
        body = None if method in ("GET", "DELETE") else "{}"
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        for attempt in (1, 2):
            try:
                self.connection = self.connection or http.client.HTTPSConnection(self.url.netloc, context=self.tls, timeout=20)
                self.connection.request(method, path, body, {**self.headers, "Content-Type": kind})
                answer = self.connection.getresponse()
                if answer.status == 200 and "watch=1" in path:
                    self.connection = None
                    return 200, b""
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                self.connection = None
                if attempt == 2:
                    raise
        raise AssertionError("not reached")

    def json(self, path):
        status, body = self.call("GET", path)
        if status != 200:
            sys.exit(f"{path} answered {status}")
        return json.loads(body)


def resources(server):
    """Yields (root of the path, group, resource) of every served resource, at its preferred version."""
    groups = [("/api/v1", "")]
    groups += [(f"/apis/{group['preferredVersion']['groupVersion']}", group["name"]) for group in server.json("/apis")["groups"]]
    for root, group in groups:
        for resource in server.json(root)["resources"]:
            yield root, group, resource


def tries(given, server):
    """Yields (line to print, method, path) of every call to try."""
    for root, group, resource in resources(server):
        name, _, sub = resource["name"].partition("/")
        verbs = set(resource["verbs"])
        if sub in ("exec", "attach", "portforward", "proxy"):
            verbs = {"get", "create"}
        if name in EVERYBODYS:
            continue
        for verb in sorted(verbs & CALLS.keys()):
            method, named, query = CALLS[verb]
            if sub:
                named = True
            for namespace in given.namespace if resource["namespaced"] else ["-"]:
                for one in given.name if named else ["-"]:
                    path = root + (f"/namespaces/{namespace}" if resource["namespaced"] else "") + f"/{name}"
                    path += (f"/{one}" if named else "") + (f"/{sub}" if sub else "") + query
                    yield f"{verb} {group or 'core'}/{resource['name']} {namespace} {one}", method, path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag in ("--server", "--authority", "--token"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--namespace", action="append", required=True)
    parser.add_argument("--name", action="append", required=True)
    given = parser.parse_args()
    server, tried = Server(given), 0
    for line, method, path in tries(given, server):
        tried += 1
        status, body = server.call(method, path)
        if status != 403:
            print(line)
        # A 403 from anything but RBAC would hide a right.
        elif b"cannot" not in body:
            sys.exit(f"{line}: denied, but not by RBAC: {body[:300]}")
    print(tried, file=sys.stderr)


main()

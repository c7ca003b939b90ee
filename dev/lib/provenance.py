#!/usr/bin/env python3
"""Writes the provenance of a release: an in-toto statement with the predicate of SLSA 1.

Arguments: files of the release, and images as NAME@sha256:DIGEST. There is no time in it: the same files, made by the
same tools, give the same bytes.
"""

import argparse
import hashlib
import json
import os
import sys


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def subject(word):
    name, _, image = word.partition("@sha256:")
    return {"name": name if image else os.path.basename(word), "digest": {"sha256": image or digest(word)}}


def pairs(words):
    return dict(word.split("=", 1) for word in words)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commit", required=True, help="the commit that was built")
    parser.add_argument("--lock", required=True, help="Cargo.lock, which has the checksums of all dependencies")
    parser.add_argument("--parameter", action="append", default=[], help="NAME=VALUE: what the caller chose")
    parser.add_argument("--tool", action="append", default=[], help="NAME=VERSION: what the build machine had")
    parser.add_argument("subjects", nargs="+", metavar="FILE|IMAGE")
    given = parser.parse_args()
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": sorted(map(subject, given.subjects), key=lambda one: one["name"]),
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://mcpgateway.io/make-release/v1",
                "externalParameters": pairs(given.parameter),
                "internalParameters": {"tools": pairs(given.tool)},
                "resolvedDependencies": [{"name": "source", "digest": {"gitCommit": given.commit}},
                                         {"name": "Cargo.lock", "digest": {"sha256": digest(given.lock)}}],
            },
            "runDetails": {"builder": {"id": "https://mcpgateway.io/make-release/local"}},
        },
    }
    json.dump(statement, sys.stdout, indent=1)
    print()


main()

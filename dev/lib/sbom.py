#!/usr/bin/env python3
"""Writes the bill of materials of the operator's program, as CycloneDX 1.6 JSON.

Input: Rust's target as argument, `cargo metadata` and Cargo.lock. Output: every crate that is compiled into the program
(without those of tests and build scripts), with version, licence, checksum and dependencies. The same lock file gives
the same bytes: there are no times and no random numbers.
"""

import json
import subprocess
import sys
import tomllib
import uuid

TARGET = sys.argv[1]


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def compiled_in(metadata):
    """The packages of the program, and the dependencies of each: by package id."""
    # `cargo tree` resolves features without tests. `cargo metadata` unifies all.
    lines = cargo("tree", "--locked", "--target", TARGET, "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}")
    wanted = {tuple(line.split()[:2]) for line in lines.splitlines()}
    ids = {package["id"] for package in metadata["packages"] if (package["name"], f"v{package['version']}") in wanted}
    return {node["id"]: [dep["pkg"] for dep in node["deps"] if dep["pkg"] in ids and
                         any(kind["kind"] is None for kind in dep["dep_kinds"])]
            for node in metadata["resolve"]["nodes"] if node["id"] in ids}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums):
    made = {"type": "library", "bom-ref": purl(package), "name": package["name"], "version": package["version"],
            "purl": purl(package)}
    if package.get("license"):
        # An old spelling of OR.
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := checksums.get((package["name"], package["version"])):
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("repository"):
        made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return made


def main():
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET))
    with open("Cargo.lock", "rb") as file:
        checksums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(file)["package"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    needs = compiled_in(metadata)
    root = packages[metadata["resolve"]["root"]]
    parts = sorted((packages[one] for one in needs if one != root["id"]), key=purl)
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"component": {**component(root, {}), "type": "application"}},
        "components": [component(part, checksums) for part in parts],
        "dependencies": [{"ref": purl(packages[one]), "dependsOn": sorted({purl(packages[other]) for other in needs[one]})}
                         for one in sorted(needs, key=lambda one: purl(packages[one]))],
    }
    # Derived from the content instead of random.
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))}"
    json.dump(document, sys.stdout, indent=1, sort_keys=True)
    print()


main()

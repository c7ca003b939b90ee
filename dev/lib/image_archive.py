#!/usr/bin/env python3
"""Writes a container image of one layer, without a container engine.

Input: files of this machine and their paths in the image. Output: a tar archive in the format of `docker save`, which
docker, podman, containerd and kind can load. The same files give the same bytes: the archive does not depend on the
time, the owner of the files or the order of the arguments.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], fromfile_prefix_chars="@")
    parser.add_argument("--name", required=True, help="the image's name with its tag")
    parser.add_argument("--output", required=True, help="the archive to write")
    parser.add_argument("--architecture", default="amd64", help="of the programs, as Go names it")
    parser.add_argument("--user", default="65532:65532", help="numeric user and group of the process")
    parser.add_argument("--entrypoint", action="append", default=[], help="program and fixed arguments, one each")
    parser.add_argument("--label", action="append", default=[], help="KEY=VALUE")
    parser.add_argument("--level", type=int, default=9, help="how much to compress, 0 to 9")
    parser.add_argument("files", nargs="+", metavar="SOURCE:DESTINATION", help="a file, and its absolute path in the "
                        "image; @FILE stands for the lines of a file")
    return parser.parse_args()


def entry(name, mode, kind=tarfile.REGTYPE, size=0):
    """A tar entry without information about this machine."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size = kind, mode, size
    info.mtime = info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def layer_of(files):
    """The uncompressed layer, sorted by path, so that folders precede their contents."""
    wanted, folders = {}, set()
    for pair in files:
        source, _, destination = pair.rpartition(":")
        if not source or not destination.startswith("/"):
            sys.exit(f"'{pair}' is not SOURCE:/DESTINATION")
        path = destination.lstrip("/")
        wanted[path] = source
        while path := os.path.dirname(path):
            folders.add(path)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folders | set(wanted)):
            if path in folders:
                tar.addfile(entry(path, 0o755, tarfile.DIRTYPE))
                continue
            with open(wanted[path], "rb") as file:
                content = file.read()
            mode = 0o755 if os.access(wanted[path], os.X_OK) else 0o644
            tar.addfile(entry(path, mode, size=len(content)), io.BytesIO(content))
    return buffer.getvalue()


def to_bytes(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def archive_of(given):
    """All files of the archive, by path."""
    plain = layer_of(given.files)
    layer = gzip.compress(plain, given.level, mtime=0)
    config = to_bytes({
        "architecture": given.architecture, "os": "linux",
        "config": {"User": given.user, "Entrypoint": given.entrypoint, "WorkingDir": "/",
                   "Labels": dict(label.split("=", 1) for label in given.label)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(plain)}"]},
    })
    paths = f"{digest(config)}.json", f"{digest(layer)}.tar.gz"
    manifest = to_bytes([{"Config": paths[0], "Layers": [paths[1]], "RepoTags": [given.name]}])
    return {"manifest.json": manifest, paths[0]: config, paths[1]: layer}


def digest(content):
    return hashlib.sha256(content).hexdigest()


def main():
    given = arguments()
    fresh = f"{given.output}.{os.getpid()}"
    files = archive_of(given)
    with tarfile.open(fresh, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(files):
            tar.addfile(entry(path, 0o644, size=len(files[path])), io.BytesIO(files[path]))
    # A rename is atomic: there is never half an archive under the final name.
    os.replace(fresh, given.output)


main()

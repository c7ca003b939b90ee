#!/usr/bin/env python3
"""Combines images of several architectures into one image: an OCI index.

Input: archives of image_archive.py. Output: a tar archive with an OCI image layout, and on stdout the digest of the
index. The same archives give the same bytes.
"""

import argparse
import hashlib
import io
import json
import os
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def to_bytes(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


class Layout:
    def __init__(self):
        self.files = {"oci-layout": to_bytes({"imageLayoutVersion": "1.0.0"})}

    def add(self, media_type, content):
        """Stores content, and returns its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def add_image(self, path):
        """Stores the image of an archive. Returns the descriptor of its manifest, and its name."""
        with tarfile.open(path) as tar:
            image = json.load(tar.extractfile("manifest.json"))[0]
            config = tar.extractfile(image["Config"]).read()
            layers = [tar.extractfile(layer).read() for layer in image["Layers"]]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self.add(CONFIG, config),
                    "layers": [self.add(LAYER, layer) for layer in layers]}
        platform = {key: json.loads(config)[key] for key in ("architecture", "os")}
        return {**self.add(MANIFEST, to_bytes(manifest)), "platform": platform}, image["RepoTags"][0]

    def write(self, path):
        fresh = f"{path}.{os.getpid()}"
        with tarfile.open(fresh, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name in sorted(self.files):
                info = tarfile.TarInfo(name)
                info.size = len(self.files[name])
                tar.addfile(info, io.BytesIO(self.files[name]))
        os.replace(fresh, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the archive to write")
    parser.add_argument("archives", nargs="+", metavar="ARCHIVE", help="one for each architecture, of one name")
    given = parser.parse_args()
    layout = Layout()
    images = [layout.add_image(path) for path in given.archives]
    names = {name for _, name in images}
    if len(names) > 1:
        parser.error(f"these are different images: {', '.join(sorted(names))}")
    name = names.pop()
    manifests = [descriptor for descriptor, _ in images]
    index = layout.add(INDEX, to_bytes({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
    # The first annotation is the standard's, the second is containerd's, which wants the whole name.
    named = {"org.opencontainers.image.ref.name": name.rpartition(":")[2], "io.containerd.image.name": name}
    layout.files["index.json"] = to_bytes({"schemaVersion": 2, "mediaType": INDEX,
                                           "manifests": [{**index, "annotations": named}]})
    layout.write(given.output)
    print(index["digest"])


main()

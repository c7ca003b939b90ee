"""Writes JSON schemas for kubeconform, from the OpenAPI description of a running API server.

Run as: python3 schemas.py FOLDER, with `kubectl` and KUBECONFIG set for the server. Writes
FOLDER/KIND-GROUP-VERSION.json. The schemas are strict: an unknown field is an error.
"""

import json
import pathlib
import subprocess
import sys
from typing import Any


def get(path: str) -> Any:
    """The server's answer at a path."""
    return json.loads(subprocess.run(["kubectl", "get", "--raw", path], check=True, capture_output=True).stdout)


def strict(schema: Any) -> Any:
    """The same schema, but objects with known fields allow no others, and references stay within the file."""
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    # A default beside a reference is no constraint.
    made.pop("default", None)
    for key in ("items", "additionalProperties", "not"):
        if key in made:
            made[key] = strict(made[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in made:
            made[key] = [strict(part) for part in made[key]]
    if "properties" in made:
        made["properties"] = {name: strict(part) for name, part in made["properties"].items()}
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    if "$ref" in made:
        made["$ref"] = made["$ref"].replace("#/components/schemas/", "#/definitions/")
    if made.get("format") == "int-or-string" or made.get("x-kubernetes-int-or-string"):
        made = {"oneOf": [{"type": "string"}, {"type": "integer"}]}
    if made.get("nullable"):
        made = {"anyOf": [made, {"type": "null"}]}
    return made


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for path, place in get("/openapi/v3")["paths"].items():
        if not path.startswith(("api/", "apis/")):
            continue
        schemas = get(place["serverRelativeURL"]).get("components", {}).get("schemas", {})
        definitions = {name: strict(schema) for name, schema in schemas.items()}
        # A quantity may also be a number.
        for name in definitions:
            if name.endswith(".resource.Quantity"):
                definitions[name] = {"oneOf": [{"type": "string"}, {"type": "number"}]}
        for name, schema in schemas.items():
            for kind in schema.get("x-kubernetes-group-version-kind", []):
                # As in kubeconform's template: the first part of the group, if there is a group.
                group = [kind["group"].split(".")[0]] if kind["group"] else []
                parts = [kind["kind"], *group, kind["version"]]
                made = {"$ref": f"#/definitions/{name}", "definitions": definitions}
                (folder / f"{'-'.join(parts).lower()}.json").write_text(json.dumps(made))
                count += 1
    print(f"{count} schemas", file=sys.stderr)


main()

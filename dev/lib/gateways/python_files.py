"""Prints the files of a Python environment and their paths in an image, as arguments of image_archive.py.

    PYTHON python_files.py FOLDER

PYTHON is the environment's. In the image it is /usr/local/bin/python3, with its standard library and all packages of
the environment, but without pip, tests and development files. The bytecode is written to FOLDER. With it,
Python starts twice as fast. It is not checked against its source, so that it does not depend on modification times: the
same packages give the same files.
"""

import os
import py_compile
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

LIBRARY = Path(f"/usr/local/lib/python{sys.version_info.major}.{sys.version_info.minor}")
# Parts of the standard library that no pod needs.
LEFT_OUT = {"__pycache__", "site-packages", "dist-packages", "test", "idlelib", "lib2to3", "ensurepip", "tkinter",
            "turtledemo", "pydoc_data"}
# Where the dynamic loader looks for libraries by default.
SEARCHED = ("/lib/", "/lib64/", "/usr/lib/")


def files_in(folder, left_out):
    """The files below a folder. ``left_out``: names of folders, at any depth. `config-…` are development files."""
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in left_out and not name.startswith("config-"))
        for name in sorted(names):
            if not name.startswith("_tkinter."):
                yield Path(path, name)


def environment():
    """Pairs of a file and its path in the image."""
    yield Path(os.path.realpath(sys.executable)), Path("/usr/local/bin/python3")
    standard, packages = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))
    folders = (standard, LIBRARY, LEFT_OUT), (packages, LIBRARY / "site-packages", {"__pycache__", "pip"})
    for folder, to, left_out in folders:
        for file in files_in(folder, left_out):
            yield file, to / file.relative_to(folder)


def bytecode(pairs, folder):
    """The compiled modules of these pairs. Some files that end in .py are templates, which do not compile."""
    for file, place in pairs:
        if place.suffix != ".py":
            continue
        compiled = Path(folder, *place.parts[1:]).with_suffix(".pyc")
        compiled.parent.mkdir(parents=True, exist_ok=True)
        try:
            py_compile.compile(str(file), str(compiled), str(place), doraise=True,
                               invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        except py_compile.PyCompileError:
            continue
        yield compiled, place.parent / "__pycache__" / f"{place.stem}.{sys.implementation.cache_tag}.pyc"


def libraries(pairs):
    """The shared libraries that these files need and that are not among them."""
    binaries = [str(file) for file, place in pairs if ".so" in place.name or place.parent.name == "bin"]
    listed = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    known = {os.path.realpath(file) for file, _ in pairs}
    for name in sorted(set(re.findall(r"(/\S+) \(0x", listed))):
        if os.path.realpath(name) in known:
            continue
        multiarch = Path("/usr/lib", sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu")
        yield Path(name), Path(name) if name.startswith(SEARCHED) else multiarch / Path(name).name


def main():
    pairs = list(environment())
    pairs += [*bytecode(pairs, sys.argv[1]), *libraries(pairs)]
    for file, place in pairs:
        print(f"{file}:{place}")


main()

"""The package from its archive in the chart, as a pod has it: one file on PYTHONPATH, which nobody may write."""

from __future__ import annotations

import shutil
from pathlib import Path
from zipfile import ZipFile

from conftest import SOURCES, run_in_release

ARCHIVE = Path(__file__).parents[3] / "charts/mcpgateway-operator/files/mcpgateway_usage.zip"


def test_the_archive_has_the_sources_and_nothing_else() -> None:
    with ZipFile(ARCHIVE) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    files = (SOURCES / "mcpgateway_usage").iterdir()
    assert found == {f"mcpgateway_usage/{file.name}": file.read_bytes() for file in files if file.is_file()}


def test_the_release_loads_the_plugin_from_the_archive(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    archive = Path(shutil.copy(ARCHIVE, mounted))
    archive.chmod(0o444)
    mounted.chmod(0o555)
    try:
        run_in_release(Path(__file__).with_name("release_archive.py"), tmp_path, package=archive)
    finally:
        mounted.chmod(0o755)

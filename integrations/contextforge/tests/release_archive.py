"""The release with the package on PYTHONPATH as an archive: run by test_archive.py in a process of its own.

Its framework loads the plugin from a plugins file, a call is counted, and the report has it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import pkgutil
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

from cpex.framework import GlobalContext, PluginManager, ToolHookType, ToolPreInvokePayload
from mcpgateway.services import gateway_service, server_classification_service
from servers import free_port

LOADED = (gateway_service, server_classification_service)
"""The plugin replaces methods of these modules, which a process of the release has loaded."""

PLUGINS = """\
plugins:
  - name: Usage
    kind: mcpgateway_usage.plugin.UsagePlugin
    hooks: [tool_pre_invoke, prompt_post_fetch, resource_post_fetch]
    mode: audit
    on_error: ignore
    config: {{port: {port}, token_file: {token}, directory: {directory}, cold_health_interval: 5m}}
plugin_dirs: []
"""


async def call(config: Path) -> None:
    """One call of a tool through the framework."""
    manager = PluginManager(str(config))
    await manager.initialize()
    assert manager.has_hooks_for(ToolHookType.TOOL_PRE_INVOKE), "the plugin was not loaded"
    gateway = SimpleNamespace(id="a" * 32, url="https://a.example/mcp")
    context = GlobalContext(request_id="1", metadata={"gateway": gateway})
    await manager.invoke_hook(ToolHookType.TOOL_PRE_INVOKE, ToolPreInvokePayload(name="t"), context)
    await manager.shutdown()


def report(port: int, token: str) -> dict[str, object]:
    """The report, when it has a row."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/mcpgateway/usage", headers={"Authorization": f"Bearer {token}"}
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                found: dict[str, object] = json.loads(answer.read())
        except OSError:
            continue
        if "a" * 32 in json.dumps(found):
            return found
        time.sleep(0.05)
    raise AssertionError("no report with the call")


def main() -> None:
    """Load every module, then the plugin."""
    archive = os.environ["PYTHONPATH"].split(os.pathsep)[0]
    package = importlib.import_module("mcpgateway_usage")
    assert package.__file__ == f"{archive}/mcpgateway_usage/__init__.py", package.__file__
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    assert len(names) > 15, names
    for name in names:
        module = importlib.import_module(f"mcpgateway_usage.{name}")
        assert module.__file__ == f"{archive}/mcpgateway_usage/{name}.py", module.__file__

    port, token = free_port(), "archive"
    Path("token").write_text(token)
    config = Path("plugins.yaml")
    config.write_text(PLUGINS.format(port=port, token=Path("token").resolve(), directory=Path("pod").resolve()))
    asyncio.run(call(config))
    answer = report(port, token)
    # The shape of the release's methods is compared from the archive too: nothing is unsupported.
    assert "Unsupported" not in json.dumps(answer), answer
    assert os.listdir(Path(archive).parent) == [Path(archive).name]


if __name__ == "__main__":
    main()

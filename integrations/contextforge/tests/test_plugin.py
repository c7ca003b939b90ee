"""The plugin within the framework of the release, as its manager loads and calls it."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from servers import free_port

pytest.importorskip("cpex")

from cpex.framework import (
    GlobalContext,
    OnError,
    PluginConfig,
    PluginManager,
    PluginMode,
    PromptHookType,
    PromptPosthookPayload,
    ResourceHookType,
    ResourcePostFetchPayload,
    ToolHookType,
    ToolPreInvokePayload,
)

from mcpgateway_usage import process
from mcpgateway_usage.plugin import UsagePlugin
from mcpgateway_usage.settings import Settings

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[process.Process]:
    """This very process, with a state of its own."""
    monkeypatch.setenv("MCPGATEWAY_USAGE_DIRECTORY", str(tmp_path / "pod"))
    monkeypatch.setenv("MCPGATEWAY_USAGE_PORT", str(free_port()))
    monkeypatch.setattr(process._State, "settings", None)
    monkeypatch.setattr(process._State, "current", None)
    importlib.import_module("mcpgateway_usage.plugin")
    UsagePlugin(plugin_config())
    found = process.current()
    assert found is not None
    yield found
    found.close()


def plugin_config(**config: Any) -> PluginConfig:
    return PluginConfig(
        name="Usage",
        kind="mcpgateway_usage.plugin.UsagePlugin",
        hooks=["tool_pre_invoke", "prompt_post_fetch", "resource_post_fetch"],
        mode=PluginMode.AUDIT,
        on_error=OnError.IGNORE,
        config=config,
    )


def context(gateway: object = None) -> GlobalContext:
    return GlobalContext(request_id="1", metadata={} if gateway is None else {"gateway": gateway})


def rows(here: process.Process) -> list[dict[str, Any]]:
    here.flush()
    path = here._path / f"{here.id}.rows"
    found: list[dict[str, Any]] = json.loads(path.read_bytes())
    return found


def test_a_call_through_the_manager_is_counted(here: process.Process, tmp_path: Path) -> None:
    config = tmp_path / "plugins.yaml"
    config.write_text(example())
    gateway = SimpleNamespace(id="a" * 32, url="https://a.example/mcp?token=hunter2")

    async def call() -> None:
        manager = PluginManager(str(config))
        # As ContextForge does: several instances come and go in the life of the process.
        for _ in range(2):
            await manager.initialize()
            assert manager.has_hooks_for(ToolHookType.TOOL_PRE_INVOKE)
            payload = ToolPreInvokePayload(name="t", args={"x": 1})
            result, _ = await manager.invoke_hook(ToolHookType.TOOL_PRE_INVOKE, payload, context(gateway))
            assert result.continue_processing
            assert result.modified_payload is None
            # A REST tool has no gateway.
            await manager.invoke_hook(ToolHookType.TOOL_PRE_INVOKE, payload, context())
            await manager.shutdown()

    asyncio.run(call())
    (row,) = rows(here)
    assert (row["gatewayId"], row["url"], row["useCount"]) == ("a" * 32, "https://a.example/mcp", 2)


def example() -> str:
    """The plugins configuration that the README gives."""
    return (
        README.read_text()
        .partition("```yaml title=plugins.yaml\n")[2]
        .partition("```")[0]
        .replace("token_file: /", "# token_file: /")
    )


def test_the_readme_has_every_setting() -> None:
    text = README.read_text()
    for name in Settings.__dataclass_fields__:
        assert f"`{name}`" in text


def test_prompts_and_resources_are_noted(here: process.Process) -> None:
    plugin = UsagePlugin(plugin_config())

    async def call() -> None:
        none: Any = None
        await plugin.prompt_post_fetch(PromptPosthookPayload(prompt_id="p", result=None), none)
        await plugin.resource_post_fetch(ResourcePostFetchPayload(uri="r://x", content="text"), none)
        content = SimpleNamespace(id="0123", text="text")
        await plugin.resource_post_fetch(ResourcePostFetchPayload(uri="r://x", content=content), none)

    asyncio.run(call())
    assert here.lookup is not None
    assert here.lookup._waiting.keys() == {("prompt", "p"), ("resource", "r://x"), ("resource", "0123")}
    assert PromptHookType.PROMPT_POST_FETCH.value in plugin.hooks
    assert ResourceHookType.RESOURCE_POST_FETCH.value in plugin.hooks


@pytest.mark.usefixtures("here")
def test_an_odd_context_stops_nothing() -> None:
    plugin = UsagePlugin(plugin_config())
    odd: Any = SimpleNamespace(global_context=SimpleNamespace(metadata={"gateway": object()}))
    payload = ToolPreInvokePayload(name="t")
    assert asyncio.run(plugin.tool_pre_invoke(payload, odd)).continue_processing
    assert asyncio.run(plugin.tool_pre_invoke(payload, SimpleNamespace())).continue_processing  # type: ignore[arg-type]


def test_a_wrong_setting_is_said_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"config\.prot: no such setting"):
        UsagePlugin(plugin_config(prot=1))


def test_switched_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MCPGATEWAY_USAGE_DIRECTORY", str(tmp_path / "pod"))
    monkeypatch.setattr(process._State, "settings", None)
    monkeypatch.setattr(process._State, "current", None)
    plugin = UsagePlugin(plugin_config(enabled=False))
    asyncio.run(plugin.initialize())
    payload = ToolPreInvokePayload(name="t")
    odd: Any = SimpleNamespace(global_context=context(SimpleNamespace(id="a", url="http://a/")))
    assert asyncio.run(plugin.tool_pre_invoke(payload, odd)).continue_processing
    asyncio.run(plugin.shutdown())
    assert not (tmp_path / "pod").exists()

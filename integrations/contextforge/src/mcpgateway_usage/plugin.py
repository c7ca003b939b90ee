"""The plugin that ContextForge loads: ``kind: mcpgateway_usage.plugin.UsagePlugin``.

In: the framework's hooks. Out: a use noted, and "go on". Must not: hold state (instances come and go within a process),
change or stop a request, or let an exception out of a hook.

A tool's hook is called when access has been checked and just before the request to the server begins, by the process
that makes it, and its context names the gateway. Health checks and tool refreshes pass no hook.
"""

from __future__ import annotations

import logging

from cpex.framework import (
    Plugin,
    PluginConfig,
    PluginContext,
    PromptPosthookPayload,
    PromptPosthookResult,
    ResourcePostFetchPayload,
    ResourcePostFetchResult,
    ToolPreInvokePayload,
    ToolPreInvokeResult,
)

from . import process
from .lookup import Kind
from .settings import load

_LOG = logging.getLogger("mcpgateway_usage")
# cpex.framework.constants.GATEWAY_METADATA, which is not part of its public names.
_GATEWAY = "gateway"


class UsagePlugin(Plugin):
    """Notes which gateways are used."""

    def __init__(self, config: PluginConfig) -> None:
        """Read the settings.

        Raises:
            ValueError: a setting is wrong. The gateway then starts without the plugin, and its log says why.
        """
        super().__init__(config)
        process.configure(load(config.config))

    async def initialize(self) -> None:
        """Be seen in the report before the first request arrives."""
        process.current()

    async def shutdown(self) -> None:
        """Publish what has been counted: this may be the end of the process, and it may not."""
        here = process.current()
        if here is not None:
            here.flush()

    async def tool_pre_invoke(self, payload: ToolPreInvokePayload, context: PluginContext) -> ToolPreInvokeResult:  # noqa: ARG002
        """A request to the gateway's server begins."""
        try:
            gateway = context.global_context.metadata.get(_GATEWAY)
            here = process.current()
            if gateway is not None and here is not None:
                here.counts.used(gateway.id, gateway.url)
                if here.lookup is not None:
                    here.lookup.ages.called(gateway.id)
        except Exception:  # noqa: BLE001 - whatever it is, the call must go on
            _LOG.debug("a tool call was not counted", exc_info=True)
        return ToolPreInvokeResult()

    async def prompt_post_fetch(self, payload: PromptPosthookPayload, context: PluginContext) -> PromptPosthookResult:  # noqa: ARG002
        """A prompt has been fetched; whose it is the lookup finds out."""
        _note("prompt", payload.prompt_id)
        return PromptPosthookResult()

    async def resource_post_fetch(
        self,
        payload: ResourcePostFetchPayload,
        context: PluginContext,  # noqa: ARG002
    ) -> ResourcePostFetchResult:
        """A resource has been read; whose it is the lookup finds out."""
        resource_id = getattr(payload.content, "id", None)
        _note("resource", resource_id if isinstance(resource_id, str) and resource_id else payload.uri)
        return ResourcePostFetchResult()


def _note(kind: Kind, key: str) -> None:
    try:
        here = process.current()
        if here is not None and here.lookup is not None:
            here.lookup.note(kind, key)
    except Exception:  # noqa: BLE001 - whatever it is, the call must go on
        _LOG.debug("a %s was not counted", kind, exc_info=True)

"""Tells mcpgateway-operator which MCP servers the processes of a ContextForge pod really use.

Data flow, within one process and then within one pod::

    hooks (plugin) ──► counts ─┐
    upstream sessions ─────────┼─► publisher ──► folder of the pod ──► report ──► endpoint ──► operator
    prompts, resources (lookup)┘   (each process, twice a second)     (one process of the pod)

``plugin`` alone imports the plugin framework. ``sessions``, ``lookup`` and ``polling`` alone look into ContextForge,
and only where it is loaded. Everything else runs and is tested without either.

``polling`` replaces two methods of ContextForge, each only if it has the form that is known (``release_shape``,
``wrapping``): ``hot_polls`` keeps hot servers at the full rate, ``health_pacing`` skips health checks of cold ones.
"""

__version__ = "0.1.0"

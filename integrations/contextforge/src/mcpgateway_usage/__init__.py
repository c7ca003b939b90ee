"""Tells mcpgateway-operator which MCP servers the processes of a ContextForge pod really use.

Data flow, within one process and then within one pod::

    hooks (plugin) ──► counts ─┐
    upstream sessions ─────────┼─► publisher ──► folder of the pod ──► report ──► endpoint ──► operator
    prompts, resources (lookup)┘   (each process, twice a second)     (one process of the pod)

``plugin`` alone imports the plugin framework, ``sessions`` and ``lookup`` alone look into ContextForge, and only where
it is loaded: everything else runs and is tested without either.
"""

__version__ = "0.1.0"

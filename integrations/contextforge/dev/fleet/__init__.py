"""A real fleet on loopback: ContextForge, MCP servers, Redis, clients, operators.

For dev/e2e, dev/polls-figure and dev/plan-figure.
"""

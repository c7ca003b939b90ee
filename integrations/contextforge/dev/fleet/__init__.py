"""A real fleet on loopback: ContextForge, MCP servers, Redis, clients, operators.

For dev/e2e, dev/polls-figure, dev/plan-figure and dev/registration-e2e.
"""

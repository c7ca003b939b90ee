"""A real fleet on loopback, for dev/e2e and dev/polls-figure: ContextForge, MCP servers, Redis, clients, operators."""

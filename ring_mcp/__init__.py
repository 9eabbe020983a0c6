"""ring-mcp: an MCP server that makes images and videos on your own provider key."""

__version__ = "0.1.0"

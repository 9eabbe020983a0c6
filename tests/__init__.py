"""The tests: a folder for each folder of ring_mcp, and what they share."""

"""The outside services, emulated on a loopback socket: xAI Imagine, Gemini and ring-filebase.

Nothing here imports the rest of ``ring_mcp``: the sandbox plays a stranger, with its own price table and its own
idea of what is valid, so that a mistake of the product is not repeated on the other side of the wire.
"""

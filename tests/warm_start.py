"""Loaded last by the process that commands are forked from (``tests/warm.py``): what each of them would do anew."""

from __future__ import annotations

import gc

from ring_mcp.providers.connections import load_authorities

load_authorities()

# The collector of a fork would look through all that was loaded here, and so copy most of its memory.
gc.collect()
gc.freeze()

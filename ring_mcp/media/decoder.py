"""The decoder: a process that opens strangers' pictures and clips, within limits, and dies in its server's place.

It is started with a socket as its stdin, and its server's process id as its argument. An order is a JSON object on a
line, and so is its answer. It is told paths and nothing else, and there is no key in its environment.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from ring_mcp.media.limits import limit_next_file, limit_this_process
from ring_mcp.media.natives import InThisProcess
from ring_mcp.media.pictures import TooManyPixels

IDLE_S = 300.0
"""Nobody pays for a decoder that has had nothing to do for so long."""


def main() -> None:
    limit_this_process(int(sys.argv[-1]))
    with socket.socket(fileno=0) as wire, wire.makefile("rb") as lines:
        orders: SimpleQueue[bytes] = SimpleQueue()
        # A thread of its own, for a library in the middle of its work cannot look at the socket.
        threading.Thread(target=_listen, args=(lines, orders), daemon=True).start()
        try:
            while True:
                order = json.loads(orders.get(timeout=IDLE_S))
                limit_next_file()
                wire.sendall(json.dumps(obey(order)).encode() + b"\n")
        except (Empty, OSError):  # nothing to do any more, or nobody who listens
            os._exit(0)
        # The status is all that the server needs; a clean end could hang in a library that has just broken.
        except BaseException:
            os._exit(1)


def _listen(lines: Any, orders: SimpleQueue[bytes]) -> None:
    """Beside the work, so that a server that has gone is noticed in the middle of it."""
    try:
        for line in lines:
            orders.put(line)
    finally:
        # sys.exit would end this thread alone.
        os._exit(0)


def obey(order: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to one order. What goes wrong with a file is in it; of whatever else it is, the decoder dies."""
    try:
        return {"answer": _ORDERS[order["do"]](InThisProcess(), order)}
    except TooManyPixels:
        return {"failed": "too many pixels"}
    except MemoryError:
        return {"failed": "memory"}
    except OSError as exc:
        return {"failed": "os", "errno": exc.errno, "strerror": exc.strerror}


def _measure_picture(natives: InThisProcess, order: Mapping[str, Any]) -> object:
    return natives.measure_picture(Path(order["path"]), order["container"], is_whole=order["isWhole"])


def _measure_clip(natives: InThisProcess, order: Mapping[str, Any]) -> object:
    facts = natives.measure_clip(Path(order["path"]))
    return [facts.width_px, facts.height_px, None if facts.duration_s is None else str(facts.duration_s)]


def _write_preview(natives: InThisProcess, order: Mapping[str, Any]) -> object:
    natives.write_preview(order["kind"], [Path(path) for path in order["paths"]], Path(order["preview"]))
    return True


def _write_poster(natives: InThisProcess, order: Mapping[str, Any]) -> object:
    return natives.write_poster(Path(order["clip"]), Path(order["poster"]))


def _write_thumbnail(natives: InThisProcess, order: Mapping[str, Any]) -> object:
    from ring_mcp.domain import Thumbnail  # only few orders need it, and it takes as long to load as all the rest

    spec = Thumbnail.model_validate(order["spec"])
    font = Path(order["font"]) if order["font"] else None
    return natives.write_thumbnail(spec, Path(order["background"]), order["canvas"], Path(order["target"]), font=font)


_ORDERS: Mapping[str, Callable[[InThisProcess, Mapping[str, Any]], object]] = {
    "measure picture": _measure_picture,
    "measure clip": _measure_clip,
    "write preview": _write_preview,
    "write poster": _write_poster,
    "write thumbnail": _write_thumbnail,
}

if __name__ == "__main__":
    main()

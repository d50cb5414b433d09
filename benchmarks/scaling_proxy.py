"""A network that takes time: a TCP proxy that holds back what passes in each direction.

Run by `benchmarks.scaling` in a process of its own::

    python -m benchmarks.scaling_proxy TARGET_PORT DELAY_MS

It prints the port that it listens on, and ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

_CHUNK = 65_536


class DelayingProxy:
    """Joins each connection to a server, and delays what is sent without changing its order.

    Parameters
    ----------
    target_port
        Of the server, on this machine.
    delay_s
        How long each byte is on its way, in each direction.
    """

    def __init__(self, target_port: int, delay_s: float) -> None:
        self._target_port = target_port
        self._delay_s = delay_s
        self._server: asyncio.Server | None = None
        self.connections = 0

    async def start(self) -> int:
        """Listen on a free port, and return it."""
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            far = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pass_on(reader, far[1]), self._pass_on(far[0], writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read at once, and write when it is time: many chunks are on their way together."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivering = asyncio.ensure_future(self._deliver(on_the_way, writer))
        loop = asyncio.get_running_loop()
        chunk = b"begin"
        while chunk:
            try:
                chunk = await reader.read(_CHUNK)
            except OSError:
                chunk = b""
            on_the_way.put_nowait((loop.time() + self._delay_s, chunk))
        await delivering

    @staticmethod
    async def _deliver(
        on_the_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while True:
                due, chunk = await on_the_way.get()
                left = due - loop.time()
                if left > 0:
                    await asyncio.sleep(left)
                if not chunk:  # the sender has ended
                    break
                writer.write(chunk)
                await writer.drain()
        writer.close()


async def _serve(target_port: int, delay_s: float) -> None:
    proxy = DelayingProxy(target_port, delay_s)
    sys.stdout.write(f"{await proxy.start()}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await proxy.stop()


def main() -> None:
    """Read the command line, and serve until the input ends."""
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))


if __name__ == "__main__":
    main()

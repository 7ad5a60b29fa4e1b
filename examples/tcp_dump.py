"""Print who listens, and how many connections wait for it: the same code on trio and asyncio."""

from __future__ import annotations

import anyio

import netlink_safe as nls


async def main() -> None:
    """Dump listeners; every wait in here ends within 5 seconds."""
    async with nls.open_sock_diag(timeout=5.0) as diag:
        async for sock in diag.dump(nls.tcp_sockets(states={nls.TcpState.LISTEN})):
            print(sock.source, sock.state, sock.accept_queue)


if __name__ == "__main__":
    anyio.run(main, backend="trio")

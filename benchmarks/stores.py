"""Stores at which processes meet that are forked off the one that keeps it.

A store has a thread, and a process that is forked while there is another thread may wait for ever for a lock that the
other one held. So the place is made first, then processes are forked, and then the store.
"""

from __future__ import annotations

import os
import socket
import time


def place() -> socket.socket:
    """Return a listening socket at a free port of this machine; a forked process closes its copy."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def port_of(listener: socket.socket) -> int:
    """Return the port of :func:`place`."""
    return int(listener.getsockname()[1])


def store_at(listener: socket.socket) -> object:
    """Return the store of a place, which lives as long as it is held; processes may have connected before."""
    import torch.distributed as dist

    port = port_of(listener)
    return dist.TCPStore("localhost", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())


def keeper(listener: socket.socket) -> int:
    """Let a process of its own keep the store of a place, so that this one goes on forking; return its number.

    It ends when it is killed, or when this process has ended.
    """
    parent, process = os.getpid(), os.fork()
    if process == 0:
        store = store_at(listener)
        while store is not None and os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)
    listener.close()
    return process

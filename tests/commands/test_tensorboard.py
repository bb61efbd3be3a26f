from __future__ import annotations

import re
import socket

import pytest

from gendistill.commands.tensorboard import require_free
from gendistill.errors import UserError


def test_a_port_in_use_is_refused_with_a_free_one_named() -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} cannot be used") as caught:
            require_free("localhost", port)
    free = int(re.search(r"--port (\d+)$", str(caught.value))[1])  # type: ignore[index]
    assert free != port
    require_free("localhost", free)
    require_free("localhost", port)  # free again

"""The modules of the extra ``federated``, each imported when it is first asked for: ``extra.x509``, ``extra.grpc``."""

from __future__ import annotations

import importlib
from typing import Any

from gendistill.errors import UserError

MODULES = {
    "grpc": "grpc",
    "x509": "cryptography.x509",
    "ec": "cryptography.hazmat.primitives.asymmetric.ec",
    "hashes": "cryptography.hazmat.primitives.hashes",
    "serialization": "cryptography.hazmat.primitives.serialization",
}


def __getattr__(name: str) -> Any:
    """Return a module, and keep it here.

    Raises:
        UserError: It is not installed.
    """
    if name not in MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    try:
        found = importlib.import_module(MODULES[name])
    except ImportError as error:
        raise UserError(
            f"{MODULES[name].partition('.')[0]} is not installed, which PrivacyGAN across machines needs; "
            "pip install 'gendistill[federated]'"
        ) from error
    globals()[name] = found
    return found


def require() -> None:
    """Refuse to go on without gRPC and cryptography.

    Raises:
        UserError: One is not installed.
    """
    for name in MODULES:
        __getattr__(name)

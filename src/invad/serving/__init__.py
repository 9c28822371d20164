"""The inspection page and its HTTP service; needs the extra `serve`. `create_app` makes the application."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invad.serving.app import create_app
    from invad.serving.limits import Limits

__all__ = ["Limits", "create_app"]
_HOME = {"Limits": "invad.serving.limits", "create_app": "invad.serving.app"}


def __getattr__(name: str) -> object:
    """Import a name on first use: the command line takes the limits where the packages of a server are missing."""
    if name not in _HOME:
        raise AttributeError(f"module 'invad.serving' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)

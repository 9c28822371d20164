"""Where a request leads, wherever the application is mounted."""

from starlette.types import Scope


def own_path(scope: Scope) -> str:
    """Return a request's path as the application's own routes name it: without the path that it is mounted below.

    Example:
        >>> own_path({"path": "/parts/predict", "root_path": "/parts"})
        '/predict'
        >>> own_path({"path": "/partsx", "root_path": "/parts"})
        '/partsx'
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if path.startswith(root + "/") else path

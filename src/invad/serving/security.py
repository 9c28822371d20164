"""Who may ask what, and what browsers are told about the answers."""

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from invad.errors import SettingsError
from invad.serving.paths import own_path

OPEN = ("/", "/health", "/ready", "/docs", "/docs.css", "/openapi.json", "/favicon.ico")
"""What needs no token: whether the server is there, the page and the description, which hold nothing of the user's."""
OPEN_UNDER = "/page/"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
SHORTEST_TOKEN = 16
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; font-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


class Guard:
    """Refuses wrong hosts, requests that other sites' pages make, and those without the token; sets the headers.

    Args:
        app: the application.
        token: that requests must carry; None: none is needed.
        hosts: names that the server is asked by, with or without a port, which does not matter; None: any.
    """

    def __init__(self, app: ASGIApp, token: str | None, hosts: Collection[str] | None) -> None:
        self._app = app
        self._token = None if token is None else hashlib.sha256(token.encode()).digest()
        self._hosts = None if hosts is None else frozenset(host_name(host) for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and host_name(host) not in self._hosts:
            return _problem(
                421, f"this server is not asked by the name {host_name(host)!r}; allow it by --hosts if it is yours"
            )
        if scope["method"] not in SAFE and not _same_origin(headers, host):
            return _problem(403, "this request comes from another site's page; open the server's own page instead")
        path = own_path(scope)
        if self._token is None or path in OPEN or path.startswith(OPEN_UNDER):
            return None
        if self._is_token(headers.get("authorization", "")):
            return None
        refusal = _problem(401, "expected the header `Authorization: Bearer TOKEN` with the token of this server")
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    def _is_token(self, authorization: str) -> bool:
        """Compared in constant time, and by hashes, so that the time tells nothing about the length either."""
        scheme, _, token = authorization.partition(" ")
        given = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        assert self._token is not None
        return scheme.lower() == "bearer" and hmac.compare_digest(given, self._token)


def host_name(host: str) -> str:
    """Return the name in a Host header, in lower case, without port and brackets; of a bare IPv6 address itself.

    Example:
        >>> host_name("[::1]:8000"), host_name("Example.com:80"), host_name("10.0.0.1"), host_name("::1")
        ('::1', 'example.com', '10.0.0.1', '::1')
    """
    if host.count(":") > 1 and not host.startswith("["):
        return host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that is bound to a host.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(file: Path | None) -> str | None:
    """Return the token in a file, or in the environment's INVAD_TOKEN; None where there is neither.

    Raises:
        SettingsError: the file cannot be read, or the token is too short or not plain.
    """
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the token in {file}: {error}") from error
    elif "INVAD_TOKEN" in os.environ:
        token = os.environ["INVAD_TOKEN"].strip()
    else:
        return None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            f"expected a token of {SHORTEST_TOKEN} or more letters, digits and signs; make one by: "
            f'python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    return token


def _same_origin(headers: Headers, host: str) -> bool:
    """Whether no browser made the request, or the server's own page did."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # no address at all
        return False


def _problem(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status_code=status)


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sent

"""How a request's body comes in: bounded in size and time, and never more of it held than that."""

import asyncio
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from invad.serving.limits import Limits
from invad.serving.paths import own_path

IMAGES = "/predict"
"""The path whose bodies hold images."""
SMALL_BODY = 1 << 16
"""Bytes of a body that holds none, at most."""
LINGER_SECONDS = 2.0
"""How long the rest of a refused body is read and thrown away, so that the client gets to see the answer."""


class Receiving:
    """Bounds the bodies of an application's requests.

    Too large: 413. Too slow: 408. All of them together too large, or `full` where images are about to come: 503. After
    such an answer the connection is closed, and the rest of the body is thrown away.

    Args:
        app: the application.
        limits: the bounds.
        full: asked before images are read: seconds to try again in where there is no place for it; None: there is.
    """

    def __init__(self, app: ASGIApp, limits: Limits, full: Callable[[], int | None]) -> None:
        self._app, self._limits, self._full = app, limits, full
        self._held = 0
        """Bytes of all bodies that are being worked on."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, self._limits, self)
        try:
            await self._app(scope, body.receive, body.sender(send))
        finally:
            self._held -= body.size

    def refuse_where_full(self) -> None:
        """Refuse a body before it is read, where its images would find no place.

        Raises:
            HTTPException: they would not.
        """
        seconds = self._full()
        if seconds is not None:
            raise busy("the queue is full", seconds)

    def hold(self, size: int) -> None:
        """Count bytes that have come.

        Raises:
            HTTPException: there are too many.
        """
        self._held += size
        if self._held > self._limits.receiving_bytes:
            raise busy(f"bodies of more than {self._limits.receiving_bytes} bytes are being received", 1)


class _Body:
    """The body of one request."""

    def __init__(self, scope: Scope, receive: Receive, limits: Limits, shared: Receiving) -> None:
        headers = {name: value for name, value in scope["headers"] if name in (b"content-length", b"transfer-encoding")}
        self._declared = int(headers.get(b"content-length", b"0"))
        self._receive, self._limits, self._shared = receive, limits, shared
        self._images = own_path(scope) == IMAGES
        self._largest = limits.body_bytes if self._images else min(SMALL_BODY, limits.body_bytes)
        self._deadline = asyncio.get_running_loop().time() + limits.body_seconds
        self._coming = self._declared > 0 or b"transfer-encoding" in headers
        self._begun = False
        self.size = 0

    async def receive(self) -> Message:
        """Return the next part of the body, within the limits."""
        if not self._coming:
            return await self._receive()
        if not self._begun:
            self._begun = True
            self._require(self._declared)
            if self._images:
                self._shared.refuse_where_full()
        message = await self._next()
        size = len(message.get("body", b""))
        self.size += size
        self._shared.hold(size)
        self._require(self.size)
        self._coming = message["type"] == "http.request" and message.get("more_body", False)
        return message

    def sender(self, send: Send) -> Send:
        """Return `send`, which closes the connection after an answer that did not wait for the body's end."""
        early = False

        async def sent(message: Message) -> None:
            nonlocal early
            if message["type"] == "http.response.start" and self._coming:
                early = True
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not (early and last):
                await send(message)
                return
            await send({**message, "more_body": True})
            await self._throw_away()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        return sent

    async def _next(self) -> Message:
        now = asyncio.get_running_loop().time()
        seconds = min(self._limits.idle_seconds, self._deadline - now)
        try:
            async with asyncio.timeout(seconds):
                return await self._receive()
        except TimeoutError as error:
            what = "nothing of it came" if seconds == self._limits.idle_seconds else "it was not complete"
            raise HTTPException(
                408, f"the body came too slowly: {what} within {max(seconds, 0):.3g} s of waiting"
            ) from error

    def _require(self, size: int) -> None:
        if size > self._largest:
            raise HTTPException(
                413,
                f"expected a body of at most {self._largest} bytes, got {size} or more; send fewer images at "
                f"a time, or raise the limit of the server",
            )

    async def _throw_away(self) -> None:
        """Read what still comes, for a moment, and keep none of it: a closed door would hide the answer."""
        thrown = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while self._coming and thrown <= 4 * self._largest:
                    message = await self._receive()
                    thrown += len(message.get("body", b""))
                    self._coming = message["type"] == "http.request" and message.get("more_body", False)
        except TimeoutError:
            return


def busy(why: str, seconds: int) -> HTTPException:
    """Return the refusal of a server that has no place now."""
    return HTTPException(503, f"{why}; try again in {seconds} s", headers={"Retry-After": str(seconds)})

"""The application on a socket: connections that are bounded in number and patience, signals, and a stop that finishes.

One process, one event loop; uvicorn speaks HTTP.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from invad.errors import InvadError, SettingsError
from invad.serving.limits import Limits
from invad.serving.reloading import Reloader
from invad.serving.service import Service

LOG = logging.getLogger("invad.serving")
LAST_PORT = 65535
KEEP_ALIVE = 5
"""Seconds that a connection may stand idle between two requests."""
LINGERING = 30.0
"""Seconds, beyond the time for a body, that a stop waits for connections."""


def serve(app: FastAPI, *, host: str, port: int, access_log: bool = False) -> None:
    """Answer requests until SIGINT or SIGTERM, then finish those that were taken in. SIGHUP reloads the model.

    Args:
        app: as `create_app` returns it.
        host: the address to bind to.
        port: 0: any that is free; it is said on standard error.
        access_log: write a line for each request.

    Raises:
        SettingsError: the address cannot be bound to.
    """
    listener = bind(host, port)
    limits: Limits = app.state.service.limits
    _log(access_log)
    config = uvicorn.Config(
        app,
        http=bounded(limits),
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=access_log,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(limits.body_seconds + LINGERING),
    )
    _Server(config, app.state.service, app.state.reloader).run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        SettingsError: the address is taken, or not of this machine, or there is no such port.
    """
    require_port(port)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}, port {port}: {error}; choose another --host or --port"
        ) from error


def require_port(port: int) -> None:
    """Refuse a number that is no port; the system would take it modulo 65536.

    Raises:
        SettingsError: it is none.
    """
    if not 0 <= port <= LAST_PORT:
        raise SettingsError(f"expected a port from 0 to {LAST_PORT}, got {port}; choose another --port")


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it stops and reloads on SIGHUP.

    Started by `nohup` in a terminal, it ignores SIGHUP, as it was told to: the terminal may be closed.
    """

    def __init__(self, config: uvicorn.Config, service: Service, reloader: Reloader | None) -> None:
        super().__init__(config)
        self._service, self._reloader = service, reloader
        self._reloads: set[asyncio.Task[None]] = set()
        self._terminal = has_terminal()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say where."""
        await super().startup(sockets=sockets)
        if sys.platform != "win32" and not (self._terminal and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        for listener in sockets or []:
            address, port = listener.getsockname()[:2]
            shown = f"[{address}]" if ":" in address else address
            LOG.info("serving %s on http://%s:%d", self._service.info.name, shown, port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a second Ctrl-C does not wait."""
        self._service.stopping = True
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what was taken in."""
        LOG.info("stopping: no new connections; what was taken in is finished")
        await super().shutdown(sockets=sockets)
        counted = self._service.telemetry
        LOG.info("stopped: %d requests taken in, %d answered", counted.taken, counted.answered)

    def _hang_up(self) -> None:
        """Reload; but stop where the signal came because the terminal was closed that the server was started in."""
        if self._reloader is None or (self._terminal and not has_terminal()):
            self.handle_exit(signal.SIGTERM, None)
            return
        task = asyncio.get_running_loop().create_task(self._reload_and_log())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_and_log(self) -> None:
        assert self._reloader is not None
        try:
            await self._reloader.reload()
        except InvadError:
            return  # the reloader has said why


def has_terminal() -> bool:
    """Return whether the program runs in a terminal that is open; never on Windows."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True


def bounded(limits: Limits) -> type[H11Protocol]:
    """Return uvicorn's HTTP protocol with bounds on connections: how many, and how long one may keep silent."""

    class Bounded(H11Protocol):
        """One connection."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._head_timer: asyncio.TimerHandle | None = None
            self._write_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > 2 * limits.connections:
                transport.abort()
            elif len(self.connections) > limits.connections:
                self.app = _too_many
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                _cancel(self._head_timer)
                self._head_timer = None
            elif self._head_timer is None:
                self._expect_head()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._expect_reading(self.transport.get_write_buffer_size())

        def resume_writing(self) -> None:
            super().resume_writing()
            _cancel(self._write_timer)

        def connection_lost(self, exc: Exception | None) -> None:
            _cancel(self._head_timer)
            _cancel(self._write_timer)
            super().connection_lost(exc)

        def _expect_head(self) -> None:
            """Close the connection unless a request's whole head comes in time."""
            self._head_timer = self.loop.call_later(limits.idle_seconds, self.transport.close)

        def _expect_reading(self, unread: int) -> None:
            """Cut the connection unless the client reads on."""

            def look() -> None:
                left = self.transport.get_write_buffer_size()
                if left >= unread:
                    self.transport.abort()
                else:
                    self._expect_reading(left)

            self._write_timer = self.loop.call_later(limits.idle_seconds, look)

    return Bounded


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


async def _too_many(scope: Any, receive: Any, send: Any) -> None:
    """What connections beyond the limit are answered."""
    response = JSONResponse(
        {"detail": "too many connections; try again in 1 s"},
        status_code=503,
        headers={"Retry-After": "1", "Connection": "close"},
    )
    await response(scope, receive, send)


def _log(access_log: bool) -> None:
    """Write what the server says to standard error, with times."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (
        ("invad.serving", logging.INFO),
        ("uvicorn.error", logging.WARNING),
        ("uvicorn.access", logging.INFO if access_log else logging.CRITICAL),
        ("python_multipart.multipart", logging.CRITICAL),  # a line for each broken body, which is answered with 400
    ):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)

"""What the server counts, for Prometheus."""

import logging
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from invad.serving.paths import own_path

LOG = logging.getLogger("invad.serving")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency histogram."""
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Telemetry:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.taken = 0
        """Requests whose head has come."""
        self.answered = 0
        """Requests whose answer has been sent to its end, as far as the client was there to take it."""
        self.requests = Counter(
            "invad_requests_total", "Requests answered.", ("path", "method", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "invad_request_seconds",
            "From a request's first byte to the end of its answer.",
            ("path",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.queue_images = Gauge("invad_queue_images", "Images taken in and not yet answered.", registry=self.registry)
        self.batch_images = Histogram(
            "invad_batch_images", "Images computed together.", buckets=BATCHES, registry=self.registry
        )
        self.decisions = Counter(
            "invad_decisions_total",
            "Images by what was said: good, defective, none (no threshold), unreadable.",
            ("decision",),
            registry=self.registry,
        )
        self.reloads = Counter(
            "invad_reloads_total", "Reloads by how they ended: loaded, kept.", ("result",), registry=self.registry
        )
        self._model = Gauge(
            "invad_model_info", "The model that is served.", ("name", "checksum"), registry=self.registry
        )

    def say_model(self, name: str, checksum: str) -> None:
        """Tell which model is served now."""
        self._model.clear()
        self._model.labels(name, checksum).set(1)

    def text(self) -> bytes:
        """Return all of them in Prometheus' own format."""
        return generate_latest(self.registry)


class Timed:
    """Counts and times every request of an application.

    Args:
        app: the application.
        telemetry: where to.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app, self._telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = "none", time.perf_counter()
        own = own_path(scope)  # now: a mount that the request goes through makes another of it
        self._telemetry.taken += 1

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._telemetry.answered += 1

        try:
            await self._app(scope, receive, noted)
        finally:
            path = "/page" if own.startswith("/page/") else _route(scope)
            self._telemetry.requests.labels(path, _method(scope["method"]), status).inc()
            self._telemetry.seconds.labels(path).observe(time.perf_counter() - started)


class Caught:
    """Turns what nobody expected into an answer and a line in the log, where no answer has begun.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            if begun or scope["type"] != "http":
                raise
            LOG.exception("%s %r failed", scope["method"], scope["path"])
            detail = "the server failed; its log says how"
            await JSONResponse({"detail": detail}, status_code=500)(scope, receive, send)


def _route(scope: Scope) -> str:
    """The route, never the path as sent, of which there are endless ones."""
    return getattr(scope.get("route"), "path", None) or "other"


def _method(name: str) -> str:
    return name if name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS") else "other"

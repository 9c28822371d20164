"""The clients of benchmarks/serving.py: each asks one thing after another, as good, broken or rude as chance has it."""

import hashlib
import http.client
import io
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from PIL import Image

BODY = 2 << 20
"""The server's limit of a body, in bytes."""
IDLE, SLOW = 2.0, 4.0
"""Seconds that the server waits for a silent client, and for a body."""
BOUNDARY = b"invad-load"
PATIENCE = 120
"""Seconds after which a request counts as unanswered."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """What clients saw."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Answers by kind of request and status."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """How long each answer took, by kind."""
    faults: list[str] = field(default_factory=list)
    interrupted: Counter[str] = field(default_factory=Counter)
    """Requests in flight while the server was killed or stopped, by which of the two."""
    marks: dict[str, str] = field(default_factory=dict)
    """What marks were answered, by image."""
    asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, status: int, seconds: float, deserved: tuple[int, ...]) -> None:
        """Count an answer; one that its kind does not deserve is a fault."""
        with self.lock:
            self.answers[kind, status] += 1
            if status != 503:
                self.seconds.setdefault(kind, []).append(seconds)
            if status not in deserved:
                self.faults.append(f"{kind}: answered {status}")


class World(Protocol):
    """The server, and whether clients may ask it now."""

    port: int
    generation: int
    """How many servers there have been."""
    ending: str
    """`kill` or `stop` while one ends."""
    open: threading.Event
    tally: Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """What is sent."""

    good: list[bytes]
    bomb: bytes


def body(images: list[bytes]) -> bytes:
    head = b'--%s\r\nContent-Disposition: form-data; name="files"; filename="../%d.png"\r\n\r\n'
    parts = [head % (BOUNDARY, i) + image + b"\r\n" for i, image in enumerate(images)]
    return b"".join(parts) + b"--%s--\r\n" % BOUNDARY


def ask(world: World, method: str, path: str, data: bytes = b"", kind: str = "") -> tuple[int, bytes]:
    """Send one request over a connection of its own, and return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", world.port, timeout=PATIENCE)
    headers = {"Content-Type": kind or f"multipart/form-data; boundary={BOUNDARY.decode()}"}
    try:
        connection.request(method, path, body=data or None, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status == 503 and answer.getheader("Retry-After") is None:
            world.tally.faults.append("503 without Retry-After")
        return answer.status, content
    finally:
        connection.close()


def sent_raw(world: World, data: bytes, length: int, path: str = "/predict") -> socket.socket:
    """Begin a request of a declared length by hand."""
    connection = socket.create_connection(("127.0.0.1", world.port), timeout=PATIENCE)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary="
    connection.sendall(head.encode() + BOUNDARY + b"\r\nContent-Length: %d\r\n\r\n" % length + data)
    return connection


def status_of(connection: socket.socket) -> int:
    """The status of an answer, which is read until the server closes or has said all."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


class Client:
    """Asks one thing after another, by chance."""

    def __init__(self, world: World, pictures: Pictures, seed: int) -> None:
        self._world, self._pictures, self._random = world, pictures, random.Random(seed)
        self._kinds: dict[str, tuple[int, Callable[[], tuple[int, tuple[int, ...]] | None]]] = {
            "one image": (40, lambda: self._good(1)),
            "four images, with maps": (12, lambda: self._good(4)),
            "a mark": (12, self._mark),
            "state and page": (12, self._state),
            "a broken image": (8, self._broken),
            "a body too large": (3, self._huge),
            "an image bomb": (3, self._bomb),
            "a slow body": (3, self._slow),
            "a body that stops": (2, self._stalled),
            "cut off": (4, self._cut),
            "never reads": (1, self._deaf),
        }

    def run(self, enough: Callable[[], bool]) -> None:
        """Ask until it is enough."""
        names, weights = list(self._kinds), [weight for weight, _ in self._kinds.values()]
        world, tally = self._world, self._world.tally
        while not enough():
            if not world.open.wait(timeout=1):
                continue
            kind = self._random.choices(names, weights)[0]
            generation, started = world.generation, time.perf_counter()
            with tally.lock:
                tally.asked += 1
            try:
                found = self._kinds[kind][1]()
            except (OSError, http.client.HTTPException) as error:
                with tally.lock:
                    if world.ending or world.generation != generation:
                        tally.interrupted[world.ending or "kill"] += 1
                    else:
                        tally.faults.append(f"{kind}: no answer ({error!r})")
                continue
            if found is not None:
                tally.note(kind, found[0], time.perf_counter() - started, found[1])
                if found[0] == 503:
                    time.sleep(self._random.random() / 4)

    def _image(self) -> bytes:
        """A picture whose bytes nobody has sent: one of the known ones, and something behind its end."""
        return self._random.choice(self._pictures.good) + self._random.randbytes(8)

    def _good(self, count: int) -> tuple[int, tuple[int, ...]]:
        path = "/predict" if count == 1 else "/predict?map=png"
        images = [self._image() for _ in range(count)]
        status, content = ask(self._world, "POST", path, body(images))
        if status == 200:
            ids = [result["id"] for result in json.loads(content)["results"] if result["error"] is None]
            if ids != [hashlib.sha256(image).hexdigest() for image in images]:
                return 0, ()
        return status, (200, 503)

    def _mark(self) -> tuple[int, tuple[int, ...]]:
        image = self._image()
        status, _ = ask(self._world, "POST", "/predict", body([image]))
        if status != 200:
            return status, (503,)
        id, mark = hashlib.sha256(image).hexdigest(), self._random.choice(["good", "defective"])
        wanted = json.dumps({"mark": mark}).encode()
        status, _ = ask(self._world, "PUT", f"/marks/{id}", wanted, "application/json")
        if status == 200:
            with self._world.tally.lock:
                self._world.tally.marks[id] = mark
        return status, (200, 503)

    def _state(self) -> tuple[int, tuple[int, ...]]:
        path = self._random.choice(["/health", "/ready", "/info", "/metrics", "/docs", "/", "/page/page.css"])
        return ask(self._world, "GET", path)[0], (200,)

    def _broken(self) -> tuple[int, tuple[int, ...]]:
        image = self._image()
        broken = self._random.choice([b"", b"no image", image[: len(image) // 2], self._random.randbytes(5000)])
        return ask(self._world, "POST", "/predict", body([broken]))[0], (422, 503)

    def _huge(self) -> tuple[int, tuple[int, ...]]:
        return ask(self._world, "POST", "/predict", body([bytes(BODY + BODY // 2)]))[0], (413,)

    def _bomb(self) -> tuple[int, tuple[int, ...]]:
        return ask(self._world, "POST", "/predict", body([self._pictures.bomb]))[0], (422, 503)

    def _slow(self) -> tuple[int, tuple[int, ...]]:
        data = body([self._image()])
        with sent_raw(self._world, data[:100], len(data)) as connection:
            for start in range(100, len(data), len(data) // 4):
                time.sleep(IDLE / 8)
                connection.sendall(data[start : start + len(data) // 4])
            return status_of(connection), (200, 503)

    def _stalled(self) -> tuple[int, tuple[int, ...]]:
        data = body([self._image()])
        with sent_raw(self._world, data[: len(data) // 2], len(data)) as connection:
            return status_of(connection), (408, 503)

    def _cut(self) -> None:
        data = body([self._image() for _ in range(2)])
        cut = self._random.choice([0, 50, len(data) // 2, len(data)])
        sent_raw(self._world, data[:cut], len(data)).close()

    def _deaf(self) -> None:
        data = body([self._image() for _ in range(16)])
        with sent_raw(self._world, data, len(data), "/predict?map=overlay"):
            time.sleep(2 * IDLE)


def picture(seed: int) -> bytes:
    """A photograph's worth of pixels, of chance."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    file = io.BytesIO()
    side = int(rng.integers(128, 640))
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def bomb(side: int = 12_000) -> bytes:
    """A PNG of a few kilobytes that holds many megapixels."""
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()

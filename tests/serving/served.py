"""Images to send, and a real server to send them to."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from PIL import Image


def png(width: int = 96, height: int = 96, seed: int = 0) -> bytes:
    """An image of chance."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def bomb(side: int = 12_000) -> bytes:
    """An image of a few kilobytes that holds many megapixels."""
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


@dataclass(kw_only=True, slots=True)
class Server:
    """A server in a process of its own."""

    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)
    """What it said so far."""
    port: int = 0
    listening: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def listen(self) -> None:
        """Collect what it says."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            found = re.search(r"serving .* on http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found[1])
                self.listening.set()
        self.listening.set()

    def stop(self) -> int:
        """Ask it to stop, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False)


@contextmanager
def server(model: Path, marks: Path, *options: str) -> Iterator[Server]:
    """A server of a model, killed at the end if it still runs."""
    command = [sys.executable, "-m", "invad", "serve", model, "--port", "0", "--marks", marks, "--device", "cpu"]
    process = subprocess.Popen(
        [*map(str, command), *options], stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    found = Server(process=process)
    reader = threading.Thread(target=found.listen)
    reader.start()
    try:
        found.listening.wait()
        assert found.port, "".join(found.lines)
        yield found
    finally:
        process.kill()
        process.wait()
        reader.join()

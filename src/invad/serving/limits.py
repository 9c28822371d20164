"""What one server takes on at most. Beyond these bounds a request is refused at once, with a sentence."""

import dataclasses
import threading
from dataclasses import dataclass

from invad.errors import SettingsError

MIB = 1024**2


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The bounds of a server, each of which can be set.

    Raises:
        SettingsError: one is not above 0 or has no end, or two contradict each other.

    Example:
        >>> Limits(batch=200)
        Traceback (most recent call last):
        ...
        invad.errors.SettingsError: a request of 200 images never fits a queue of 128; raise the queue or lower the batch
    """  # noqa: E501

    body_bytes: int = 64 * MIB
    """Bytes of one request's body; more is answered with 413."""
    pixels: int = 50_000_000
    """Pixels of one image; a larger one is not decoded, and says so in its result."""
    batch: int = 32
    """Images in one request; more is answered with 413."""
    queue: int = 128
    """Images taken in and not yet answered; when full, requests are answered with 503 and Retry-After."""
    connections: int = 256
    """Open connections; further ones are answered with 503 and Retry-After."""
    receiving_bytes: int = 256 * MIB
    """Bytes of all bodies being received and worked on; beyond it, bodies are answered with 503."""
    body_seconds: float = 60.0
    """How long a body may take to arrive; longer is answered with 408."""
    idle_seconds: float = 10.0
    """How long a client may be silent amid a request, before its first one, or while it should read an answer."""
    compute_batch: int = 8
    """Images that the model computes together."""
    compute_wait: float = 0.004
    """Seconds that an image waits for others to be computed with."""
    recent_bytes: int = 512 * MIB
    """Bytes on disk for recent images, so that a mark can keep its image; body_bytes or more."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value < 0 or (value == 0 and field.name != "compute_wait"):
                raise SettingsError(f"{field.name} must be above 0, not {value}")
            if isinstance(value, float) and not value <= threading.TIMEOUT_MAX:  # NaN is refused too
                raise SettingsError(
                    f"{field.name} must be a finite number, at most {threading.TIMEOUT_MAX:g}, not {value}"
                )
        if self.batch > self.queue:
            raise SettingsError(
                f"a request of {self.batch} images never fits a queue of {self.queue}; raise the queue or lower the "
                f"batch"
            )
        if self.body_bytes > self.receiving_bytes:
            raise SettingsError(
                f"a body of {self.body_bytes} bytes never fits the {self.receiving_bytes} of receiving_bytes; raise "
                f"those or lower body_bytes"
            )
        if self.body_bytes > self.recent_bytes:
            raise SettingsError(
                f"an image in a body of {self.body_bytes} bytes may not fit the {self.recent_bytes} of recent_bytes, "
                f"and could never be marked; raise those or lower body_bytes"
            )

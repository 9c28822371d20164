"""From an image's bytes to its result: admission, decoding, the model, and what is said of it. No HTTP here."""

import asyncio
import base64
import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from invad.data.images import decode_image
from invad.data.resizing import resize_image
from invad.errors import ImageError
from invad.inference.decisions import Prediction
from invad.inference.listing import portable
from invad.inference.predictor import Predictor
from invad.inference.regions import Region
from invad.records import Size
from invad.report.figures import overlay
from invad.serving import schemas
from invad.serving.batching import Batcher
from invad.serving.describing import describe, image_threshold, own_class
from invad.serving.limits import Limits
from invad.serving.pictures import map_png, png, values_png
from invad.serving.schemas import Decision, MapKind
from invad.serving.spool import Recent, Spool
from invad.serving.telemetry import Telemetry

LOG = logging.getLogger("invad.serving")
T = TypeVar("T")


class QueueFullError(Exception):
    """No place for another image now.

    Args:
        seconds: when to try again.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the queue is full; try again in {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One image as it was sent."""

    name: str
    """To show, never to open anything by."""
    data: bytes


class Service:
    """A model at work for many requests at once.

    Args:
        predictor: the model; `replace` swaps it.
        name: what it is called.
        limits: what is taken on.
        telemetry: where counts go.
        spool: where recent images are kept for marks; None: nowhere, and there are no marks.
        auth: whether requests need a token.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        name: str,
        limits: Limits,
        telemetry: Telemetry,
        spool: Spool | None = None,
        auth: bool = False,
    ) -> None:
        self.limits, self.telemetry, self.spool, self.auth = limits, telemetry, spool, auth
        self.stopping = False
        self._waiting = 0
        self._pace = 0.1
        """Seconds an image took of late, as one of many."""
        threads = min(8, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="images")
        self._batcher = Batcher(
            most=limits.compute_batch, wait=limits.compute_wait, on_batch=telemetry.batch_images.observe
        )
        telemetry.queue_images.set_function(lambda: self._waiting)
        self.replace(predictor, name)

    @property
    def full(self) -> bool:
        """Whether not even one more image is taken."""
        return self._waiting >= self.limits.queue

    def replace(self, predictor: Predictor, name: str) -> None:
        """Serve another model from the next image on; those that were taken in before keep the one they met."""
        self.info = describe(predictor, name=name, limits=self.limits, auth=self.auth, marks=self.spool is not None)
        self.predictor = predictor
        self.telemetry.say_model(self.info.name, predictor.checksum)

    def retry_after(self) -> int:
        """Return in how many seconds the queue may have moved."""
        return max(1, min(60, math.ceil(self._waiting * self._pace)))

    @contextmanager
    def admitted(self, images: int) -> Iterator[None]:
        """Hold places in the queue for so many images.

        Raises:
            QueueFullError: there are not so many.
        """
        if self._waiting + images > self.limits.queue:
            raise QueueFullError(self.retry_after())
        self._waiting += images
        started = time.monotonic()
        try:
            yield
            took = (time.monotonic() - started) / max(1, self._waiting)
            self._pace += 0.1 * (took - self._pace)
        finally:
            self._waiting -= images

    async def predict(
        self, predictor: Predictor, upload: Upload, kind: MapKind, class_name: str | None
    ) -> schemas.Result:
        """Return what a model says of one image, or why it cannot be read; never raises for the image's sake."""
        digest = await self._in_pool(lambda: hashlib.sha256(upload.data).hexdigest())
        try:
            image, size = await self._in_pool(lambda: self._decoded(predictor, upload))
            values, score = await asyncio.wrap_future(self._batcher.submit(predictor.scorer, image))
            return await self._in_pool(
                lambda: self._said(predictor, upload, digest, image, size, values, score, kind, class_name)
            )
        except ImageError as error:
            self.telemetry.decisions.labels("unreadable").inc()
            return _unreadable(upload.name, digest, str(error))

    def close(self) -> None:
        """Finish what was taken in."""
        self._batcher.close()
        self._pool.shutdown()
        if self.spool is not None:
            self.spool.close()

    async def _in_pool(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _decoded(self, predictor: Predictor, upload: Upload) -> tuple[NDArray[np.uint8], Size]:
        """The image at the model's size, and its own size."""
        array = decode_image(upload.data, upload.name or "the image", max_pixels=self.limits.pixels)
        return resize_image(array, predictor.size), (array.shape[0], array.shape[1])

    def _said(
        self,
        predictor: Predictor,
        upload: Upload,
        digest: str,
        image: NDArray[np.uint8],
        size: Size,
        values: NDArray[np.float32],
        score: float,
        kind: MapKind,
        class_name: str | None,
    ) -> schemas.Result:
        """The result of one image, which is kept for a mark, too."""
        own = own_class(predictor, class_name)
        prediction = predictor.decide(values, score, size, own)
        threshold = image_threshold(predictor, own)
        decision = _decision(prediction)
        self.telemetry.decisions.labels(decision or "none").inc()
        result = schemas.Result(
            name=upload.name,
            id=digest,
            width=size[1],
            height=size[0],
            score=prediction.score,
            share_below=prediction.share_below,
            decision=decision,
            threshold=threshold,
            regions=[_region(region) for region in prediction.regions],
            map=_picture(predictor, image, values, kind, own),
            error=None,
        )
        self._keep(result, upload, predictor, None if own is None else portable(own))
        return result

    def _keep(self, result: schemas.Result, upload: Upload, predictor: Predictor, class_name: str | None) -> None:
        """Keep an image for a mark; where the disk has no place, inspection goes on without."""
        if self.spool is None:
            return
        assert result.width is not None and result.height is not None and result.score is not None
        recent = Recent(
            id=result.id,
            name=result.name,
            class_name=class_name,
            width=result.width,
            height=result.height,
            score=result.score,
            threshold=result.threshold,
            decision=result.decision,
            model=predictor.checksum,
        )
        try:
            self.spool.put(recent, upload.data)
        except OSError as error:
            LOG.error("the image %s cannot be kept for a mark: %s", result.id, error)


def _decision(prediction: Prediction) -> Decision | None:
    if prediction.anomalous is None:
        return None
    return "defective" if prediction.anomalous else "good"


def _region(region: Region) -> schemas.Region:
    left, top, right, bottom = region.box
    return schemas.Region(
        x=left,
        y=top,
        width=right - left,
        height=bottom - top,
        area=region.area,
        peak=region.peak,
        peak_x=region.at[0],
        peak_y=region.at[1],
    )


def _picture(
    predictor: Predictor, image: NDArray[np.uint8], values: NDArray[np.float32], kind: MapKind, class_name: str | None
) -> str | None:
    """The map as base64 of a PNG, if one was asked for."""
    if kind == "none":
        return None
    assert predictor.scale is not None  # create_app refuses a predictor without
    match kind:
        case "png":
            data = map_png(values, predictor.scale.of(class_name))
        case "values":
            data = values_png(values)
        case "image":
            data = png(image)
        case "overlay":
            data = png(overlay(image, values, *predictor.scale.of(class_name)))
    return base64.b64encode(data).decode("ascii")


def _unreadable(name: str, digest: str, error: str) -> schemas.Result:
    return schemas.Result(
        name=name,
        id=digest,
        width=None,
        height=None,
        score=None,
        share_below=None,
        decision=None,
        threshold=None,
        regions=[],
        map=None,
        error=error,
    )

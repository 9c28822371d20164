"""Another model in the place of the one that is served, if it is fit for it; no request is dropped."""

import asyncio
import logging
from collections.abc import Callable

import numpy as np
from fastapi import FastAPI, Request
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from invad.errors import InvadError, ModelFileError
from invad.inference.predictor import Predictor
from invad.inference.selfcheck import BOUND, Case, compare
from invad.records import Size
from invad.serving import schemas
from invad.serving.refusals import refusals
from invad.serving.security import is_loopback
from invad.serving.service import Service

ROUNDING = 0.05
"""How far a map may differ between an image alone and among others, as a share of its range: bf16 and TF32 round
coarsely, but a model that mixes its images is off by more."""
LOG = logging.getLogger("invad.serving")


class Reloader:
    """Opens the model anew, checks it, and has it served.

    Args:
        service: that serves it.
        load: opens it, and says what it is called.
    """

    def __init__(self, service: Service, load: Callable[[], tuple[Predictor, str]]) -> None:
        self._service, self._load = service, load
        self._one = asyncio.Lock()

    async def reload(self) -> schemas.Reload:
        """Serve the model that is there now; if it is not fit, the one that is served stays.

        Raises:
            InvadError: it cannot be opened, or fails its check.
        """
        async with self._one:
            before = self._service.predictor.checksum
            try:
                predictor, name = await asyncio.to_thread(self._open)
            except InvadError as error:
                self._service.telemetry.reloads.labels("kept").inc()
                LOG.error("reload: the model is kept, since the new one is not fit: %s", error)
                raise
            self._service.replace(predictor, name)
            self._service.telemetry.reloads.labels("loaded").inc()
            LOG.info("reload: serving the model %s, %s", name, predictor.checksum)
            return schemas.Reload(checksum=predictor.checksum, previous=before, changed=predictor.checksum != before)

    def _open(self) -> tuple[Predictor, str]:
        """The new model, checked, and its name."""
        try:
            predictor, name = self._load()
            check_predictor(predictor)
        except InvadError:
            raise
        except Exception as error:  # a runtime's own, of a file half copied for example
            raise ModelFileError(f"the model cannot be used: {type(error).__name__}: {error}") from error
        return predictor, name


def check_predictor(predictor: Predictor) -> None:
    """Have a model score images that are drawn here, alone and together.

    Raises:
        ModelFileError: maps or scores are not of their shapes, no numbers, or do not belong together, or
            an image's differ beyond rounding among others.
    """
    if predictor.scale is None:
        raise ModelFileError("the model has no scale to draw maps by; train the run to its end")
    images = [_drawn(seed, predictor.size) for seed in range(2)]
    for image in images:
        maps, scores = predictor.scorer(image[None])
        if maps.shape != (1, *predictor.size) or scores.shape != (1,):
            raise ModelFileError(f"the model gives maps {maps.shape} and scores {scores.shape}")
        if not (np.isfinite(maps).all() and np.isfinite(scores).all()):
            raise ModelFileError("the model gives an image maps or scores that are no numbers")
        if abs(float(maps.max()) - float(scores[0])) > BOUND:
            raise ModelFileError(f"the model gives the score {scores[0]} where its map's maximum is {maps.max()}")
    together = _Together(predictor, images)
    found = compare([Case.of(predictor.scorer, image[None]) for image in images], together)
    if not (found.map <= ROUNDING and found.score <= ROUNDING):  # NaN is refused too
        raise ModelFileError(
            f"the model's map of an image among others differs by {found.map:.2g} of its range from the one of the "
            f"image alone, its score by {found.score:.2g}; at most {ROUNDING:g} is rounding"
        )


class _Together:
    """A scorer that computes each image together with others."""

    def __init__(self, predictor: Predictor, others: list[NDArray[np.uint8]]) -> None:
        self.size = predictor.size
        self._predictor, self._others = predictor, others

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        maps, scores = self._predictor.scorer(np.concatenate([images, *(one[None] for one in self._others)]))
        return maps[: len(images)], scores[: len(images)]


def _drawn(seed: int, size: Size) -> NDArray[np.uint8]:
    """An image (H, W, 3) of soft shapes."""
    from invad.data.resizing import resize_image

    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return resize_image(coarse, size)


def add_reload(app: FastAPI, reloader: Reloader | None, auth: bool) -> None:
    """Add the route."""

    @app.post(
        "/reload",
        tags=["model"],
        summary="Serve the model that lies at the path now",
        response_description="It is served.",
        responses=refusals(401, 403, 404, 409, 421, 500),
    )
    async def reload(request: Request) -> schemas.Reload:
        """Open the model again, check it, and serve it; requests in between are answered by the one that they met.

        Without a token only this machine may ask for it.
        """
        if reloader is None:
            raise HTTPException(404, "this server was not told where to load its model from")
        if not auth and not is_loopback(request.client.host if request.client is not None else ""):
            raise HTTPException(403, "without a token only this machine may reload; start the server with a token")
        try:
            return await reloader.reload()
        except InvadError as error:
            raise HTTPException(409, f"the old model is kept: {error}") from error

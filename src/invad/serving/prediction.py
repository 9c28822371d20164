"""`/predict` and `/info`."""

import asyncio
import unicodedata
from typing import Annotated, Any

from fastapi import FastAPI, File, Query, Response, UploadFile
from starlette.exceptions import HTTPException

from invad.inference.predictor import Predictor
from invad.serving import schemas
from invad.serving.describing import known_classes
from invad.serving.receiving import busy
from invad.serving.refusals import refusals
from invad.serving.schemas import MapKind, Problem
from invad.serving.service import QueueFullError, Service, Upload

LONGEST_NAME = 255
TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of those around them, so that a name reads as another."""

UNREADABLE: dict[int | str, dict[str, Any]] = {
    422: {
        "model": schemas.Predictions | Problem,
        "description": "None of the images can be read (results with errors), or the request is not as described.",
    }
}


def add_prediction(app: FastAPI, service: Service) -> None:
    """Add what people are here for."""

    @app.post(
        "/predict",
        tags=["model"],
        summary="Score images",
        response_description="At least one image was scored.",
        responses={**refusals(400, 401, 403, 408, 413, 421, 500, 503), **UNREADABLE},
    )
    async def predict(
        response: Response,
        files: Annotated[list[UploadFile], File(min_length=1, description="Images: BMP, JPEG, PNG, TIFF or WebP.")],
        map: Annotated[MapKind, Query(description="Which picture of the map to send along.")] = "none",
        class_name: Annotated[
            str | None,
            Query(max_length=200, description="What the images show, whose own thresholds then decide; see /info."),
        ] = None,
    ) -> schemas.Predictions:
        """Score one or many images, which may be computed together with those of other requests.

        An image that cannot be read has an `error` in its result; the others are scored.
        """
        limit = service.limits.batch
        if len(files) > limit:
            raise HTTPException(413, f"expected at most {limit} images in a request, got {len(files)}; send several")
        predictor, state = service.predictor, service.info.state
        require_class(predictor, class_name)
        try:
            with service.admitted(len(files)):
                uploads = [Upload(name=shown(file.filename), data=await file.read()) for file in files]
                found = await asyncio.gather(
                    *(service.predict(predictor, upload, map, class_name) for upload in uploads)
                )
        except QueueFullError as error:
            raise busy("the queue is full", error.seconds) from error
        if all(result.error is not None for result in found):
            response.status_code = 422
        return schemas.Predictions(model=predictor.checksum, state=state, results=found)

    @app.get(
        "/info",
        tags=["model"],
        summary="What is served, and how it decides",
        response_description="The model, its thresholds and its limits.",
        responses=refusals(401, 421),
    )
    async def info() -> schemas.Info:
        return service.info


def require_class(predictor: Predictor, class_name: str | None) -> None:
    """Refuse a class that the model was not trained on, where it is known on what it was.

    Raises:
        HTTPException: it was not.
    """
    known = known_classes(predictor)
    if class_name is not None and known and class_name not in known:
        raise HTTPException(422, f"the model knows no class {class_name!r}; it knows {', '.join(known)}")


def shown(name: str | None) -> str:
    """Return a name as sent, made fit to be shown: no control characters, and no longer than a file's name is.

    Spaces of all kinds and what joins letters stay, as cameras, systems and scripts write them.

    Example:
        >>> shown("a\\x00.png"), shown("at 9\\u202fam.png") == "at 9\\u202fam.png"
        ('a\ufffd.png', True)
    """
    return "".join("�" if _controls(letter) else letter for letter in name or "")[:LONGEST_NAME]


def _controls(letter: str) -> bool:
    """Whether a character is none to see, but changes how others are shown, breaks the line, or stands for nothing."""
    return letter in TURNING or unicodedata.category(letter) in ("Cc", "Cn", "Cs", "Zl", "Zp")

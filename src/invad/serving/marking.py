"""The routes of marks."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import IO, Annotated, Any

from fastapi import FastAPI
from fastapi import Path as PathParameter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response, StreamingResponse

from invad.errors import RunError
from invad.serving import schemas
from invad.serving.describing import known_classes
from invad.serving.manifest import write_zip
from invad.serving.marks import Mark, Marks
from invad.serving.prediction import require_class, shown
from invad.serving.refusals import refusals
from invad.serving.service import Service

NONE_KEPT = "this server keeps no marks; start it with --marks FOLDER"
Id = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{64}$", description="The `id` of a result of /predict.")]
BLOCK = 1 << 20


def add_marks(app: FastAPI, service: Service, marks: Marks | None) -> None:
    """Add the routes; without a folder for marks they say so."""

    def kept() -> Marks:
        if marks is None:
            raise HTTPException(404, NONE_KEPT)
        return marks

    _add_reading(app, kept)
    _add_writing(app, service, kept)


def _add_reading(app: FastAPI, kept: Callable[[], Marks]) -> None:
    """The routes that tell what is marked."""

    @app.get(
        "/marks",
        tags=["marks"],
        summary="All marks",
        response_description="The newest first.",
        responses=refusals(401, 404, 421, 500),
    )
    def list_marks() -> schemas.Marks:
        return schemas.Marks(marks=[_answer(mark) for mark in kept().all()])

    @app.get(
        "/marks/export",
        tags=["marks"],
        summary="All marks and their images, as a ZIP file to train and calibrate from",
        response_class=Response,
        responses={**refusals(401, 404, 421, 500, 507), 200: _binary("application/zip", "The archive.")},
    )
    def export_marks() -> StreamingResponse:
        """The archive holds `manifest.csv` for `invad train --data folder:manifest.csv` and for `invad calibrate
        --labelled folder:manifest.csv`, `good.csv` for `invad calibrate --normal good.csv`, `marks.jsonl` with all that
        is known, and the images.
        """
        return _archive(kept())

    @app.get(
        "/marks/{id}/image",
        tags=["marks"],
        summary="The image of a mark, as it was sent",
        response_class=Response,
        responses={**refusals(401, 404, 421, 422, 500), 200: _binary("image/*", "The image.")},
    )
    def marked_image(id: Id) -> FileResponse:
        mark = kept().get(id)
        if mark is None or not kept().path(mark).is_file():
            raise HTTPException(404, f"no image {id} is marked")
        return FileResponse(kept().path(mark), headers={"Cache-Control": "private, immutable, max-age=86400"})


def _add_writing(app: FastAPI, service: Service, kept: Callable[[], Marks]) -> None:
    """The routes that change what is marked."""

    @app.put(
        "/marks/{id}",
        tags=["marks"],
        summary="Say what an image really is",
        response_description="The mark is on the disk.",
        responses=refusals(400, 401, 403, 404, 408, 413, 421, 422, 500, 503, 507),
    )
    def put_mark(id: Id, wanted: schemas.NewMark) -> schemas.Mark:
        """Keep a mark of an image that was predicted of late, or change one that is kept.

        When this is answered, mark and image are on the disk.
        """
        try:
            mark = _keep(service, kept(), id, wanted)
        except RunError as error:
            raise HTTPException(507, str(error)) from error
        if mark is None:
            raise HTTPException(404, f"the image {id} was not predicted of late; predict it again, then mark it")
        return _answer(mark)

    @app.delete(
        "/marks/{id}",
        tags=["marks"],
        summary="Forget a mark and its image",
        response_description="Both are gone.",
        status_code=204,
        response_class=Response,
        responses=refusals(401, 403, 404, 421, 422, 500, 507),
    )
    def delete_mark(id: Id) -> Response:
        try:
            there = kept().delete(id)
        except RunError as error:
            raise HTTPException(507, str(error)) from error
        if not there:
            raise HTTPException(404, f"no image {id} is marked")
        return Response(status_code=204)


def _keep(service: Service, marks: Marks, id: str, wanted: schemas.NewMark) -> Mark | None:
    """Keep a mark of a recent image, or change one that is kept; None where there is neither."""
    known = service.spool.get(id) if service.spool is not None else None
    before = marks.get(id)
    said = (known[0].class_name if known is not None else None, before.class_name if before is not None else None)
    if wanted.class_name not in said:  # which a model that was served before may have known
        require_class(service.predictor, wanted.class_name)
    name = None if wanted.name is None else shown(wanted.name)
    if known is None:
        return marks.change(id, wanted.mark, class_name=wanted.class_name, name=name)
    recent, data = known
    classes = known_classes(service.predictor)
    only = classes[0] if len(classes) == 1 else None
    return marks.put(recent, data, wanted.mark, class_name=wanted.class_name or recent.class_name or only, name=name)


def _archive(marks: Marks) -> StreamingResponse:
    """All marks as a ZIP file, which lies on the disk until it has been sent."""
    file = tempfile.TemporaryFile()  # noqa: SIM115, closed when it has been sent
    try:
        write_zip(marks, file)
    except OSError as error:
        file.close()
        raise HTTPException(507, f"no place for the archive: {error.strerror}") from error
    except BaseException:
        file.close()
        raise
    size = file.tell()
    headers = {"Content-Disposition": 'attachment; filename="invad-marks.zip"', "Content-Length": str(size)}
    return StreamingResponse(_blocks(file), media_type="application/zip", headers=headers)


def _answer(mark: Mark) -> schemas.Mark:
    return schemas.Mark(**{name: value for name, value in asdict(mark).items() if name != "file"})


def _binary(kind: str, said: str) -> dict[str, Any]:
    return {"description": said, "content": {kind: {"schema": {"type": "string", "format": "binary"}}}}


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while block := file.read(BLOCK):
            yield block

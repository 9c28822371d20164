"""The application: routes, and what stands before them."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from invad import __version__
from invad.errors import InvadError, SettingsError
from invad.inference.predictor import Predictor
from invad.serving import schemas
from invad.serving.limits import Limits
from invad.serving.marking import add_marks
from invad.serving.marks import Marks
from invad.serving.prediction import add_prediction
from invad.serving.receiving import Receiving
from invad.serving.reference import add_reference
from invad.serving.reloading import Reloader, add_reload
from invad.serving.security import Guard
from invad.serving.service import Service
from invad.serving.spool import Spool
from invad.serving.telemetry import Caught, Telemetry, Timed

PAGE = Path(__file__).parent / "page"
DESCRIPTION = "Scores images by an InvAD model, says where they are not normal, and keeps what people say of them."


def create_app(
    predictor: Predictor,
    *,
    name: str = "model",
    limits: Limits | None = None,
    marks: Path | str | None = None,
    token: str | None = None,
    hosts: Collection[str] | None = None,
    load: Callable[[], tuple[Predictor, str]] | None = None,
) -> FastAPI:
    """Return the inspection page and its HTTP service as an ASGI application.

    Run it in one process: the queue, the recent images and the model are that process's own.

    Args:
        predictor: the model, as `invad.load` returns it.
        name: what the model is called.
        limits: what is taken on; None: the default limits.
        marks: the folder to keep marks in; None: none are kept.
        token: that requests must carry as a bearer token; None: none is needed.
        hosts: names that the server is asked by, which keeps other sites' names from being pointed at it; None: any.
        load: opens the model anew for a reload, and says what it is called then; None: there is no reload.

    Raises:
        SettingsError: the predictor has no colour scale.
        RunError: the folder of marks cannot be used.

    Example:
        >>> import invad  # doctest: +SKIP
        >>> app = create_app(invad.load("runs/bottles"), marks="marks")  # doctest: +SKIP
    """
    if predictor.scale is None:
        raise SettingsError("the predictor has no scale to draw maps by; train the run to its end, or give it one")
    limits = limits or Limits()
    store = None if marks is None else Marks(Path(marks))
    spool = None if store is None else Spool(store.folder, limits.recent_bytes)
    telemetry = Telemetry()
    service = Service(predictor, name=name, limits=limits, telemetry=telemetry, spool=spool, auth=token is not None)
    reloader = None if load is None else Reloader(service, load)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.stopping = True
        service.close()
        if store is not None:
            store.close()

    app = FastAPI(
        title="InvAD",
        summary="Visual anomaly detection",
        description=DESCRIPTION,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    app.state.reloader = reloader
    add_prediction(app, service)
    add_marks(app, service, store)
    add_reload(app, reloader, token is not None)
    add_state(app, service)
    add_reference(app)
    add_page(app)
    add_errors(app)
    app.add_middleware(Caught)  # the last one added stands first
    app.add_middleware(Guard, token=token, hosts=hosts)
    app.add_middleware(Receiving, limits=limits, full=lambda: service.retry_after() if service.full else None)
    app.add_middleware(Timed, telemetry=telemetry)
    return app


def add_state(app: FastAPI, service: Service) -> None:
    """Whether the server is there, and what it counts."""

    @app.get("/health", tags=["state"], summary="Whether the server is alive", response_description="It is.")
    async def health() -> schemas.State:
        return schemas.State(status="alive")

    @app.get(
        "/ready",
        tags=["state"],
        summary="Whether the server takes images",
        response_description="It does.",
        responses={503: {"model": schemas.State, "description": "It is stopping."}},
    )
    async def ready(response: Response) -> schemas.State:
        response.status_code = 503 if service.stopping else 200
        return schemas.State(status="stopping" if service.stopping else "ready")

    @app.get(
        "/metrics",
        tags=["state"],
        summary="Counts for Prometheus",
        response_class=Response,
        responses={200: {"description": "All counts.", "content": {METRICS: {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        return Response(service.telemetry.text(), media_type=METRICS)


METRICS = "text/plain; version=0.0.4"


def add_page(app: FastAPI) -> None:
    """The page and its files."""

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/page", Page(directory=PAGE), name="page")


class Page(StaticFiles):
    """Static files that browsers ask anew for, so that a page never meets the scripts of another version."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return one file."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def add_errors(app: FastAPI) -> None:
    """Every refusal in one shape: a sentence."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return JSONResponse({"detail": str(error.detail)}, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return JSONResponse({"detail": said}, status_code=422)

    @app.exception_handler(InvadError)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=500)

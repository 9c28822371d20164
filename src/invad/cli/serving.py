"""`invad serve` and `invad marks export`."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from invad.errors import MissingExtraError, SettingsError, command
from invad.serving.limits import Limits

MARKS = Path("invad-marks")


@dataclass(frozen=True, kw_only=True, slots=True)
class Serve:
    """Serve a model over HTTP, with a page to inspect images on. Ctrl-C and SIGTERM finish what was taken in.

    SIGHUP, or POST /reload, opens the model at the same path anew and serves it, if it passes its check.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run folder made by `invad train`, or a file made by `invad export`."""
    host: str = "127.0.0.1"
    """The address to bind to: 127.0.0.1 is reached from this machine only, 0.0.0.0 from anywhere."""
    port: int = 8000
    """The port. 0: any that is free."""
    hosts: tuple[str, ...] = ()
    """Names that the server is asked by, behind a proxy say. None given: for an address of this machine only, its own
    names, so that no other site's name can be pointed at it; else any."""
    token_file: Path | None = None
    """A file with the token that requests must carry. None: the one in the environment's INVAD_TOKEN, if any."""
    insecure: bool = False
    """Let anybody who reaches the address use the server without a token."""
    marks: Path | None = MARKS
    """The folder for marks that people make on the page. None: none are kept."""
    name: str | None = None
    """What the model is called. None: as its folder or file is, which a link leads to."""
    threshold: float | None = None
    """The score and map value from which on an image and a pixel count as defective. None: the model's calibration."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""
    access_log: bool = False
    """Write a line for each request to standard error."""
    limits: Annotated[Limits, tyro.conf.arg(name="")] = field(default_factory=Limits)

    def run(self) -> None:
        """Load, check, serve."""
        require_extra()
        from invad.inference.predictor import Predictor, load
        from invad.serving.app import create_app
        from invad.serving.reloading import check_predictor
        from invad.serving.security import read_token
        from invad.serving.server import require_port, serve

        require_port(self.port)
        token = read_token(self.token_file)
        require_safe(self.host, token, insecure=self.insecure)

        def opened() -> tuple[Predictor, str]:
            predictor = load(self.model, threshold=self.threshold, device=self.device)
            return predictor, self.name or self.model.resolve().name

        say(f"opening {self.model}")
        predictor, name = opened()
        check_predictor(predictor)
        app = create_app(
            predictor,
            name=name,
            limits=self.limits,
            marks=self.marks,
            token=token,
            hosts=known_hosts(self.host, self.hosts),
            load=opened,
        )
        say(f"marks: {self.marks.resolve()}" if self.marks is not None else "no marks are kept")
        say("requests need the token" if token is not None else "requests need no token")
        serve(app, host=self.host, port=self.port, access_log=self.access_log)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportMarks:
    """Write the marks that people made, with their images, as lists that `invad train` and `invad calibrate` read."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """The folder to make."""
    marks: Path = MARKS
    """The folder that `invad serve` keeps the marks in."""

    def run(self) -> None:
        """Write them, and say what to do with them."""
        require_extra()
        from invad.serving.manifest import write_folder
        from invad.serving.marks import FILE, Marks

        if not (self.marks / FILE).is_file():
            raise SettingsError(f"there are no marks in {self.marks}; name the folder of `invad serve --marks`")
        counted = write_folder(Marks(self.marks), self.folder)
        good, defective = counted["good"], counted["defective"]
        say(f"{good + defective} marks, {good} of them good: {self.folder}")
        for line in next_steps(self.folder, good=good, defective=defective):
            say(line)


def next_steps(folder: Path, *, good: int, defective: int) -> list[str]:
    """Return what can be done with an export of so many marks, a line each.

    Example:
        >>> next_steps(Path("marked"), good=0, defective=3)
        ['to calibrate and to train takes good images; mark some, and export again']
        >>> next_steps(Path("my marks"), good=2, defective=0)[-1]
        "  invad train --data 'folder:my marks/manifest.csv' --out runs/NAME"
    """
    if not good:
        return ["to calibrate and to train takes good images; mark some, and export again"]
    everything = f"folder:{folder / 'manifest.csv'}"
    labelled = [command("calibrate", "RUN", "--labelled", everything, "--overwrite")] if defective else []
    commands = [
        command("calibrate", "RUN", "--normal", folder / "good.csv", "--overwrite"),
        *labelled,
        command("train", "--data", everything, "--out", "runs/NAME"),
    ]
    return ["next, where RUN is a run:", *(f"  {line}" for line in commands)]


def require_safe(host: str, token: str | None, *, insecure: bool) -> None:
    """Refuse to let other machines in without a token, unless that is said to be meant.

    Raises:
        SettingsError: it is not.
    """
    from invad.serving.security import is_loopback

    if token is None and not insecure and not is_loopback(host):
        raise SettingsError(
            f"on {host} other machines can use the server; give it a token (--token-file FILE, or INVAD_TOKEN in the "
            f"environment), or say by --insecure that anybody may"
        )


def known_hosts(host: str, given: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the names that a server on an address is asked by; None: any."""
    from invad.serving.security import LOOPBACK_NAMES, is_loopback

    if is_loopback(host):
        return (*LOOPBACK_NAMES, host, *given)
    return (host, *LOOPBACK_NAMES, *given) if given else None


def require_extra() -> None:
    """Refuse to go on without the packages that a server needs.

    Raises:
        MissingExtraError: one is not installed.
    """
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name or 'a package'} is not installed; the inspection page needs the extra `serve`: "
            f"pip install 'invad[serve]'"
        ) from error


def say(text: str) -> None:
    """Print for a person."""
    print(f"invad: {text}", file=sys.stderr)

"""The command `invad`: finds the verb, parses its options, runs it, and turns errors into one line and an exit status.

Exit status: 0 done; 2 the input's fault (a message says what to do); 130 stopped by Ctrl-C.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Protocol, get_args, get_type_hints

from invad import __version__
from invad.errors import InvadError


class Command(Protocol):
    """A verb with its options filled in."""

    def run(self) -> None:
        """Do it."""
        ...


VERBS: dict[str, tuple[str, str, str]] = {
    "train": ("invad.cli.training", "Train", "train one model on the normal images of one or many data sets"),
    "reproduce": ("invad.cli.training", "Reproduce", "do a run again, and compare it to the bit"),
    "evaluate": ("invad.cli.evaluation", "Evaluate", "compute all metrics of a run on test images"),
    "calibrate": ("invad.cli.calibration", "Calibrate", "choose a model's thresholds for a wanted false-alarm rate"),
    "predict": ("invad.cli.prediction", "Predict", "score images with a model, and show where they are not normal"),
    "serve": ("invad.cli.serving", "Serve", "serve a model over HTTP, with a page to inspect images on"),
    "marks export": (
        "invad.cli.serving",
        "ExportMarks",
        "write what people marked as lists to calibrate and train from",
    ),
    "export": ("invad.cli.exporting", "Export", "write a run as one ONNX, OpenVINO or PyTorch file, and check it"),
    "bench": ("invad.cli.bench", "Bench", "time a model on this machine, and price a million images"),
    "report": ("invad.cli.evaluation", "Report", "write a page to look at for a run"),
    "data check": ("invad.cli.data", "Check", "look for faults in a data set without training"),
    "data list": ("invad.cli.data", "List", "show the data sets: classes, counts, licence, where to get them"),
    "data coco": ("invad.cli.data", "Coco", "make the splits of COCO-AD from COCO 2017"),
    "data fixture": ("invad.cli.data", "Fixture", "make a tiny data set in a published layout"),
    "data synthetic": ("invad.cli.data", "Synthetic", "make a data set to try things on"),
    "import-weights": ("invad.cli.published", "ImportWeights", "make a run of a published checkpoint"),
    "results": ("invad.cli.published", "Results", "show the published table, and runs beside it"),
    "presets": ("invad.cli.training", "Presets", "show what settings become that are not given"),
    "demo": ("invad.cli.demo", "Demo", "all of it on images made on the spot, offline, in minutes"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):  # a name that is not UTF-8 ends no command that prints it
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:] if argv is None else list(argv)))


def run(argv: Sequence[str]) -> int:
    """Run the command line; return the exit status."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    if argv[0] == "--version":
        print(f"invad {__version__}")
        return 0
    verb, rest = split_verb(argv)
    if verb is None and (group := usage_of(argv[0])) and argv[1:] in ([], ["-h"], ["--help"]):
        print(group)
        return 0
    if verb is None:
        print(f"invad: unknown command {' '.join(argv[:2])!r}\n\n{usage()}", file=sys.stderr)
        return 2
    try:
        parse(verb, rest).run()
        sys.stdout.flush()
        if "WORLD_SIZE" in os.environ:  # a launcher started this process and others
            from invad.processes import end_processes

            end_processes()
    except BrokenPipeError:  # whoever reads the output, `head` say, has seen enough
        mute()
    except InvadError as error:
        print(f"invad: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"invad: cannot use {error.filename}: {error.strerror}", file=sys.stderr)  # a drive that has gone, say
        return 2
    except KeyboardInterrupt:
        print("invad: stopped", file=sys.stderr)
        return 130
    return 0


def mute() -> None:
    """Let what is still to be printed go nowhere: nobody reads it any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def split_verb(argv: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """Return the verb that the arguments start with, and the rest.

    Example:
        >>> split_verb(["data", "check", "photos"])
        ('data check', ['photos'])
        >>> split_verb(["paint"])
        (None, ['paint'])
    """
    for words in (2, 1):
        verb = " ".join(argv[:words])
        if verb in VERBS:
            return verb, argv[words:]
    return None, argv


def parse(verb: str, args: Sequence[str]) -> Command:
    """Return the verb's command with its options filled in; wrong options end the program with status 2."""
    module, name, _ = VERBS[verb]
    command = getattr(import_module(module), name)
    make: Callable[[str, Sequence[str]], Command] = getattr(command, "parse", None) or _plain(command)
    return make(f"invad {verb}", args)


def _plain(command: type[Command]) -> Callable[[str, Sequence[str]], Command]:
    import tyro

    lists = list_options(command)
    return lambda prog, args: tyro.cli(command, prog=prog, args=merge_repeated(args, *lists))


def list_options(command: type) -> list[str]:
    """Return the options of a command that take any number of values."""
    hints = get_type_hints(command)
    return [f"--{name.replace('_', '-')}" for name, kind in hints.items() if get_args(kind)[-1:] == (...,)]


def merge_repeated(args: Sequence[str], *options: str) -> list[str]:
    """Return the arguments with every later use of these list options added to the first.

    Example:
        >>> merge_repeated(["--data", "a", "--epochs", "3", "--data", "b", "c"], "--data")
        ['--data', 'a', 'b', 'c', '--epochs', '3']
    """
    groups: list[list[str]] = [[]]
    for arg in args:
        name, equals, value = arg.partition("=")
        if not arg.startswith("--"):
            groups[-1].append(arg)
        elif name in options and equals:
            groups.append([name, value])
        else:
            groups.append([arg])
    merged: list[list[str]] = []
    for group in groups:
        first = next((g for g in merged if group and group[0] in options and g[:1] == group[:1]), None)
        if first is None:
            merged.append(group)
        else:
            first.extend(group[1:])
    return [arg for group in merged for arg in group]


def usage_of(word: str) -> str | None:
    """Return the list of verbs that begin with a word of several; None: there are none.

    Example:
        >>> print(usage_of("marks"))
        usage: invad marks COMMAND ... (invad marks COMMAND --help for its options)
        <BLANKLINE>
          export            write what people marked as lists to calibrate and train from
    """
    lines = [_line(verb.removeprefix(f"{word} "), VERBS[verb][-1]) for verb in VERBS if verb.startswith(f"{word} ")]
    first = f"usage: invad {word} COMMAND ... (invad {word} COMMAND --help for its options)"
    return "\n".join([first, "", *lines]) if lines else None


def _line(verb: str, text: str) -> str:
    return f"  {verb:<18}{text}"


def usage() -> str:
    """Return the list of verbs."""
    lines = [_line(verb, text) for verb, (_, _, text) in VERBS.items()]
    return "\n".join(
        [
            "usage: invad COMMAND ... (invad COMMAND --help for its options; invad --version)",
            "",
            *lines,
            "",
            "Start with `invad demo`; then `invad train --data folder:PHOTOS --out runs/mine`.",
        ]
    )

"""Every error that InvAD raises on purpose.

    InvadError
    ├── SettingsError      a setting that is out of range, unknown, or contradicts another
    ├── DataError          a data set that is not laid out as its layout says
    │   └── ImageError     one image or mask file that cannot be read
    ├── WeightsError       encoder weights that cannot be had, or do not fit
    ├── RunError           a run folder that is missing, taken, or incomplete
    │   └── CheckpointError  a checkpoint that is damaged or of another model
    ├── ModelFileError     an exported model that cannot be made, read or trusted
    ├── MetricError        arrays that no metric can be computed from
    └── MissingExtraError  an optional package that is not installed

A message says what was expected, what came, and what to do. The command line prints the message alone and exits
with status 2, as it does where the system says that a file cannot be used; a traceback is shown only for other errors
that are not in this tree, which are bugs.
"""

import os
import shlex
import subprocess


class InvadError(Exception):
    """The root: everything that is the input's fault, not the program's."""


class SettingsError(InvadError):
    """A setting is out of range, unknown, or contradicts another."""


class DataError(InvadError):
    """A data set is not laid out as its layout says."""


class ImageError(DataError):
    """One image or mask file cannot be read."""


class WeightsError(InvadError):
    """Encoder weights cannot be had, or do not fit the encoder."""


class RunError(InvadError):
    """A run folder is missing, taken, or incomplete."""


class CheckpointError(RunError):
    """A checkpoint is damaged or belongs to another model."""


class ModelFileError(InvadError):
    """An exported model cannot be made, read or trusted."""


class MetricError(InvadError):
    """No metric can be computed from these arrays."""


class MissingExtraError(InvadError):
    """An optional package is not installed; the message names the command that installs it."""


def command(*words: object) -> str:
    """Return a command of invad for a message: a shell takes it as it stands, whatever is in the names of files.

    Example:
        >>> command("calibrate", "runs/my parts", "--normal", "FOLDER")
        "invad calibrate 'runs/my parts' --normal FOLDER"
    """
    return quoted("invad", *words)


def quoted(*words: object) -> str:
    """Return words as one line that the system's shell takes apart again into the same.

    Example:
        >>> quoted("my parts", "north")
        "'my parts' north"
    """
    texts = list(map(str, words))
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)

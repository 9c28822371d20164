"""Lines of predictions as a file: JSON lines, or Parquet with the optional package pyarrow."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from invad.errors import MissingExtraError, RunError
from invad.files import written_at_once

if TYPE_CHECKING:
    import pyarrow

Format = Literal["jsonl", "parquet"]
ROWS = 10_000
"""Rows of a Parquet row group, which are held in memory together."""


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write JSON lines at once, without ever holding all of them.

    Raises:
        RunError: the file cannot be written.
    """
    with written_at_once(path) as file:
        file.writelines(lines)


def write_parquet(path: Path, lines: Iterable[bytes]) -> None:
    """Write lines of predictions as a Parquet file at once, ROWS of them held at a time.

    Raises:
        MissingExtraError: pyarrow is not installed.
        RunError: the file cannot be written.
    """
    require_parquet()
    import pyarrow
    import pyarrow.parquet

    schema = parquet_schema()
    with written_at_once(path) as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for rows in _groups(lines):
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


def read_lines(path: Path, format: Format) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file that was written here, a few at a time; what is no line any more is passed over.

    Raises:
        MissingExtraError: it is Parquet, and pyarrow is not installed.
        RunError: it is no Parquet file any more.
    """
    if format == "parquet":
        yield from _read_parquet(path)
        return
    with path.open("rb") as file:
        for line in file:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    require_parquet()
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise RunError(f"{path} is damaged ({error}); delete it, or choose another --out") from error


def require_parquet() -> None:
    """Refuse where pyarrow is not installed.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Parquet needs pyarrow: pip install 'invad[parquet]'; or use --format jsonl") from error


def parquet_schema() -> "pyarrow.Schema":
    """Return the columns: those of a JSON line, with null where a line lacks one."""
    import pyarrow as pa

    region = pa.struct(
        [
            ("box", pa.list_(pa.int64(), 4)),
            ("area", pa.int64()),
            ("peak", pa.float64()),
            ("at", pa.list_(pa.int64(), 2)),
        ]
    )
    return pa.schema(
        [
            ("image", pa.string()),
            ("class", pa.string()),
            ("score", pa.float64()),
            ("share_below", pa.float64()),
            ("anomalous", pa.bool_()),
            ("regions", pa.list_(region)),
            ("overlay", pa.string()),
            ("map", pa.string()),
            ("error", pa.string()),
        ]
    )


def _groups(lines: Iterable[bytes]) -> Iterator[list[dict[str, Any]]]:
    waiting = iter(lines)
    while rows := [json.loads(line) for line in islice(waiting, ROWS)]:
        yield rows

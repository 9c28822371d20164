"""Plain values, brought to the types that the fields of a dataclass want, or refused."""

import types
import typing
from contextlib import suppress
from pathlib import PurePath
from typing import Any, Literal

from invad.errors import SettingsError


def coerce(name: str, value: Any, kind: Any) -> Any:
    """Return the value of a field as its type wants it: lists become tuples, whole numbers floats, and paths text.

    A value alone, where any number of them may stand, becomes a tuple of one.

    Raises:
        SettingsError: it is of another type.

    Example:
        >>> coerce("image_size", 128, tuple[int, ...] | None), coerce("levels", [1, 2, 3], tuple[int, int, int])
        ((128,), (1, 2, 3))
    """
    lone = None
    for option in _options(kind):
        base, inner = typing.get_origin(option) or option, typing.get_args(option)
        if base is tuple and isinstance(value, list | tuple):
            kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
            if len(kinds) == len(value):
                return tuple(coerce(name, item, item_kind) for item, item_kind in zip(value, kinds))
        elif base is tuple and inner[-1] is Ellipsis:
            lone = inner[0]
        elif base is Literal and any(type(value) is type(one) and value == one for one in inner):
            return value
        elif base is float and isinstance(value, int | float) and not isinstance(value, bool):
            with suppress(OverflowError):  # a whole number of hundreds of digits
                return float(value)
        elif base is str and isinstance(value, PurePath):
            return str(value)
        elif isinstance(base, type) and isinstance(value, base) and isinstance(value, bool) == (base is bool):
            return value
    if lone is not None:
        return (coerce(name, value, lone),)
    raise SettingsError(f"{name} = {value!r} is not of the kind {_called(kind)}")


def _options(kind: Any) -> tuple[Any, ...]:
    """The types of a union, or the only one."""
    return typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)


def _called(kind: Any) -> str:
    """A type as people write it."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return f"({', '.join('...' if one is Ellipsis else _called(one) for one in inner)})"
    if typing.get_origin(kind) is Literal:
        return " | ".join(map(repr, inner))
    if inner:
        return " | ".join(map(_called, inner))
    return "None" if kind is types.NoneType else str(kind.__name__)

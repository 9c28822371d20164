"""What a request can be refused with, as the OpenAPI description says it."""

from typing import Any

from invad.serving.schemas import Problem

REASONS = {
    400: "The request cannot be understood.",
    401: "The token is missing or wrong.",
    403: "The request comes from another site's page, or from another machine.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    409: "The new model is not fit; the old one is kept.",
    413: "The body is too large, or holds too many images.",
    421: "The server is not asked by this name.",
    422: "The request is not as described.",
    500: "The server failed.",
    503: "The server has no place now; see Retry-After.",
    507: "The disk is full or broken.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses that a route may refuse with.

    Example:
        >>> refusals(401)[401]["description"]
        'The token is missing or wrong.'
    """
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        found[status] = {"model": Problem, "description": REASONS[status]}
    if 503 in found:
        found[503]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string"}}}
    return found

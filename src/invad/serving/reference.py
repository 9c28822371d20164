"""`/docs`: the OpenAPI description as a page, made on the server; nothing of it comes from another host."""

import re
from pathlib import Path

from fastapi import FastAPI
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import FileResponse, HTMLResponse

FOLDER = Path(__file__).parent / "templates"


def add_reference(app: FastAPI) -> None:
    """Add the page and its style."""
    environment = Environment(
        loader=PackageLoader("invad.serving", "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.trim_blocks = environment.lstrip_blocks = True

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(
            environment.get_template("reference.html").render(api=app.openapi(), kind=kind, link=link, prose=prose)
        )

    @app.get("/docs.css", include_in_schema=False)
    async def style() -> FileResponse:
        return FileResponse(FOLDER / "reference.css", headers={"Cache-Control": "no-cache"})


def prose(text: str) -> Markup:
    """Return a text with what stands between backticks as code.

    Example:
        >>> prose("`a` < b")
        Markup('<code>a</code> &lt; b')
    """
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def link(schema: dict[str, object]) -> Markup:
    """Return the type of a schema in words, every body's name leading to its place on the page."""
    words = [
        f'<a href="#{escape(word)}">{escape(word)}</a>' if word[:1].isupper() else str(escape(word))
        for word in kind(schema).split(" ")
    ]
    return Markup(" ".join(words))


def kind(schema: dict[str, object]) -> str:
    """Return the type of a schema in words.

    Example:
        >>> kind({"anyOf": [{"type": "array", "items": {"$ref": "#/components/schemas/Mark"}}, {"type": "null"}]})
        'list of Mark or null'
    """
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for key in ("anyOf", "oneOf"):
        parts = schema.get(key)
        if isinstance(parts, list):
            return " or ".join(kind(part) for part in parts)
    values = schema.get("enum")
    if isinstance(values, list):
        return " | ".join(f'"{value}"' for value in values)
    if "const" in schema:
        return f'"{schema["const"]}"'
    if schema.get("type") == "array":
        items = schema.get("items") or schema.get("prefixItems")
        one = items[0] if isinstance(items, list) else items
        return f"list of {kind(one)}" if isinstance(one, dict) else "list"
    more = schema.get("additionalProperties")
    if schema.get("type") == "object" and isinstance(more, dict):
        return f"object of {kind(more)}"
    return str(schema.get("type", "any"))

"""A report's content in, one HTML file out, which needs nothing but itself: no network, no second file.

The script in it only moves what is there already: without it, and on paper, the page shows the same at its first
threshold.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from invad.errors import SettingsError
from invad.files import write_text
from invad.metrics import TITLES
from invad.report.content import ClassContent, Content, Cut, Example
from invad.report.figures import bar_colours
from invad.report.gallery import make_cards
from invad.report.plots import learning_plot
from invad.report.sections import make_section, script_data
from invad.report.strips import DOTS
from invad.report.tables import make_tables, mean_cell
from invad.report.words import GROUPS, HEADLINES, METRICS


def write_report(path: Path, content: Content) -> None:
    """Write a report as one self-contained HTML file, under 15 MB; pictures shrink until all fit.

    Args:
        path: the file to write; replaced if it exists.
        content: what it shows.

    Raises:
        SettingsError: there are no results.
        RunError: the file cannot be written.
    """
    if not content.results:
        raise SettingsError("a report needs the results of at least one protocol; evaluate the run first")
    write_text(path, render(content))


def render(content: Content) -> str:
    """Return the page as HTML."""
    by_name = {one.name: one for one in content.classes}
    cards = make_cards(content.examples, [_cuts(by_name, one) for one in content.examples], content.scale)
    results = {one.name: one for one in content.results[0].classes}
    sections = [
        make_section(
            f"class-{at}",
            one,
            results.get(one.name),
            [card for card in cards if card.class_name == one.name],
            content.scale.of(one.name),
        )
        for at, one in enumerate(content.classes, start=1)
    ]
    data = {section.key: script_data(by_name[section.name], section) for section in sections if section.cuts}
    first = content.results[0]
    return render_template(
        "report.html.j2",
        ("threshold.js", "gallery.js"),
        data,
        facts=content.facts,
        first=first,
        headlines=[(name, meaning, mean_cell(first, key)) for key, name, meaning in HEADLINES],
        images=sum(len(one.defects) for one in content.classes),
        anomalous=sum(result.anomalous for result in first.classes),
        tables=make_tables(content.results, content.published, content.facts.notes),
        sections=sections,
        own_scales=bool(content.scale.classes),
        left_out=len(content.examples) - len(cards),
        dots=DOTS,
        learning=learning_plot(content.curve),
        check=content.check,
    )


def render_template(name: str, scripts: Sequence[str], data: dict[str, Any], **values: object) -> str:
    """Return a template filled in, with the scripts and their data; only these very scripts may run in the page."""
    environment = Environment(
        loader=PackageLoader("invad.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = files("invad.report") / "templates"
    script = "\n" + "\n".join((folder / one).read_text(encoding="utf-8") for one in scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template(name).render(
        script=Markup(script),
        script_hash=digest,
        data=Markup(json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")),
        groups=GROUPS,
        titles=TITLES,
        meanings=METRICS,
        bar=", ".join(bar_colours()),
        **values,
    )


def _cuts(classes: dict[str, ClassContent], example: Example) -> tuple[Cut | None, Cut | None]:
    """The thresholds of an example's image and pixels."""
    content = classes[example.class_name]
    return (content.cuts[0] if content.cuts else None), content.pixel_cut

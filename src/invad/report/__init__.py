"""Pictures of anomaly maps, and the page that shows a customer what a model can do."""

from invad.report.content import (
    ClassContent,
    Content,
    Cut,
    DataCheck,
    Example,
    Facts,
    LearningCurve,
    Published,
)
from invad.report.examples import Choice, pick_examples
from invad.report.figures import colour_bar, display_range, outline, overlay, side_by_side
from invad.report.page import write_report

__all__ = [
    "Choice",
    "ClassContent",
    "Content",
    "Cut",
    "DataCheck",
    "Example",
    "Facts",
    "LearningCurve",
    "Published",
    "colour_bar",
    "display_range",
    "outline",
    "overlay",
    "pick_examples",
    "side_by_side",
    "write_report",
]

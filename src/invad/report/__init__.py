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
from invad.report.figures import outline, overlay
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
    "outline",
    "overlay",
    "pick_examples",
    "write_report",
]

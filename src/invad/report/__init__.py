"""Pictures of anomaly maps, and the page that shows a customer what a model can do."""

from invad.report.examples import Kind, pick_examples
from invad.report.figures import colour_bar, display_range, outline, overlay, side_by_side
from invad.report.page import Example, ReportSummary, write_report

__all__ = [
    "Example",
    "Kind",
    "ReportSummary",
    "colour_bar",
    "display_range",
    "outline",
    "overlay",
    "pick_examples",
    "side_by_side",
    "write_report",
]

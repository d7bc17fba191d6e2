"""Run folder -> HTML page, tables, model card. Knows no department."""

from vesalius.report.card import model_card
from vesalius.report.comparison import report_comparison
from vesalius.report.page import (
    Code,
    Curves,
    Details,
    Facts,
    Gallery,
    Picture,
    Section,
    Table,
    Text,
    write_page,
)
from vesalius.report.run import report_run
from vesalius.report.tables import to_csv, to_latex, to_markdown

__all__ = [
    "Code",
    "Curves",
    "Details",
    "Facts",
    "Gallery",
    "Picture",
    "Section",
    "Table",
    "Text",
    "model_card",
    "report_comparison",
    "report_run",
    "to_csv",
    "to_latex",
    "to_markdown",
    "write_page",
]

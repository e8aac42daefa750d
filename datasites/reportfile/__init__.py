"""Reports as files that people and archives read: text, HTML, PDF, JSON, DICOM.

Made where the report lies: at the hospital from what is on the desk, at the researcher's from what
was released. Nothing here decides whether a report may leave.
"""

from datasites.reportfile.page import Page, page_of_held, page_of_released
from datasites.reportfile.write import render, render_released

__all__ = ["Page", "page_of_held", "page_of_released", "render", "render_released"]

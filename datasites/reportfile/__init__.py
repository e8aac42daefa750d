"""Reports as files that people and archives read: text, HTML, PDF, JSON, DICOM.

Made where the report lies: at the hospital from what is on the desk, at the researcher's from what
was released. Nothing here decides whether a report may leave.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

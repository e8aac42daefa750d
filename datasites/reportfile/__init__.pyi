from .export import export_report as export_report
from .format import Format as Format
from .page import Page as Page
from .page import page_of_held as page_of_held
from .page import page_of_released as page_of_released
from .write import render as render
from .write import render_released as render_released

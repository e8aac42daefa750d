from .model_source import find_model as find_model
from .writer import Report as Report
from .writer import ReportWriter as ReportWriter

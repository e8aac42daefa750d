from .case_look import CaseLook as CaseLook
from .errors import FactsError as FactsError
from .errors import ReportCheckError as ReportCheckError
from .errors import ReportError as ReportError
from .errors import ReportFinding as ReportFinding

from .verify import check_report as check_report
from .verify import verify_report as verify_report

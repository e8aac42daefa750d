from .html import render_audit as render_audit
from .key_book import key_named_in as key_named_in
from .key_book import known_keys as known_keys
from .report import make_report as make_report
from .verify import LedgerFinding as LedgerFinding
from .verify import verify_run as verify_run

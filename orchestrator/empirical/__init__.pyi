from .audit import audit_consented as audit_consented
from .audit import run_audit as run_audit
from .membership import attack_released as attack_released
from .result import EMPIRICAL_FILE as EMPIRICAL_FILE
from .result import EmpiricalAudit as EmpiricalAudit
from .run import CLASSES as CLASSES
from .run import EmpiricalSettings as EmpiricalSettings
from .run import mock_records as mock_records

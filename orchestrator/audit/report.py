"""`dura audit report`: everything about a run's privacy in one value, from what lies in its folder.

Read are: every ledger (verified first; what does not verify is shown as such and not counted),
plans, and results of empirical audits. The document that `--json` gives holds every event in
dp-accounting's own form, so that a third party recomputes epsilon with that library alone
(`docs/recompute.py`).

Hospitals stand side by side and are never added up: that rests on the assumption, stated in the
report, that their patients are different people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydantic

from datasites import (
    DataCard,
    DatasitesError,
    bundle_facts,
    check_assumptions,
    open_bundle,
    parse_model,
)
from orchestrator.audit.account import SiteAccount, read_account
from orchestrator.audit.verify import LedgerFinding, verify_run
from orchestrator.empirical import EMPIRICAL_FILE, EmpiricalAudit
from orchestrator.errors import VerificationError
from orchestrator.hospitals import read_receipt
from privacy import ACCOUNTANT, RELATION, event_to_json

DISJOINT = (
    "Each hospital's epsilon is for its own units. They are not added up, which is right only if "
    "nobody is in the data of two hospitals; for one who is, they compose."
)
_UNITS_UNKNOWN = 1000.0


@dataclass(frozen=True, kw_only=True)
class SiteReport:
    """One hospital.

    Attributes:
        hospital: its name. chain: what verification found.
        account: what its ledger adds up to; None where the ledger does not hold.
    """

    hospital: str
    chain: LedgerFinding
    account: SiteAccount | None


@dataclass(frozen=True, kw_only=True)
class PlanReport:
    """What one plan rests on.

    Attributes:
        sha256, study, researcher: of the plan.
        findings: code, severity, what, do of each assumption.
    """

    sha256: str
    study: str
    researcher: str
    findings: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """The whole report.

    Attributes:
        folder: what was audited. created_at: when (UTC).
        relation, accountant: what every epsilon in it means.
        sites, plans, empirical: what was found.
    """

    folder: str
    created_at: datetime
    relation: str
    accountant: str
    sites: tuple[SiteReport, ...]
    plans: tuple[PlanReport, ...]
    empirical: tuple[EmpiricalAudit, ...]

    @property
    def sound(self) -> bool:
        """Whether every chain holds, every accountant agrees and no audit is red."""
        return (
            all(site.chain.verified for site in self.sites)
            and not any(site.account.alarms for site in self.sites if site.account)
            and not any(audit.red for audit in self.empirical)
        )

    def to_json(self) -> dict[str, Any]:
        """The document; infinite epsilons are the text `infinite`."""
        return {
            "version": 1,
            "created_at": self.created_at.isoformat(timespec="seconds"),
            "relation": self.relation,
            "accountant": self.accountant,
            "assumption": DISJOINT,
            "sound": self.sound,
            "sites": {site.hospital: _site_json(site) for site in self.sites},
            "plans": [asdict(plan) for plan in self.plans],
            "empirical": [
                {**audit.model_dump(), "lower_bound": audit.lower_bound, "red": audit.red}
                for audit in self.empirical
            ],
        }


def make_report(folder: Path, *, now: datetime | None = None) -> AuditReport:
    """Audit a run's folder.

    Raises:
        VerificationError: there is no ledger, or no key to verify one with.
    """
    units = _units(folder)
    sites = tuple(_site(finding, units) for finding in verify_run(folder))
    return AuditReport(
        folder=folder.name,
        created_at=now or datetime.now(UTC),
        relation=f"{RELATION} unit",
        accountant=ACCOUNTANT,
        sites=sites,
        plans=_plans(folder),
        empirical=_empirical(folder),
    )


def _site(finding: LedgerFinding, units: Mapping[str, str]) -> SiteReport:
    account = None
    if finding.replay is not None:
        account = read_account(finding.replay, unit=units.get(finding.hospital, ""))
    return SiteReport(hospital=finding.hospital, chain=finding, account=account)


def _units(folder: Path) -> dict[str, str]:
    """Per hospital, the unit that its receipts name."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("receipts/*/*.json")):
        with suppress(VerificationError):  # a false receipt is found, and named, by `verify_run`
            receipt = read_receipt(path.read_text()).receipt
            found[receipt.site] = receipt.unit.words
    return found


def _plans(folder: Path) -> tuple[PlanReport, ...]:
    """Every plan in the folder, once, with its assumptions."""
    found: dict[str, PlanReport] = {}
    counts = _published(folder)
    for path in sorted(folder.rglob("plan.json")):
        names = [p for p in (path, path.with_name("model.py")) if p.is_file()]
        with suppress(DatasitesError, OSError):
            bundle = open_bundle({p.name: p.read_bytes() for p in names})
            if bundle.sha256 in found:
                continue
            findings = check_assumptions(
                bundle.plan,
                units_published=min(counts, default=_UNITS_UNKNOWN),
                model=bundle_facts(bundle),
            )
            found[bundle.sha256] = PlanReport(
                sha256=bundle.sha256,
                study=bundle.plan.study,
                researcher=bundle.plan.researcher,
                findings=tuple(
                    {"code": f.code.value, "severity": f.severity.value, "what": f.what, "do": f.do}
                    for f in findings
                ),
            )
    return tuple(found.values())


def _published(folder: Path) -> list[float]:
    """The noised counts of units on the data cards that lie in the folder."""
    found = []
    for path in folder.rglob("card.json"):
        with suppress(DatasitesError, OSError):
            found.append(parse_model(DataCard, path.read_bytes(), what="data card").units)
    return found


def _empirical(folder: Path) -> tuple[EmpiricalAudit, ...]:
    found = []
    for path in sorted(folder.rglob(f"*{EMPIRICAL_FILE}")):
        with suppress(pydantic.ValidationError):
            found.append(EmpiricalAudit.model_validate_json(path.read_bytes()))
    return tuple(found)


def _site_json(site: SiteReport) -> dict[str, Any]:
    chain = {
        "verified": site.chain.verified,
        "entries": site.chain.entries,
        "head": site.chain.head,
        "problem": site.chain.problem,
        "receipts": site.chain.receipts,
        "countersigned": site.chain.countersigned,
    }
    account = site.account
    if account is None:
        # Nothing can be said about a ledger that does not hold, so nothing is promised.
        return {"epsilon": "infinite", "chain": chain, "events": [], "refusals": []}
    return {
        "epsilon": _number(account.epsilon),
        "delta": account.delta,
        "unit": account.unit,
        "relation": f"{RELATION} unit",
        "budget": account.budget,
        "epsilon_at_once": {str(k): _number(v) for k, v in account.at_once.items()},
        "epsilon_if_fixed": _number(account.if_fixed),
        "interval": account.interval,
        "delta_evaluated": account.delta_evaluated,
        "filter": {
            "delta": account.terms.delta,
            "share": account.terms.share,
            "blocks": {
                name: {
                    "event": _plain(event_to_json(event)),
                    "interval": account.terms.intervals[name],
                    "lost": account.terms.lost[name],
                }
                for name, event in account.terms.events.items()
            },
        },
        "second_opinions": {n: _number(v) for n, v in account.second_opinions.items()},
        "alarms": list(account.alarms),
        "naive_sum": _number(account.naive),
        "events": [
            {
                **asdict(line),
                "event": _plain(line.event),
                "counts": line.counts,
                "alone": _number(line.alone),
                "running": None if line.running is None else _number(line.running),
            }
            for line in account.spends
        ],
        "refusals": [asdict(note) for note in account.refusals],
        "budgets": [asdict(note) for note in account.budgets],
        "disclosures": [asdict(note) for note in account.disclosures],
        "image_decisions": [asdict(note) for note in account.images],
        "unsafe_options": [asdict(note) for note in account.unsafe],
        "chain": chain,
    }


def _plain(value: Any) -> Any:
    """Read-only mappings of the ledger as plain JSON values."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else "infinite"

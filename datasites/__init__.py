"""Datasites: ingest, plans and approvals, sandbox, release desk, agent, network.

What other packages may use is named here, and is imported when it is first asked for: the
command line starts without syft or torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasites.answers import (
        ANSWER_FILE,
        COUNTERSIGNATURE_FILE,
        DECISION_FILE,
        EVALUATION_FILE,
        RECEIPT_FILE,
        Answer,
        HospitalEvaluation,
        PlanDecision,
        ReleasedReport,
        Status,
        WithheldNotice,
    )
    from datasites.card import NOISE_MULTIPLIER, DataCard
    from datasites.cli.text import findings_text
    from datasites.consent import consented_shard
    from datasites.console import bars, log_to_terminal, say, say_text
    from datasites.durable import make_folder, take_lock, write_file
    from datasites.errors import DatasitesError, MailboxError, PlanError, RelayError
    from datasites.escaping import visible
    from datasites.ingest import IngestError
    from datasites.ingest.split import plan_split
    from datasites.labelled import read_labelled, read_shard
    from datasites.modelcheck import bundle_facts, encoder_facts
    from datasites.parsing import MOST_EPSILON, MOST_UNITS, explain, read_toml
    from datasites.plans import (
        CORRECTION_FILE,
        TASK_FILE,
        WEIGHTS_FILE,
        AugmentPart,
        Bundle,
        DeclaredOutput,
        EncoderFacts,
        GenerateTask,
        GeneratorPart,
        GlobalScores,
        ModelPart,
        Plan,
        PoolTask,
        Range,
        ReportPart,
        ReportTask,
        RoundAccuracy,
        SlotPart,
        Source,
        StableDiffusionPart,
        Task,
        TrainPart,
        TrainTask,
        check_assumptions,
        make_bundle,
        open_bundle,
        parse_model,
        parse_task,
        plan_events,
        task_bytes,
        task_event,
    )
    from datasites.plans.plan import Email, Name
    from datasites.rehearsal import Rehearsal, rehearse
    from datasites.relayurl import checked_relay_url, parse_relay_url
    from datasites.released import Check, check_released, verify_released
    from datasites.reportfile import render_released
    from datasites.reportformat import Format
    from datasites.runtime import runtime_sha256
    from datasites.syftnet import ResearcherLink
    from datasites.syftnet.client import Participant
    from datasites.syftnet.words import fingerprint_words
    from datasites.throwaway import RESEARCHER, ThrowawayHospital, write_images
    from datasites.worker.generators import adapt_generator, draw_images, open_generator
    from datasites.worker.protocol import GENERATOR_FILE, REPORTS_FILE
    from datasites.worker.train import (
        MOST_IMAGES,
        MOST_KEPT_ROWS,
        MOST_ROWS,
        SYNTHETIC_BATCH,
        correction_term,
        public_rows,
    )

_HOMES = {
    "datasites.answers": (
        "ANSWER_FILE",
        "COUNTERSIGNATURE_FILE",
        "DECISION_FILE",
        "EVALUATION_FILE",
        "RECEIPT_FILE",
        "Answer",
        "HospitalEvaluation",
        "PlanDecision",
        "ReleasedReport",
        "Status",
        "WithheldNotice",
    ),
    "datasites.card": ("NOISE_MULTIPLIER", "DataCard"),
    "datasites.durable": ("make_folder", "take_lock", "write_file"),
    "datasites.console": ("bars", "log_to_terminal", "say", "say_text"),
    "datasites.consent": ("consented_shard",),
    "datasites.errors": ("DatasitesError", "MailboxError", "PlanError", "RelayError"),
    "datasites.ingest": ("IngestError",),
    "datasites.ingest.split": ("plan_split",),
    "datasites.cli.text": ("findings_text",),
    "datasites.labelled": ("read_labelled", "read_shard"),
    "datasites.modelcheck": ("bundle_facts", "encoder_facts"),
    "datasites.plans": (
        "CORRECTION_FILE",
        "TASK_FILE",
        "WEIGHTS_FILE",
        "AugmentPart",
        "Bundle",
        "DeclaredOutput",
        "EncoderFacts",
        "GenerateTask",
        "GeneratorPart",
        "GlobalScores",
        "ModelPart",
        "Plan",
        "PoolTask",
        "Range",
        "ReportPart",
        "ReportTask",
        "RoundAccuracy",
        "SlotPart",
        "Source",
        "StableDiffusionPart",
        "Task",
        "TrainPart",
        "TrainTask",
        "check_assumptions",
        "make_bundle",
        "open_bundle",
        "parse_model",
        "parse_task",
        "plan_events",
        "task_bytes",
        "task_event",
    ),
    "datasites.parsing": ("MOST_EPSILON", "MOST_UNITS", "explain", "read_toml"),
    "datasites.plans.plan": ("Email", "Name"),
    "datasites.relayurl": ("checked_relay_url", "parse_relay_url"),
    "datasites.rehearsal": ("Rehearsal", "rehearse"),
    "datasites.reportfile": ("render_released",),
    "datasites.reportformat": ("Format",),
    "datasites.released": ("Check", "check_released", "verify_released"),
    "datasites.runtime": ("runtime_sha256",),
    "datasites.syftnet": ("ResearcherLink",),
    "datasites.syftnet.client": ("Participant",),
    "datasites.syftnet.words": ("fingerprint_words",),
    "datasites.throwaway": ("RESEARCHER", "ThrowawayHospital", "write_images"),
    "datasites.escaping": ("visible",),
    "datasites.worker.generators": ("adapt_generator", "draw_images", "open_generator"),
    "datasites.worker.protocol": ("GENERATOR_FILE", "REPORTS_FILE"),
    "datasites.worker.train": (
        "MOST_IMAGES",
        "MOST_KEPT_ROWS",
        "MOST_ROWS",
        "SYNTHETIC_BATCH",
        "correction_term",
        "public_rows",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ANSWER_FILE",
    "CORRECTION_FILE",
    "COUNTERSIGNATURE_FILE",
    "DECISION_FILE",
    "EVALUATION_FILE",
    "GENERATOR_FILE",
    "MOST_EPSILON",
    "MOST_IMAGES",
    "MOST_KEPT_ROWS",
    "MOST_ROWS",
    "MOST_UNITS",
    "NOISE_MULTIPLIER",
    "RECEIPT_FILE",
    "REPORTS_FILE",
    "RESEARCHER",
    "SYNTHETIC_BATCH",
    "TASK_FILE",
    "WEIGHTS_FILE",
    "Answer",
    "AugmentPart",
    "Bundle",
    "Check",
    "DataCard",
    "DatasitesError",
    "DeclaredOutput",
    "Email",
    "EncoderFacts",
    "Format",
    "GenerateTask",
    "GeneratorPart",
    "GlobalScores",
    "HospitalEvaluation",
    "IngestError",
    "MailboxError",
    "ModelPart",
    "Name",
    "Participant",
    "Plan",
    "PlanDecision",
    "PlanError",
    "PoolTask",
    "Range",
    "Rehearsal",
    "RelayError",
    "ReleasedReport",
    "ReportPart",
    "ReportTask",
    "ResearcherLink",
    "RoundAccuracy",
    "SlotPart",
    "Source",
    "StableDiffusionPart",
    "Status",
    "Task",
    "ThrowawayHospital",
    "TrainPart",
    "TrainTask",
    "WithheldNotice",
    "adapt_generator",
    "bars",
    "bundle_facts",
    "check_assumptions",
    "check_released",
    "checked_relay_url",
    "consented_shard",
    "correction_term",
    "draw_images",
    "encoder_facts",
    "explain",
    "findings_text",
    "fingerprint_words",
    "log_to_terminal",
    "make_bundle",
    "make_folder",
    "open_bundle",
    "open_generator",
    "parse_model",
    "parse_relay_url",
    "parse_task",
    "plan_events",
    "plan_split",
    "public_rows",
    "read_labelled",
    "read_shard",
    "read_toml",
    "rehearse",
    "render_released",
    "runtime_sha256",
    "say",
    "say_text",
    "take_lock",
    "task_bytes",
    "task_event",
    "verify_released",
    "visible",
    "write_file",
    "write_images",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)

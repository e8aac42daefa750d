"""What epsilon rests on, checked for one plan. Pure.

The accountant's figure is true only if training is what its event says: Poisson sampling of units,
a clipped gradient of each unit by itself, noise nobody can subtract, and nothing else that leaves.
`check_assumptions` goes through every known way to break that and says for each how it stands:

- ``void``: epsilon would be fiction. Such a plan cannot be approved.
- ``warning``: epsilon holds, but a reviewer should know something.
- ``holds``: either looked at here, or impossible by construction; the text says by which, and
  `tests/datasites/plans/test_assumptions.py` pins that construction.

A plan is data with a closed vocabulary, so most breaches have no words in it. The checks look for
the words all the same: a field added to plans later must not open what was shut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from datasites.ingest import IMAGE, PATIENT, UNIT_KIND, unit_meaning
from datasites.plans.findings import Assumption, EncoderFacts, Finding, ModelFacts, Severity
from datasites.plans.generators import GeneratorPart, StableDiffusionPart
from datasites.plans.plan import MODEL_FILE, Plan
from privacy import per_unit

FEWEST_UNITS = 8
LEAST_NOISE = 0.5
_TO_DO = {
    PATIENT: "",
    UNIT_KIND: "",
    IMAGE: "ingest the images with patients' numbers, or by near-duplicate groups",
}
"""What to do about each kind of unit."""
_NOISED_OR_HELD = ("weights", "evaluation", "report", "generator")


def check_assumptions(
    plan: Plan,
    *,
    units_published: float,
    model: ModelFacts | None,
    start_problem: str = "",
    encoder: EncoderFacts | None = None,
    unit: str = "",
) -> tuple[Finding, ...]:
    """Every finding about a plan, the worst first.

    Args:
        plan: what is to be approved.
        units_published: the hospital's published, noised count of units.
        model: what looking at a `model.py` found; None for a classifier of the registry, whose
            gradients the test suite compares with one unit at a time.
        start_problem: why the generator cannot start here; empty if it can, or nobody looked.
        encoder: what looking at the encoder that the plan names found; None where nobody looked.
        unit: the hospital's unit of privacy, in words; empty where no hospital is asked.
    """
    found = [
        *_model(plan, model),
        *_sampling(plan),
        *_sizes(plan, units_published),
        *_synthetic(plan),
        *_public(plan),
        *_start(plan, start_problem),
        *_encoder(plan, encoder or EncoderFacts()),
        *_outputs(plan),
        *_unit(unit),
    ]
    order = list(Severity)
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def voids(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The findings that forbid approval."""
    return tuple(finding for finding in findings if finding.severity is Severity.VOID)


def _model(plan: Plan, model: ModelFacts | None) -> Iterator[Finding]:
    if plan.model.name == MODEL_FILE:
        yield Finding(
            Assumption.MODEL_FILE,
            Severity.WARNING,
            "the model comes as model.py: it is interpreted from an allow-list of layers, never "
            "executed",
            "read it all the same",
        )
    if plan.model.name == MODEL_FILE and model is None:
        yield Finding(
            Assumption.PER_SAMPLE_GRADIENT,
            Severity.VOID,
            "the layers of model.py were not looked at",
            "run the check where PyTorch is installed",
        )
        return
    facts = model or ModelFacts()
    if facts.not_built:
        yield Finding(
            Assumption.PER_SAMPLE_GRADIENT,
            Severity.WARNING,
            "model.py was read, not built: its layers are of the allow-list, which work image by "
            f"image, but no gradient was compared here ({facts.not_built})"[:600],
            "have a sandbox on this machine; a job compares them before it opens a shard",
        )
        return
    by = (
        "a classifier of the registry: GroupNorm only, its gradients compared by the test suite "
        "with one unit at a time"
        if model is None
        else "looked at here: built, and compared on random images with one unit at a time"
    )
    yield _layers(
        Assumption.BATCH_STATISTICS,
        facts.batch_statistics,
        "use statistics of several images, so that clipping bounds nobody",
        by,
    )
    yield _layers(
        Assumption.GRADIENT_CHECKPOINTING,
        facts.checkpointing,
        "recompute activations, and per-sample hooks see them twice",
        by,
    )
    if facts.gradient_problem:
        yield Finding(
            Assumption.PER_SAMPLE_GRADIENT,
            Severity.VOID,
            f"a per-sample gradient is wrong: {facts.gradient_problem}"[:600],
            "ask for a model of plain layers",
        )
    else:
        yield Finding(Assumption.PER_SAMPLE_GRADIENT, Severity.HOLDS, by)


def _layers(code: Assumption, layers: tuple[str, ...], why: str, by: str) -> Finding:
    if not layers:
        return Finding(code, Severity.HOLDS, by)
    names = ", ".join(layers[:5])
    return Finding(code, Severity.VOID, f"{names} {why}", "ask for GroupNorm, without checkpoints")


_WORDS: Mapping[Assumption, tuple[tuple[str, ...], str]] = {
    Assumption.SAMPLER: (
        ("sampler", "shuffle", "batch_size"),
        "a plan has no word for a sampler: `privacy.training` alone draws, a coin a unit",
    ),
    Assumption.WEIGHTED_SAMPLING: (
        ("class_weight", "sample_weight", "weighted", "oversample"),
        "a plan has no word for weights of units or classes: one rate holds for all",
    ),
    Assumption.SHARED_SEED: (
        ("seed",),
        "a plan has no word for a seed: noise and sampling are drawn from the operating system",
    ),
}


def _unit(unit: str) -> Iterator[Finding]:
    if not unit:
        return
    if unit in _TO_DO:
        what, do = unit_meaning(unit), _TO_DO[unit]
    else:
        what = (
            "the kind of unit changed over time, so the sum over all time bounds only somebody who "
            "is one unit of each kind"
        )
        do = "read the figures of this plan alone beside it"
    severity = Severity.WARNING if do else Severity.HOLDS
    yield Finding(Assumption.UNIT_OF_PRIVACY, severity, f"epsilon is {per_unit(unit)}: {what}", do)


def _sampling(plan: Plan) -> Iterator[Finding]:
    fields = list(_fields(plan.model_dump(serialize_as_any=True)))
    for code, (words, construction) in _WORDS.items():
        named = [name for name in fields if any(word in name for word in words)]
        if named:
            yield Finding(
                code,
                Severity.VOID,
                f"the plan sets {', '.join(named)}; the accountant knows nothing of it",
                "ask for a plan without it",
            )
        else:
            yield Finding(code, Severity.HOLDS, construction)


def _sizes(plan: Plan, units_published: float) -> Iterator[Finding]:
    parts = {"training": plan.train, "the generator": plan.generator}
    for name, part in parts.items():
        if part is None:
            continue
        expected = part.sampling_rate * units_published
        few = expected < FEWEST_UNITS
        yield Finding(
            Assumption.TINY_BATCH,
            Severity.WARNING if few else Severity.HOLDS,
            f"about {expected:.0f} units enter a step of {name}; sums are divided by this expected "
            "number, never by how many came",
            "the noise will drown the signal: ask for a higher sampling rate" if few else "",
        )
        weak = not part.noise_multiplier >= LEAST_NOISE
        yield Finding(
            Assumption.LITTLE_NOISE,
            Severity.WARNING if weak else Severity.HOLDS,
            f"the noise multiplier of {name} is {part.noise_multiplier}",
            f"below {LEAST_NOISE} little is hidden in a step" if weak else "",
        )


def _synthetic(plan: Plan) -> Iterator[Finding]:
    part = plan.generator
    noise = getattr(part, "noise_multiplier", 0.0)
    if part is not None and not (isinstance(noise, float) and 0 < noise < math.inf):
        yield Finding(
            Assumption.GENERATOR_WITHOUT_DP,
            Severity.VOID,
            "the generator is trained without noise: its images carry patients out",
            "ask for a noise multiplier",
        )
    elif part is None and plan.train.synthetic_weight > 0:
        yield Finding(
            Assumption.GENERATOR_WITHOUT_DP,
            Severity.VOID,
            "synthetic images are mixed in that no accounted generator made",
            "ask for a generator in the plan",
        )
    else:
        text = "no synthetic image is used"
        if part is not None:
            text = "the generator is trained by `privacy.training`; its event is part of the cost"
        yield Finding(Assumption.GENERATOR_WITHOUT_DP, Severity.HOLDS, text)


def _public(plan: Plan) -> Iterator[Finding]:
    named = [
        n
        for n in _fields(plan.model_dump(serialize_as_any=True))
        if "public" in n or "pretrained" in n
    ]
    if named:
        yield Finding(
            Assumption.PUBLIC_DATA,
            Severity.WARNING,
            f"the plan sets {', '.join(named)}: what is called public costs nothing",
            "make sure that no patient of this hospital is in it; nobody can check that here",
        )
    else:
        text = (
            "a plan has no word for public data: losses without noise see the global weights and "
            "the hospital's own DP-synthetic images only"
        )
        if plan.pools:
            text += (
                ", and images drawn from generators that other hospitals adapted with DP and "
                "released: they cost nobody here anything who is not a patient there as well"
            )
        yield Finding(Assumption.PUBLIC_DATA, Severity.HOLDS, text)


def _start(plan: Plan, problem: str) -> Iterator[Finding]:
    part = plan.generator
    if isinstance(part, StableDiffusionPart) and not problem:
        yield Finding(
            Assumption.GENERATOR_START,
            Severity.WARNING,
            f"the generator starts from the checkpoint {part.checkpoint_sha256[:12]}; what it was "
            "trained on counts as public and costs nothing",
            "make sure that no patient of this hospital is in it; nobody can check that here",
        )
        return
    if problem:
        yield Finding(Assumption.GENERATOR_START, Severity.VOID, problem, "ask for another plan")
        return
    text = "no generator starts from anything"
    if part is not None:
        text = "the generator starts from random weights"
    if isinstance(part, GeneratorPart) and part.start_sha256 is not None:
        text = (
            f"the generator starts from the weights {part.start_sha256[:12]} that ship with Dura; "
            "they saw drawings only, as their card says"
        )
    yield Finding(Assumption.GENERATOR_START, Severity.HOLDS, text)


def _encoder(plan: Plan, facts: EncoderFacts) -> Iterator[Finding]:
    wanted = plan.model.encoder_sha256
    if wanted is None:
        text = "the classifier stands on no encoder but the one that ships with Dura, if on any"
        yield Finding(Assumption.ENCODER, Severity.HOLDS, text)
    elif facts.problem:
        yield Finding(
            Assumption.ENCODER,
            Severity.VOID,
            f"the plan's encoder {wanted[:12]} cannot be used here: {facts.problem}",
            "name the folder that the researcher handed over as encoder in site.toml, or ask for "
            "another plan",
        )
    else:
        saw = f"; its card says it saw: {'; '.join(facts.saw)}" if facts.saw else ""
        yield Finding(
            Assumption.ENCODER,
            Severity.WARNING,
            f"the classifier stands on the encoder {wanted[:12]}{saw}. What that was counts as "
            "public and costs nothing",
            "make sure that no patient of this hospital is in it; nobody can check that here",
        )


def _outputs(plan: Plan) -> Iterator[Finding]:
    unknown = [output for output in plan.outputs if output.kind not in _NOISED_OR_HELD]
    for output in unknown:
        yield Finding(
            Assumption.UNNOISED_OUTPUT,
            Severity.VOID,
            f"{output.name} is of kind {output.kind!r}, which nothing adds noise to",
            "ask for a plan without it",
        )
    if plan.reports is not None and plan.reports.cases > 0:
        yield Finding(
            Assumption.UNNOISED_OUTPUT,
            Severity.WARNING,
            f"up to {plan.reports.cases} case reports will be drafted; releasing one is a "
            "non-private disclosure: no epsilon holds for that case any more",
            "every one is held for a decision; withhold what need not leave",
        )
    elif not unknown:
        yield Finding(
            Assumption.UNNOISED_OUTPUT,
            Severity.HOLDS,
            "every declared output is a function of noised sums alone",
        )


def _fields(value: object) -> Iterator[str]:
    """Every field name in a nested document; names that people choose are not among them."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _fields(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _fields(inner)

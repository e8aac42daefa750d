"""Attacks on the mechanism: each is red where its fault is put back, and green where nothing tells.

Faults are small copies of what Dura had (`tests.faultkit`), in place of what the installed release
does; so these tests stay red on them whatever the release does. Jobs run in the installed worker,
as a process of its own.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from typer.testing import CliRunner

from models import normalise
from orchestrator import mechanism
from orchestrator.commands import audit as audit_cli
from orchestrator.errors import StudyError, VerificationError
from orchestrator.mechanism import adversary, lowbits
from orchestrator.mechanism.crossing import Crossed
from orchestrator.mechanism.jobattacks import (
    attack_counts,
    attack_failure,
    attack_time,
    attack_version,
)
from orchestrator.mechanism.jobs import TRAINING, Kind, Pair
from orchestrator.mechanism.lowbits import Target, attack_low_bits, weights_target
from orchestrator.mechanism.result import MechanismAttack, MechanismAudit
from privacy.mechanism.grid import Grid
from tests.faultkit import (
    RESTORE_CHECK,
    WorkerJobs,
    double_release,
    float_noise,
    float_sum,
    single_release,
    unkeyed_version,
    unrounded_release,
)

torch.set_num_threads(1)

CLIP, NOISE = lowbits.CLIP, lowbits.NOISE


TARGETS = {
    "head": (lambda: lowbits.head_target(64), {"lessons": 12, "tries": 20}),
    "cnn": (lambda: lowbits.cnn_target(64), {"lessons": 12, "tries": 20}),
    "evaluation": (lowbits.evaluation_target, {"lessons": 600, "tries": 1500}),
    "counts": (lowbits.counts_target, {"lessons": 300, "tries": 1500}),
}


def low_bits(name):
    make, size = TARGETS[name]
    return attack_low_bits(make(), significance=2e-4, **size)


@pytest.mark.parametrize("name", TARGETS)
def test_the_installed_release_gives_nobody_away_by_its_last_bits(name):
    found = low_bits(name)
    assert not found.broken, found
    assert found.least_mu <= found.accounted_mu


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("head", single_release),
        ("evaluation", double_release),
        ("counts", double_release),
        ("evaluation", unrounded_release),
    ],
)
def test_float_noise_put_back_is_red(monkeypatch, name, fault):
    """Rows 1 and 2, through the installed trainer, evaluation and counts."""
    monkeypatch.setattr(Grid, "release", fault)
    found = low_bits(name)
    assert found.broken, found
    assert found.right > 2 * found.wrong


def test_float_noise_on_float_sums_names_everybody():
    """Row 1 as it was, over gradients of the default head's size: all of fifty, by proof."""
    rows = np.random.default_rng(3).normal(0.0, 0.02, (60, 580)).astype(np.float32)
    sums = [float_sum(rows[:end], clip=CLIP) for end in (-1, None)]
    target = Target(
        name="weights",
        looks_at="",
        release=lambda inside: float_noise(sums[inside], std=CLIP * NOISE),
        without=sums[0],
        with_unit=sums[1],
        noise_multiplier=NOISE,
        scales=(1.0, CLIP, CLIP * NOISE),
    )
    found = attack_low_bits(target, lessons=15, tries=25, significance=2e-4)
    assert found.broken
    assert (found.right, found.wrong) == (50, 0)
    assert found.least_mu > 3 * found.accounted_mu
    assert "impossible" in found.proves


def test_an_attack_that_does_not_find_the_sums_is_an_error():
    """A release whose noise is not the noise that was asked for: no verdict, and no green."""

    def flat(_present, _noise):
        return np.zeros(8, np.float32)

    with pytest.raises(StudyError, match="does not find the sums"):
        lowbits._sums(flat)


@pytest.mark.parametrize(
    "make", [lowbits.head_target, lowbits.cnn_target, lowbits.evaluation_target]
)
def test_targets_know_the_sums_of_the_installed_release(make):
    """What an attack subtracts is right: the rest has the noise's size, under the truth."""
    made = make(32) if make is not lowbits.evaluation_target else make()
    assert not np.array_equal(made.without, made.with_unit)
    for inside, total in ((False, made.without), (True, made.with_unit)):
        rest = np.concatenate([made.release(inside) - total for _ in range(20)])
        assert 0.3 < rest.std() / (made.scales[-1]) < 2.0


def test_a_check_on_private_batches_fails_on_one_image_and_is_red(tmp_path):
    """Row 3, in the installed worker with the former check put back."""
    jobs = WorkerJobs(tmp_path, restore=RESTORE_CHECK)
    found = attack_failure(jobs, kind=Kind.TRIPWIRE, repeats=1)
    assert (found.broken, found.right, found.wrong) == (True, 2, 0)


def test_a_failure_that_does_not_cross_is_green():
    """Whether a job failed inside is no matter; what crosses is."""
    failed = {"status": lambda present, _: "failed" if present else "done"}
    assert attack_failure(Answers(**failed), kind=Kind.TRIPWIRE, repeats=2).broken
    assert not attack_failure(Answers(), kind=Kind.TRIPWIRE, repeats=2).broken
    # A job that fails now and then tells nothing of the image.
    loose = {"status": lambda present, count: "failed" if present and count % 2 else "done"}
    assert not attack_failure(Answers(**loose), kind=Kind.TRIPWIRE, repeats=2).broken


def test_a_time_out_on_one_image_is_red():
    late = {"status": lambda present, _: "failed" if present else "done"}
    how = {"repeats": 4, "level": 0.02, "arrival": False}
    ended, _ = attack_time(Answers(**late), **how)
    assert (ended.broken, ended.right) == (True, 4)  # two pairs: no time is stated
    assert not attack_time(Answers(), **how)[0].broken


def test_a_hospital_that_serves_nothing_is_an_error_and_not_green():
    refusing = Answers(status=lambda _present, _count: "refused")
    for attack in (
        lambda: attack_failure(refusing, kind=Kind.TRIPWIRE, repeats=1),
        lambda: attack_counts(refusing, repeats=1),
        lambda: attack_time(refusing, repeats=4, level=0.02, arrival=True),
    ):
        with pytest.raises(StudyError, match="proves nothing"):
            attack()


def test_the_tripwire_watches_for_one_image_alone():
    model = torch.nn.Sequential(*_built(adversary.TRIPWIRE_TEXT, adversary.tripwire))
    images = normalise(torch.from_numpy(TRAINING.images.copy()))
    seen = model[:2](images).flatten(1).amax(1)
    assert (seen[:-1] == 0).all()
    assert seen[-1] > 4


def test_the_brake_leaves_one_image_alone_subnormal():
    model = _built(adversary.BRAKE_TEXT, lambda _image: adversary.brake())
    values = normalise(torch.from_numpy(TRAINING.images.copy()))
    for layer in list(model)[:-4]:
        values = layer(values)
    peaks = values.flatten(1).amax(1)
    assert (peaks[:-1] == 0).all()
    assert 0 < peaks[-1] < torch.finfo(torch.float32).tiny


def _built(text, weigh):
    from models import build_model, weights_from_bytes

    model = build_model("model.py", text=text, classes=2, image_size=adversary.SIZE)
    weights = weights_from_bytes(weigh(TRAINING.images[-1]), like=model.state_dict())
    model.load_state_dict(weights)
    return model.eval()


class Answers:
    """Jobs whose answers are made up: what crosses, by whether the image is there."""

    def __init__(self, **fields):
        self._fields = fields
        self._count = 0

    def ask(self, kind):
        self._count += 1
        return Pair(self._one(False), self._one(True))

    def _one(self, present):
        answer = {"status": "done"}
        for name, make in self._fields.items():
            answer[name] = make(present, self._count)
        return Crossed({"answer.json": json.dumps(answer).encode()}, waited_s=4.0)


def test_exact_numbers_of_items_are_red_and_equal_ones_green():
    """Row 4: 22 units gave 22 drafts, 23 gave 23."""
    exact = attack_counts(Answers(items=lambda present, _: 22 + present), repeats=2)
    assert exact.broken
    assert not attack_counts(Answers(items=lambda _p, _c: 40), repeats=2).broken
    # What changes from job to job is no fact about the image; neither are floats.
    moving = attack_counts(Answers(items=lambda _p, count: count), repeats=2)
    assert not moving.broken
    assert not attack_counts(Answers(sum=lambda present, _: 0.5 + present), repeats=2).broken


def test_counts_in_documents_inside_documents_are_seen():
    def receipt(present, _count):
        return json.dumps({"outputs": {"a": "hash"} | ({"b": "hash"} if present else {})})

    assert attack_counts(Answers(receipt=receipt), repeats=1).broken


def seconds(base, extra):
    """A worker's clock with some unrest, `extra` more where the image is."""

    def timing(present, count):
        took = base + 0.01 * ((count * 7) % 5) + extra * present
        return {"started": 100.0 * count, "ended": 100.0 * count + took}

    return timing


def test_seconds_of_work_are_red_and_slots_green():
    """Row 6: medians 3.2 s and 6.1 s."""
    how = {"repeats": 4, "level": 0.02, "arrival": False}
    _, slow = attack_time(Answers(timing=seconds(3.2, 2.9)), **how)
    assert slow.broken
    assert (slow.right, slow.wrong) == (8, 0)
    assert not attack_time(Answers(timing=seconds(3.2, 0.0)), **how)[1].broken
    _, slots = attack_time(Answers(timing=lambda _p, _c: {"slot": 3}), **how)
    assert (slots.broken, slots.right) == (False, 0)
    assert not attack_time(Answers(), **how)[1].broken  # nothing is said of time
    # One level for one test: eight jobs a side are needed for one in ten thousand.
    assert not attack_time(Answers(timing=seconds(3.2, 2.9)), **(how | {"level": 1e-4}))[1].broken
    many = how | {"level": 1e-4, "repeats": 8}
    assert attack_time(Answers(timing=seconds(3.2, 2.9)), **many)[1].broken


def test_the_wait_for_an_answer_is_a_clock_too():
    class Late(Answers):
        def _one(self, present):
            return Crossed(super()._one(present).files, 4.0 + 3.0 * present)

    how = {"repeats": 4, "level": 0.02}
    assert attack_time(Late(), arrival=True, **how)[1].broken
    assert not attack_time(Late(), arrival=False, **how)[1].broken
    assert not attack_time(Answers(), arrival=True, **how)[1].broken


def test_a_hash_without_a_key_gives_a_label_away():
    """Row 5; a version that each installation makes with a key of its own does not."""
    found = attack_version(unkeyed_version, tries=4)
    assert (found.broken, found.right, found.wrong) == (True, 4, 0)
    keys = iter(range(1000))
    keyed = attack_version(lambda images: f"{next(keys)}{unkeyed_version(images)}", tries=4)
    assert (keyed.broken, keyed.right, keyed.wrong) == (False, 0, 0)


def document(*broken):
    attacks = tuple(
        MechanismAttack(
            name=f"attack {number}",
            looks_at="something",
            tries=4,
            right=4 if each else 0,
            wrong=0,
            broken=each,
            proves="so",
        )
        for number, each in enumerate(broken)
    )
    return MechanismAudit(made="now", release="f" * 64, quick=True, attacks=attacks)


def test_a_table_says_what_was_tried_and_what_it_proves():
    assert not document(False, False).red
    text = document(False, True).to_text()
    assert "attack 1      4      4      0      RED  so" in text
    assert text.splitlines()[-1].startswith("RED: attack 1: ")
    assert "does not prove that none does" in document(False).to_text()


@pytest.mark.parametrize("broken", [False, True])
def test_the_command_prints_and_ends_as_the_attacks_went(monkeypatch, tmp_path, broken):
    monkeypatch.setattr(mechanism, "attack_mechanism", lambda *, quick: document(broken))
    out = tmp_path / "found.json"
    words = ["empirical", "--mechanism", "--quick", "--json", "--out", str(out)]
    done = CliRunner().invoke(audit_cli.app, words)
    assert isinstance(done.exception, VerificationError) == broken
    assert getattr(done.exception, "exit_code", 0) == (6 if broken else 0)
    assert MechanismAudit.model_validate_json(done.stdout).red == broken
    assert MechanismAudit.model_validate_json(out.read_bytes()).red == broken
    plain = CliRunner().invoke(audit_cli.app, ["empirical", "--mechanism"])
    assert "what that proves" in plain.output


def test_options_of_the_mechanism_need_it():
    for option in ("--quick", "--json"):
        done = CliRunner().invoke(audit_cli.app, ["empirical", option])
        assert isinstance(done.exception, StudyError)


def test_weights_target_sees_the_last_unit_only():
    made = weights_target(
        "one layer",
        _zero_layer,
        _ones_loss,
        units=6,
        last="weight",
    )
    assert np.abs(made.with_unit - made.without).max() <= CLIP * 1.001


def _zero_layer():
    layer = nn.Linear(4, 2, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def _ones_loss(network, index):
    inputs = torch.arange(24.0).reshape(6, 4)[index] / 24
    return functional.cross_entropy(network(inputs), index % 2, reduction="none")

"""On neighbouring data, with the noise fixed, everything but the noised values is the same.

Pairs of data sets that differ by one unit are drawn (by one image or many, in the training or in
the test cases; dark, bright, odd; images on which the classifier overflows; kept features that are
NaN, infinite, huge or subnormal), a whole study of some kind of plan is played on both at a real
site, and the two transcripts must be equal byte for byte (`transcriptkit` says what they hold and
what in them is masked). `make test-transcript` tries 200 pairs.

Then each fault that this is to find is put back, by a switch in the tests, and is found.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datasites.agent import completion as finish
from datasites.agent.admission import Admission
from datasites.desk import Desk, Item
from datasites.errors import OutputError
from datasites.ingest import load_shard
from datasites.plans.answers import Answer, WithheldNotice
from datasites.sandbox import Ending
from datasites.worker import train as train_worker
from models import build_model
from tests.transcript.masks import MASKED, NOISED, differences
from tests.transcript.transcriptkit import KINDS, SIZE, Cases

Run = Callable[[str, Cases, Cases], list[str]]
OFTEN = ("model.py", "overflow", "mixed", "model.py", "overflow", "mixed", "overflow", "head")
"""Kinds of plan as often as their plays are quick."""
STYLES = ("noise", "dark", "bright", "dot", "stripes")
FEATURES = (None, 0.0, 1.0, 1e30, 1e-40, float("nan"), float("inf"), float("-inf"))
"""What kept features of the unit that is added may hold; None where none were kept."""


def image(style: str, seed: int) -> NDArray[np.uint8]:
    if style == "dark":
        return np.zeros((SIZE, SIZE), np.uint8)
    if style == "bright":
        return np.full((SIZE, SIZE), 255, np.uint8)
    if style == "dot":
        return np.where(np.arange(SIZE * SIZE).reshape(SIZE, SIZE) == seed % 256, 255, 0).astype(
            np.uint8
        )
    if style == "stripes":
        return np.tile(np.array([0, 255], np.uint8), (SIZE, SIZE // 2))
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE)).astype(np.uint8)


one_image = st.tuples(st.sampled_from(STYLES), st.integers(0, 10_000), st.integers(0, 1))
one_unit = st.lists(one_image, min_size=1, max_size=3)
odd_unit = st.lists(one_image, min_size=1, max_size=12)
"""More images than a step takes of one unit."""


def cases(units: list[list[tuple[str, int, int]]]) -> Cases:
    flat = [(number, *one) for number, unit in enumerate(units) for one in unit]
    return Cases(
        images=np.stack([image(style, seed) for _, style, seed, _ in flat]),
        labels=np.array([label for *_, label in flat]),
        units=np.array([number for number, *_ in flat]),
    )


def with_features(held: Cases, value: float | None, *, odd: int) -> Cases:
    """The same cases, with features kept of them; the last `odd` images' hold `value`."""
    if value is None:
        return held
    size = build_model("encoder_head", text=None, classes=2, image_size=SIZE, encoder=None)
    rows = np.random.default_rng(3).normal(size=(len(held.labels), size.feature_size))
    rows[len(rows) - odd :] = value if odd else rows[:0]
    return replace(held, features=rows.astype(np.float32))


@st.composite
def pairs_of_cases(draw: st.DrawFn) -> tuple[str, list[tuple[Cases, Cases]]]:
    """A kind of plan, and training and test cases without and with one unit more."""
    kind = draw(st.sampled_from(OFTEN))
    train = draw(st.lists(one_unit, min_size=1, max_size=4))
    test = draw(st.lists(one_unit, min_size=1, max_size=4))
    extra, at = draw(odd_unit), draw(st.sampled_from(["train", "test"]))
    more_train = [*train, extra] if at == "train" else train
    more_test = [*test, extra] if at == "test" else test
    without, wider = cases(train), cases(more_train)
    if kind == "head":
        value = draw(st.sampled_from(FEATURES))
        without = with_features(without, value, odd=0)
        wider = with_features(wider, value, odd=len(extra) if at == "train" else 0)
    return kind, [(without, cases(test)), (wider, cases(more_test))]


def test_neighbours_have_the_same_transcript(run: Run, pairs: int) -> None:
    @settings(
        max_examples=pairs,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(pairs_of_cases())
    def check(pair: tuple[str, list[tuple[Cases, Cases]]]) -> None:
        kind, (one, other) = pair
        transcript = run(kind, *one)
        assert served(transcript) == tasks(kind)
        found = differences(transcript, run(kind, *other))
        assert not found, "\n".join(found)

    check()


def served(transcript: list[str]) -> int:
    """How many tasks were done: two studies in which all was refused would be alike, too."""
    return sum(line.startswith("served done ") for line in transcript)


def tasks(kind: str) -> int:
    """How many there are: two rounds and reports, a generator and images of another's."""
    return 5 if KINDS[kind].generator else 3


# --- faults, put back one at a time ---------------------------------------------------------------

FEW = cases([[("noise", 1, 0)], [("noise", 2, 1), ("dark", 0, 1)]])
MORE = cases([[("noise", 1, 0)], [("noise", 2, 1), ("dark", 0, 1)], [("bright", 3, 0)]])
MANY = cases([[("noise", seed, seed % 2)] for seed in range(12)])
"""So many test cases that some fill slots."""


def found(run: Run, kind: str = "model.py", *, where: str = "train") -> str:
    """Where the transcripts of two neighbours differ."""
    pair = {"train": ((FEW, FEW), (MORE, FEW)), "test": ((FEW, FEW), (FEW, MANY))}[where]
    return "\n".join(differences(run(kind, *pair[0]), run(kind, *pair[1])))


@pytest.mark.parametrize("where", ["train", "test"])
def test_without_a_fault_nothing_is_found(run: Run, where: str) -> None:
    """Twelve test cases against two: not one unit more, and still nothing but noise tells."""
    assert not found(run, where=where)
    assert served(run("model.py", FEW, FEW)) == tasks("model.py")


class Chatty(Answer):
    """An answer as it was: with a count and a time of work."""

    items: int = 0
    work_s: float = 0.0


def test_counts_are_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = finish.Completion.settle

    def counted(self: finish.Completion, job: finish.ReadyJob, kept: dict[str, bytes]) -> Answer:
        answer = settle(self, job, kept)
        items = [item for item in Desk(self._site).items() if item.request == job.request.id]
        return Chatty(**answer.model_dump(), items=len(items))

    monkeypatch.setattr(finish.Completion, "settle", counted)
    monkeypatch.setattr("datasites.agent.outbox.Answer", Chatty)
    assert '"items"' in found(run, where="test")


def test_times_of_work_are_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = finish.Completion.settle

    def timed(self: finish.Completion, job: finish.ReadyJob, kept: dict[str, bytes]) -> Answer:
        result = finish.Result.model_validate_json(kept["result.json"])
        return Chatty(**settle(self, job, kept).model_dump(), work_s=result.work_s)

    monkeypatch.setattr(finish.Completion, "settle", timed)
    monkeypatch.setattr("datasites.agent.outbox.Answer", Chatty)
    assert '"work_s"' in found(run)


def fails_on_bright(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of private images that one of them fails, as weights can be made to have it."""
    losses = train_worker._losses

    def checked(files: object, model: object, shard: object, *, kept: bool) -> object:
        if any(each.min() == 255 for each in shard.images):  # type: ignore[attr-defined]
            raise ValueError("per-image gradients do not add up")
        return losses(files, model, shard, kept=kept)  # type: ignore[arg-type]

    monkeypatch.setattr(train_worker, "_losses", checked)


def test_a_job_that_one_image_fails_is_not_told_from_others(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_on_bright(monkeypatch)
    assert not found(run)


def test_failure_codes_are_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_on_bright(monkeypatch)
    collect = finish.Completion.collect

    def strict(
        self: finish.Completion, job: finish.ReadyJob, folder: finish.JobFolder, ending: Ending
    ) -> bool:
        if ending is not Ending.DONE:
            raise OutputError("the job failed")
        return collect(self, job, folder, ending)

    monkeypatch.setattr(finish.Completion, "collect", strict)
    assert "job_failed" in found(run)


def test_hashes_of_drafts_are_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finish, "_DISCLOSED_ONLY", frozenset())
    assert re.search(r'"reports.json": "[0-9a-f]{64}"', found(run, where="test"))


def test_entries_and_notices_about_cases_are_found(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Item, "is_always_there", True)
    # A notice about a case is refused by its own fields as well.
    monkeypatch.setattr("datasites.agent.outbox.WithheldNotice", WithheldNotice.model_construct)
    told = found(run, where="test")
    assert ".withheld.json" in told
    assert "output_held" in told


def test_answers_that_do_not_wait_are_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot is 0 for a job that saw the one case: so its answer comes at once."""
    check = Admission.check

    def eager(self: Admission, request: object, *, sender_key: str) -> object:
        job = check(self, request, sender_key=sender_key)  # type: ignore[arg-type]
        bright = any(each.min() == 255 for each in load_shard(self._site.shard("train")).images)
        return replace(job, slot_s=0.0 if bright else job.slot_s)

    monkeypatch.setattr(Admission, "check", eager)
    monkeypatch.setattr("datasites.agent.agent.work_time_s", lambda _slot: 1.0)
    assert "waits" in found(run)


def test_every_kind_is_tried() -> None:
    assert set(OFTEN) == set(KINDS)


def test_what_is_masked_is_what_noise_or_a_key_hides() -> None:
    """A word that is added to the mask is added here, and somebody says why."""
    assert set(MASKED) == {
        "dataset_version", "content_sha256", "images_sha256", "signature", "entry_hash",
        "receipt_sha256", "text", "text_sha256", "facts", "source",
    }  # fmt: skip
    assert {"weights.safetensors", "generator.safetensors", "evaluation.json"} < NOISED
    assert "reports.json" not in NOISED

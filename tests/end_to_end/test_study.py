"""One real study over hospitals as processes, and what must hold of everything it left behind.

The study itself is in `conftest.py`: pairing with compared fingerprints, approvals, two DP rounds
with a Ctrl-C and a resumption between them, reports released and withheld. Here: the refusals on
the way, the results, and that nothing private lies where it must not.
"""

import json
import re

import pytest
from safetensors.torch import load
from torch.testing import assert_close

from models import load_model_file
from privacy import read_file, verify_file
from tests.end_to_end.conftest import HOSPITALS, all_time, dura, mail, must, refused

FINGERPRINT = re.compile(r"([0-9a-f]{4}-){7}[0-9a-f]{4}", re.IGNORECASE)


# --- the way there --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("init again", 2, ["holds a study already"]),
        ("run before submit", 2, ["study submit"]),
        ("resume before run", 2, ["study run"]),
        ("wrong fingerprint A", 6, []),
        ("crossed pin", 6, ["compare again by telephone"]),
        ("half pin", 2, ["EMAIL=FINGERPRINT"]),
        ("run undecided", 5, ["0 of 3", "undecided", "quorum is 2"]),
        ("run on no test set", 2, ["nowhere"]),
        ("reports too early", 2, ["not finished"]),
        ("run again", 2, ["study resume"]),
    ],
)
def test_what_was_refused_on_the_way(shared, what, code, words):
    assert refused(shared.said[what], code, *words)


def test_a_refused_start_leaves_no_run_behind(shared):
    assert not (shared.root / "undecided").exists()


def test_pairing_showed_fingerprints_before_anything_was_pinned(shared):
    assert FINGERPRINT.search(shared.said["pair asked"])
    assert shared.said["pair asked"].count("has not answered yet") == 3
    assert shared.said["pair answered"].count("compare, then --pin it") == 3
    assert shared.said["pinned"].count(": paired, ") == 3
    assert shared.said["status before"].count("not paired") == 3


def test_the_check_rehearsed_and_said_what_it_costs(shared):
    cost = float(re.search(r"costs epsilon ([\d.]+)", shared.said["check"])[1])
    assert 7.0 < cost <= 7.8
    for kind in ("generate", "train"):
        assert f"rehearsed {kind}" in shared.said["check"]
    assert "holds   sampler:" in shared.said["check"]


def test_where_hospitals_stand(shared):
    lines = shared.said["status after"].splitlines()
    assert [line.split(": ")[1].split(" ")[0] for line in lines] == [
        "approved",
        "approved",
        "refused",
    ]
    assert "at delta 1e-05 per" in lines[0]
    assert "secret-reason" not in shared.said["status after"]


def test_ctrl_c_is_an_orderly_end(shared):
    done = shared.said["interrupted"]
    assert done.code == 130
    assert "study resume" in done.err.strip().splitlines()[-1]
    assert "Traceback" not in done.err
    assert shared.said["state at interruption"]["rounds_done"] == 1


def test_resuming_finished_the_study_and_nobody_trained_a_round_twice(shared):
    assert shared.said["resume"].startswith("done: accuracy")
    state = json.loads((shared.out / "state.json").read_text())
    assert state["rounds_done"] == 2
    assert [score["round"] for score in state["scores"]] == [0, 1, 2]
    rounds = [(line["round"], line["hospital"]) for line in state["contributions"]]
    assert rounds == [(number, mail(name)) for number in (1, 2) for name in ("A", "B")]
    for name in ("A", "B"):
        receipts = (shared.out / "receipts" / mail(name)).glob("*-r0*.json")
        assert len(list(receipts)) == 2


@pytest.mark.parametrize(("name", "other"), [("A", "B"), ("B", "A")])
def test_each_hospital_drew_from_the_other_s_released_generator_at_no_cost(shared, name, other):
    (folder,) = (shared.site(name) / "private" / "synthetic").iterdir()
    about = json.loads((folder / "pooled.json").read_text())
    assert about["synthetic"] is True
    assert [source["hospital"] for source in about["sources"]] == [mail(other)]
    assert "released" in shared.said[f"generator of {name}"]
    lines = (shared.site(name) / "ledger.jsonl").read_text()
    assert '"images_pooled"' in lines
    assert "at no cost: post-processing" in lines
    # What was released is what the other one was sent: the hash stands in the signed receipt.
    (sha256,) = {source["sha256"] for source in about["sources"]}
    receipts = shared.out.glob(f"receipts/{mail(other)}/*generator*.json")
    assert any(sha256 in receipt.read_text() for receipt in receipts)


def test_agents_ended_in_order(shared):
    assert shared.said["agents"] == [0, 0, 0]


# --- results --------------------------------------------------------------------------------


def test_the_summary(shared):
    summary = shared.summary
    both = [mail("A"), mail("B")]
    assert summary["hospitals"] == both
    assert summary["rounds"] == 2
    assert 0 <= summary["test_accuracy"] <= 1
    assert summary["test_images"] > 0
    assert set(summary["epsilon"]) == set(summary["delta"]) == set(both)
    assert set(summary["delta"].values()) == {1e-5}
    assert summary["unit"]
    assert summary["ledger_verified"] == dict.fromkeys(both, True)
    assert summary["overhead_s_per_round"] >= 0
    assert summary["refusals"] == {}
    # Each hospital's evaluation left in noised counts; its figures have intervals.
    assert set(summary["hospital_evaluations"]) == set(both)
    for found in summary["hospital_evaluations"].values():
        for estimate in (found["accuracy"], found["per_class"]["glioma"]["auc"]):
            assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
    page = (shared.out / "report.html").read_text()
    assert "How good it is at each hospital" in page
    assert "ROC curves at the hospitals" in page


def test_reports_were_released_withheld_and_held(shared):
    before, after = shared.summary_before_decisions["reports"], shared.summary["reports"]
    assert before["released"] == before["withheld"] == 0
    assert after["released"] == 1
    assert after["withheld"] == 1
    assert sum(after.values()) == before["held"]
    assert "1 released" in shared.said["reports"]


def test_released_reports_lie_in_the_run(shared):
    texts = list((shared.out / "reports").rglob("*.txt"))
    assert [path.parent.name for path in texts] == [mail("A")]
    document = json.loads(texts[0].with_suffix(".json").read_text())
    assert document["kind"] == "hospital"
    assert document["text"] == texts[0].read_text()
    keys = json.loads((shared.out / "keys.json").read_text())
    assert document["public_key"] == keys[mail("A")]


def test_the_result_files_are_there(shared):
    for name in ("report.html", "contributions.csv", "contributions.json", "scores.csv"):
        assert (shared.out / name).stat().st_size > 0
    html = (shared.out / "report.html").read_text()
    assert shared.plan[:12] in html
    assert "epsilon" in html.lower()
    for picture in ("curves", "confusion", "epsilon", "contributions", "roc"):
        data = (shared.out / "plots" / f"{picture}.png").read_bytes()
        assert data.startswith(b"\x89PNG")


def test_the_model_says_where_it_is_from(shared):
    _, about = load_model_file(shared.out / "model.safetensors")
    assert about["study"] == "tumours"
    assert about["plan_sha256"] == shared.plan


@pytest.mark.parametrize("name", ["A", "B"])
def test_epsilon_is_what_the_hospitals_own_ledger_says(shared, name):
    from datasites.site.site import Site

    said = all_time(shared.said[f"site status {name}"])
    assert abs(shared.summary["epsilon"][mail(name)] - said) < 0.01
    assert said <= 8.0
    site = Site.open(shared.site(name))
    now = site.ledger.account().epsilon()
    assert abs(all_time(must("site", "status", site.root)) - now) < 0.01
    # A wrote one report more, B none: what was paid for is in the ledger, and nothing else.
    assert (now > said + 0.01) == (name == "A")


def test_reports_asked_for_outside_the_run(shared):
    """Beyond the budget and without leave: coded refusals. With both: a report that verifies."""
    assert "budget_exceeded" in shared.said["report beyond A's budget"]
    lines = shared.said["report"].splitlines()
    assert next(line for line in lines if mail("A") in line and "held" in line)
    assert "rerun_needs_leave" in next(line for line in lines if mail("B") in line)
    (pdf,) = (shared.study / "reports").rglob("*.pdf")
    assert pdf.read_bytes().startswith(b"%PDF")
    document = next(path for path in pdf.parent.glob("*.json"))
    done = must("report", "verify", document, "--study", shared.study)
    assert done.splitlines()[-1].endswith("holds")


@pytest.mark.parametrize("name", ["A", "B"])
def test_receipts_verify_and_reach_into_the_ledger(shared, name):
    from orchestrator.hospitals.receipts import check_receipt

    key = json.loads((shared.out / "keys.json").read_text())[mail(name)]
    lines = list(read_file(shared.site(name) / "ledger.jsonl", public_hex=key))
    paths = list((shared.out / "receipts" / mail(name)).iterdir())
    assert len(paths) >= 3
    for path in paths:
        signed = check_receipt(path.read_text(), public_hex=key)
        point = signed.receipt.checkpoint
        assert lines[point.sequence].entry_hash == point.entry_hash
        assert signed.receipt.plan_sha256 == shared.plan


# --- the model on any folder ----------------------------------------------------------------


def test_evaluate_as_json(shared):
    words = ("--model", shared.out / "model.safetensors", "--data", shared.holdout)
    found = json.loads(must("study", "evaluate", *words, "--json"))
    assert {"accuracy", "balanced_accuracy", "macro_f1", "per_class", "n"} <= set(found)
    assert set(found["per_class"]) == {"glioma", "meningioma", "notumor", "pituitary"}
    assert found["accuracy"] == shared.summary["test_accuracy"]
    assert found["n"] == shared.summary["test_images"]
    plain = must("study", "evaluate", *words)
    assert plain.count("recall") == 4


@pytest.mark.parametrize("damage", ["header", "cut", "empty", "text", "missing", "metadata"])
def test_a_damaged_model_is_one_clear_line(shared, tmp_path, damage):
    whole = (shared.out / "model.safetensors").read_bytes()
    path = tmp_path / "model.safetensors"
    made = {
        "header": b"\xff" * 8 + whole[8:],
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"not a model",
        "metadata": whole.replace(b"small_cnn", b"small_cnm"),
    }
    if damage != "missing":
        path.write_bytes(made[damage])
    assert refused(dura("study", "evaluate", "--model", path, "--data", shared.holdout), 2)


def test_evaluating_on_nothing(shared, tmp_path):
    model = shared.out / "model.safetensors"
    done = dura("study", "evaluate", "--model", model, "--data", tmp_path / "none")
    assert refused(done, 2, "none")


# --- nothing private lies where it must not ---------------------------------------------------


def _all_bytes(*folders):
    return b"\0".join(
        path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()
    )


@pytest.fixture(scope="module")
def outside(shared):
    """Everything the relay and the researcher hold, the results included."""
    results = [
        shared.out / name for name in ("receipts", "checkpoints", "plots", "reports") if
        (shared.out / name).exists()
    ]  # fmt: skip
    single = b"\0".join(path.read_bytes() for path in shared.out.glob("*.*") if path.is_file())
    return _all_bytes(shared.relay, shared.study, *results) + single


def test_no_image_left_a_hospital(shared, outside):
    images = list((shared.root / "data").glob("client_*/**/*.png"))
    assert len(images) > 100
    for path in images:
        data = path.read_bytes()
        assert data not in outside
        assert data[60:120] not in outside, path.name


def test_no_unreleased_report_left_a_hospital(shared, outside):
    from datasites.desk import Desk, ItemKind, ItemState
    from datasites.site.site import Site
    from datasites.worker.protocol import DraftReport

    released, held = set(), set()
    for name in ("A", "B"):
        desk = Desk(Site.open(shared.site(name)))
        for item in desk.items():
            if item.kind in (ItemKind.WEIGHTS, ItemKind.EVALUATION, ItemKind.GENERATOR):
                continue
            draft = DraftReport.model_validate_json(next(iter(desk.files(item).values())))
            lines = {line for line in draft.text.splitlines() if len(line) > 60}
            (released if item.state is ItemState.RELEASED else held).update(lines)
    assert released
    assert all(line[:50].encode() in outside for line in released)
    # Sentences of the fixed form stand in every report; those with figures are a report's own.
    own = {line for line in held - released if "%" in line}
    assert own
    assert not [line for line in own if line.encode() in outside]


def test_no_reason_path_or_key_left_a_hospital(shared, outside):
    assert b"secret-reason" not in outside
    for name in HOSPITALS:
        key = (shared.site(name) / "keys" / "signing.key").read_bytes()
        assert key[40:80] not in outside
        assert str(shared.site(name) / "private").encode() not in outside


def test_the_ledgers_hold_by_themselves(shared):
    from datasites.site.site import Site

    for name in HOSPITALS:
        site = Site.open(shared.site(name))
        summary = verify_file(site.ledger_path, public_hex=site.key.public_hex)
        assert summary.entries >= 3


# --- the relay goes ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "pair", "submit", "resume", "reports"])
def test_a_relay_that_is_gone_is_one_line(shared, command):
    away = shared.relay.with_name("away")
    shared.relay.rename(away)
    try:
        assert refused(dura("study", command, shared.study), 4, "relay")
    finally:
        away.rename(shared.relay)


# --- unlike hospitals -------------------------------------------------------------------------


def test_scaffold_corrected_the_round_after_the_stop(shared):
    """Control variates read off round 1 lie in its checkpoint, and round 2 was run with them."""
    saved = [
        load(path.read_bytes())
        for path in sorted((shared.out / "checkpoints").glob("*.strategy.safetensors"))
    ]
    assert [len({name.partition("/")[0] for name in state}) for state in saved] == [0, 2, 2]
    assert {f"scaffold.{mail(name)}/units" for name in ("A", "B")} <= set(saved[1])
    sent = {
        name: [*(shared.study / "syftbox" / mail(name)).rglob("correction.safetensors")]
        for name in ("A", "B", "C")
    }
    assert [len(files) for files in sent.values()] == [1, 1, 0]
    assert all("-r0002" in str(files[0]) for files in sent.values() if files)
    from orchestrator.aggregation.weighting import weights_by_units

    units = {site: float(saved[1][f"scaffold.{mail(site)}/units"]) for site in ("A", "B")}
    weights = weights_by_units(units)
    weighed = [
        {
            name: tensor.double() * weights[site]
            for name, tensor in load(sent[site][0].read_bytes()).items()
        }
        for site in ("A", "B")
    ]
    for name, tensor in weighed[0].items():
        assert tensor.abs().max() > 0
        assert_close(tensor, -weighed[1][name], rtol=1e-4, atol=1e-4)

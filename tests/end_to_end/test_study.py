"""One real study over hospitals as processes, and what must hold of everything it left behind.

The study itself is in `conftest.py`: pairing with compared fingerprints, approvals, two DP rounds
with a Ctrl-C and a resumption between them, reports released and withheld. Here: the refusals on
the way, the results, the ledgers under attack, and that nothing private lies where it must not.
"""

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models import load_model_file
from privacy import SigningKey, read_file, verify_file
from tests.end_to_end.conftest import HOSPITALS, PROGRAM, dura, mail, must

FINGERPRINT = re.compile(r"([0-9a-f]{4}-){7}[0-9a-f]{4}", re.IGNORECASE)


def refused(done, code, *words):
    """One line on standard error, that exit code, and the words that matter in it."""
    assert done.code == code, done.err or done.out
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert done.err.startswith("dura: ")
    for word in words:
        assert word in done.err
    return True


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


def all_time(status):
    return float(re.search(r"epsilon ([\d.]+) over all time", status)[1])


@pytest.mark.parametrize("name", ["A", "B"])
def test_epsilon_is_what_the_hospitals_own_ledger_says(shared, name):
    from datasites.site import Site

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
    from orchestrator.receipts import check_receipt

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


# --- ledgers under attack -------------------------------------------------------------------


def test_the_audit_holds_from_a_terminal(shared):
    done = subprocess.run(
        [*PROGRAM, "audit", "verify", str(shared.out)], capture_output=True, text=True, check=False
    )
    # C is no hospital of the run, so its ledger has no pinned key: it lies outside the copy below.
    assert done.returncode in (0, 6), done.stderr
    assert f"{mail('A')} (sites/A/ledger.jsonl)" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.fixture
def copy(shared, tmp_path):
    """Only what an auditor needs: ledgers, site.toml, keys.json and receipts."""
    target = tmp_path / "copy"
    target.mkdir()
    shutil.copy(shared.out / "keys.json", target)
    shutil.copytree(shared.out / "receipts", target / "receipts")
    for name in ("A", "B"):
        folder = target / "sites" / name
        folder.mkdir(parents=True)
        for file in ("ledger.jsonl", "site.toml"):
            shutil.copy(shared.site(name) / file, folder)
    return target


def ledger(copy, name):
    return copy / "sites" / name / "ledger.jsonl"


def broken(copy, *words):
    done = dura("audit", "verify", copy)
    assert done.code == 6, done.out
    for word in words:
        assert word in done.out
    return done


def test_an_untouched_copy_holds(copy):
    assert "all 2 ledgers hold" in must("audit", "verify", copy)


def test_one_ledger_with_a_key_by_hand(copy):
    keys = json.loads((copy / "keys.json").read_text())
    path = ledger(copy, "A")
    assert "all 1 ledgers hold" in must("audit", "verify", path, "--key", keys[mail("A")])
    assert dura("audit", "verify", path, "--key", keys[mail("B")]).code == 6


@pytest.mark.parametrize("name", ["A", "B"])
def test_any_flipped_byte_is_found_and_its_entry_named(copy, name):
    path = ledger(copy, name)
    data = path.read_bytes()
    ends = [place for place, byte in enumerate(data) if byte == 10]
    fixed = [0, ends[0], ends[0] + 1, ends[-2] + 1, ends[-1] - 1, ends[-1]]
    random_places = random.Random(name).sample(range(len(data)), 24)
    for number, place in enumerate(fixed + random_places):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (number % 8)
        path.write_bytes(flipped)
        entry = sum(end < place for end in ends) // 2  # each entry has a seal of its own here
        done = broken(copy, "DOES NOT HOLD")
        line = next(line for line in done.out.splitlines() if "NOT HOLD" in line)
        assert mail(name) in line
        # The entry itself, or, for a newline, one of the two that it parted.
        named = {int(number) for number in re.findall(r"entry (\d+)", line)}
        assert named & {entry, entry + 1}, (place, entry, line)


def _lines(path):
    return path.read_bytes().splitlines(keepends=True)


ATTACKS = {
    "first line dropped": lambda lines: lines[1:],
    "line dropped": lambda lines: lines[:3] + lines[4:],
    "line doubled": lambda lines: lines[:4] + lines[3:],
    "lines swapped": lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]],
    "tail cut": lambda lines: lines[:3],
    "cut within a line": lambda lines: [*lines[:-1], lines[-1][:50]],
    "emptied": lambda _: [],
    "a line added": lambda lines: [*lines, lines[-1]],
    "junk added": lambda lines: [*lines, b"{}\n"],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_rewritten_ledger_is_found(copy, attack):
    path = ledger(copy, "B")
    path.write_bytes(b"".join(ATTACKS[attack](_lines(path))))
    done = broken(copy, "DOES NOT HOLD", mail("B"), f"{mail('A')} (sites/A/ledger.jsonl): ")
    assert "1 of 2" in done.err


def test_a_ledger_cut_after_the_last_receipt_is_not_provable_but_before_it_is(copy, shared):
    receipts = [
        json.loads(path.read_text())["receipt"]
        for path in (shared.out / "receipts" / mail("A")).iterdir()
    ]
    reach = max(receipt["ledger"]["sequence"] for receipt in receipts)
    path = ledger(copy, "A")
    lines = _lines(path)
    path.write_bytes(b"".join(lines[: 2 * (reach + 1)]))  # an entry and its seal
    assert dura("audit", "verify", copy).code == 0
    path.write_bytes(b"".join(lines[: 2 * reach]))
    broken(copy, mail("A"))


def test_a_deleted_ledger_is_missed(copy):
    ledger(copy, "A").unlink()
    broken(copy, f"{mail('A')}: DOES NOT HOLD: the ledger is missing")


def test_a_ledger_of_another_key(copy, tmp_path):
    from privacy import Ledger

    other = tmp_path / "ledger.jsonl"
    Ledger.create(other, SigningKey.generate(), time="2026-06-01T00:00:00.000Z", actor="mallory")
    shutil.copy(other, ledger(copy, "A"))
    broken(copy, mail("A"), "DOES NOT HOLD")
    (copy / "sites" / "A" / "site.toml").unlink()
    broken(copy, "names a key that no hospital of this run has", "the ledger is missing")


def test_the_ledger_of_another_hospital_in_its_place(copy):
    shutil.copy(ledger(copy, "B"), ledger(copy, "A"))
    broken(copy, f"{mail('A')}: DOES NOT HOLD: the ledger is missing")


@pytest.mark.parametrize("what", ["edited", "junk", "of another hospital"])
def test_a_false_receipt_is_found(copy, what):
    path = next((copy / "receipts" / mail("A")).iterdir())
    if what == "edited":
        text = re.sub(r'"epsilon_total":[\d.]+', '"epsilon_total":0.5', path.read_text())
        assert text != path.read_text()
        path.write_text(text)
    elif what == "junk":
        path.write_text("[" * 100_000)
    else:
        shutil.copy(next((copy / "receipts" / mail("B")).iterdir()), path)
    assert refused(dura("audit", "verify", copy), 6, "does not hold")


@pytest.mark.parametrize("what", ["no keys", "bad keys", "no ledgers", "no folder"])
def test_nothing_to_verify_is_no_success(copy, what):
    if what == "no keys":
        (copy / "keys.json").unlink()
    elif what == "bad keys":
        (copy / "keys.json").write_text("{")
    elif what == "no ledgers":
        shutil.rmtree(copy / "sites")
    else:
        shutil.rmtree(copy)
    assert refused(dura("audit", "verify", copy), 6)


# --- the audit report ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def audited(shared):
    """The audit of the two hospitals of the run; C is none, and its ledger lies elsewhere."""
    target = shared.root / "audited"
    target.mkdir()
    shutil.copy(shared.out / "keys.json", target)
    shutil.copytree(shared.out / "receipts", target / "receipts")
    for name in ("A", "B"):
        folder = target / "sites" / name
        folder.mkdir(parents=True)
        for file in ("ledger.jsonl", "site.toml", "card.json"):
            shutil.copy(shared.site(name) / file, folder)
        shutil.copytree(shared.site(name) / "plans", folder / "plans")
    out = shared.root / "audit.html"
    text = must("audit", "report", target, "--json", "--out", out)
    return json.loads(text), out.read_text(), text


def test_the_audit_computes_what_the_hospitals_state(shared, audited):
    document, page, _ = audited
    assert document["sound"]
    for name in ("A", "B"):
        site = document["sites"][mail(name)]
        assert site["chain"]["verified"]
        stated = all_time(must("site", "status", shared.site(name)))
        assert abs(site["epsilon"] - stated) < 0.01
        assert abs(site["second_opinions"]["prv"] - site["epsilon"]) < 0.05
        assert site["naive_sum"] > site["epsilon"]
        assert [event["state"] for event in site["events"]] == ["committed"] * len(site["events"])
        assert site["unit"] == "near-duplicate group"
    assert [plan["study"] for plan in document["plans"]]
    assert "Everything checked holds" in page
    assert "case report" in page  # the one that A released is a disclosure


def test_a_third_party_recomputes_epsilon_with_dp_accounting_alone(shared, audited):
    document, _, text = audited
    script = Path(__file__).parents[2] / "docs" / "recompute.py"
    assert len(script.read_text().splitlines()) <= 30
    (shared.root / "report.json").write_text(text)
    done = subprocess.run(
        [sys.executable, "-I", script, shared.root / "report.json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = dict(line.split("\t")[:2] for line in done.stdout.splitlines())
    for name, site in document["sites"].items():
        assert abs(float(found[name]) - site["epsilon"]) < 0.002


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
    from datasites.site import Site
    from datasites.worker.protocol import DraftReport

    released, held = set(), set()
    for name in ("A", "B"):
        desk = Desk(Site.open(shared.site(name)))
        for item in desk.items():
            if item.kind in (ItemKind.WEIGHTS, ItemKind.EVALUATION):
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
    from datasites.site import Site

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

"""The ledgers of one real study: they hold, attacks on them are found, anyone recomputes."""

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from privacy import SigningKey
from tests.end_to_end.conftest import PROGRAM, all_time, dura, mail, must, refused


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
    broken(copy, f"{mail('A')} (sites/A/ledger.jsonl): DOES NOT HOLD: receipt {path.name}")


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
        assert abs(site["second_opinions"]["prv"] - site["epsilon_if_fixed"]) < 0.05
        assert site["naive_sum"] > site["epsilon"]
        assert [event["state"] for event in site["events"]] == ["committed"] * len(site["events"])
        assert site["unit"] == "near-duplicate group"
    assert [plan["study"] for plan in document["plans"]]
    assert "Everything checked holds" in page
    assert "case report" in page  # the one that A released is a disclosure


def test_a_third_party_recomputes_epsilon_with_dp_accounting_alone(shared, audited):
    document, _, text = audited
    script = Path(__file__).parents[2] / "docs" / "recompute.py"
    assert len(script.read_text().splitlines()) <= 85
    (shared.root / "report.json").write_text(text)
    done = subprocess.run(
        [sys.executable, "-I", script, shared.root / "report.json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {
        name: figures for name, *figures in (line.split("\t") for line in done.stdout.splitlines())
    }
    for name, site in document["sites"].items():
        late, _, fixed, _ = map(float, found[name])
        assert abs(late - site["epsilon"]) < 0.002
        assert abs(fixed - site["epsilon_if_fixed"]) < 0.002

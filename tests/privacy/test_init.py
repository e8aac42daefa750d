import subprocess
import sys

import pytest

import privacy


def test_every_public_name_loads() -> None:
    for name in privacy.__all__:
        assert getattr(privacy, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"attribute '?nonsense"):
        _ = privacy.nonsense  # type: ignore[attr-defined]


def test_public_names_are_listed() -> None:
    assert set(privacy.__all__) <= set(dir(privacy))


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import privacy", ("torch", "opacus", "dp_accounting", "numpy")),
        ("from privacy import Ledger, epsilon, reserve, Receipt", ("torch", "opacus")),
    ],
)
def test_heavy_vendors_load_late(statement: str, absent: tuple[str, ...]) -> None:
    check = f"{statement}\nimport sys\nprint([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_no_name_is_listed_twice() -> None:
    assert len(set(privacy.__all__)) == len(privacy.__all__)


def test_accountant_name_is_the_installed_one() -> None:
    from importlib.metadata import version

    from privacy.accounting.accountant import ACCOUNTANT

    assert version("dp-accounting") in ACCOUNTANT

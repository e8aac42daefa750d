from __future__ import annotations

import pytest

from models import errors


@pytest.mark.parametrize(
    "name",
    [
        "UnknownModelError",
        "ModelFileError",
        "WeightsError",
        "MetricsError",
        "AugmentError",
        "PhantomError",
        "GeneratorError",
    ],
)
def test_every_error_stands_under_the_root_and_in_the_tree(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.ModelsError)
    assert name in (errors.__doc__ or "")


def test_a_model_file_error_names_its_line() -> None:
    error = errors.ModelFileError("no", line=7)
    assert error.line == 7
    assert str(error) == "model file, line 7: no"
    assert str(errors.ModelFileError("no")) == "model file: no"

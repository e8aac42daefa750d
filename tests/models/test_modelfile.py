from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.classifiers.registry import build_seeded
from models.errors import ModelFileError
from models.modelfile import build as modelfile
from models.modelfile.build import build_from_text
from models.modelfile.shapes import Cost

HEAD = "from torch import nn\ndef build(classes, image_size):\n    "
EXAMPLE = '''"""Three blocks, each half as wide and twice as deep."""

from torch import nn

def build(classes: int, image_size: int) -> nn.Module:
    widths = [1] + [8 * 2 ** i for i in range(3)]
    act = nn.Tanh()
    blocks = [
        nn.Sequential(
            nn.Conv2d(widths[i], widths[i + 1], 3, stride=2, padding=1),
            nn.GroupNorm(4, widths[i + 1]),
            act,
        )
        for i in range(3)
    ]
    side = image_size // 8
    return nn.Sequential(
        *blocks, nn.Flatten(), nn.Dropout(0.1), nn.Linear(widths[-1] * side ** 2, classes)
    )
'''


@pytest.mark.parametrize(("classes", "size"), [(4, 64), (2, 32)])
def test_an_architecture_is_built_as_written(classes: int, size: int) -> None:
    model = build_from_text(EXAMPLE, classes=classes, image_size=size)
    assert model(torch.zeros(5, 1, size, size)).shape == (5, classes)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(1, 8), (8, 16), (16, 32)]
    assert model.training
    assert all(p.device.type == "cpu" and p.requires_grad for p in model.parameters())


def test_it_equals_the_same_model_run_as_python() -> None:
    """The interpreter and Python agree on what the file means."""
    namespace: dict[str, object] = {}
    exec(EXAMPLE, namespace)  # noqa: S102  our own text, to compare with
    build = namespace["build"]
    assert callable(build)
    theirs = build_seeded(lambda: build(4, 64), seed=1)
    ours = build_seeded(lambda: build_from_text(EXAMPLE, classes=4, image_size=64), seed=1)
    x = torch.randn(2, 1, 64, 64)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_weights_come_from_the_global_generator_and_checking_draws_none() -> None:
    torch.manual_seed(1)
    one = build_from_text(EXAMPLE, classes=4, image_size=64).state_dict()
    torch.manual_seed(1)
    two = build_from_text(EXAMPLE, classes=4, image_size=64).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    torch.manual_seed(1)
    untouched = torch.rand(2)
    torch.manual_seed(1)
    with pytest.raises(ModelFileError):
        build_from_text(EXAMPLE, classes=4, image_size=60)
    assert torch.equal(torch.rand(2), untouched)


def test_a_shape_error_names_its_line_and_the_shape() -> None:
    with pytest.raises(ModelFileError, match=r"line 18.*\[2048\].*in_features is 1568") as caught:
        build_from_text(EXAMPLE, classes=4, image_size=60)
    assert caught.value.line == 18


def test_thirty_million_parameters_are_refused_before_they_are_allocated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> nn.Module:
        raise AssertionError("built")

    monkeypatch.setattr(modelfile, "_module", never)
    with pytest.raises(ModelFileError, match="parameters"):
        build_from_text(
            HEAD + "return nn.Sequential(nn.Flatten(), nn.Linear(4096, 65536))",
            classes=4,
            image_size=64,
        )


def test_a_count_that_differs_from_torchs_is_never_built(monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEAD + "return nn.Sequential(nn.Flatten(), nn.Linear(4096, classes))"
    layer, _ = modelfile.check_model_text(text, classes=4, image_size=64)
    monkeypatch.setattr(modelfile, "check_model_text", lambda *_, **__: (layer, Cost(parameters=1)))
    with pytest.raises(ModelFileError, match="torch counts 16,388"):
        build_from_text(text, classes=4, image_size=64)


def test_what_torch_alone_refuses_is_a_model_file_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> nn.Module:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(nn, "Flatten", refuse)
    with pytest.raises(ModelFileError, match=r"line 3: nn\.Flatten: first line$"):
        build_from_text(
            HEAD + "return nn.Sequential(nn.Flatten(), nn.Linear(4096, classes))",
            classes=4,
            image_size=64,
        )


_BLOCKS = st.lists(
    st.sampled_from(
        [
            "nn.Conv2d(1, 4, 3)", "nn.Conv2d(4, 4, 3, padding=1)", "nn.Conv2d(4, 8, 1, bias=False)",
            "nn.Conv2d(8, 4, 5, 2, 'valid')", "nn.GroupNorm(2, 4)",
            "nn.GroupNorm(4, 8, affine=False)", "nn.ReLU()", "nn.GELU('tanh')", "nn.MaxPool2d(2)",
            "nn.AvgPool2d(3, 2, 1)",
            "nn.AdaptiveAvgPool2d((2, 3))", "nn.Dropout2d(0.2)", "nn.LeakyReLU(0.1)",
        ]
    ),
    max_size=6,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(_BLOCKS, st.integers(1, 300))
def test_what_is_accepted_runs_on_any_batch_row_by_row(blocks: list[str], features: int) -> None:
    layers = ", ".join([*blocks, "nn.Flatten()", f"nn.Linear({features}, classes)"])
    text = HEAD + f"return nn.Sequential({layers})"
    try:
        model = build_from_text(text, classes=4, image_size=16).eval()
    except ModelFileError as error:
        wanted = str(error).rpartition("[")[2]
        if "in_features" not in str(error):
            return
        size = str(error).split("shape [")[1].split("]")[0]
        text = text.replace(f"nn.Linear({features},", f"nn.Linear({size},")
        assert wanted
        model = build_from_text(text, classes=4, image_size=16).eval()
    x = torch.randn(3, 1, 16, 16)
    together = model(x)
    alone = torch.cat([model(x[i : i + 1]) for i in range(3)])
    assert together.shape == (3, 4)
    assert torch.allclose(together, alone, atol=1e-5)
    assert model(x[:0]).shape == (0, 4)

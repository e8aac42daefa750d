"""The pictures: what they say, and that they say it the same way each time."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from models import ClassScore, Evaluation, RocCurve
from orchestrator.aggregation.contribution import Contribution
from orchestrator.errors import ReportingError
from orchestrator.pages import shown_delta, shown_epsilon
from orchestrator.results import plot_style, plots
from orchestrator.results.curves import EpsilonSeries
from orchestrator.rounds.progress import RoundScore

CLASSES = ("glioma", "meningioma", "notumor")


def evaluation(classes: tuple[str, ...] = CLASSES) -> Evaluation:
    scores = tuple(
        ClassScore(name=n, precision=0.8, recall=0.7, f1=0.75, support=10, auc=0.9) for n in classes
    )
    curves = tuple(
        RocCurve(name=n, fpr=(0.0, 0.2, 1.0), tpr=(0.0, 0.9, 1.0), auc=0.9) for n in classes
    )
    return Evaluation(
        n=1030,
        accuracy=0.8123,
        balanced_accuracy=0.8,
        macro_f1=0.75,
        per_class=scores,
        confusion=((9, 1, 0), (5, 15, 0), (0, 0, 0)),
        roc=curves,
        expected_calibration_error=0.05,
        loss=0.5,
        classes=classes,
    )


def scores(count: int = 3) -> list[RoundScore]:
    return [
        RoundScore(round=r, loss=1.4 / (r + 1), accuracy=1 - 0.7 / (r + 1), macro_f1=0.3)
        for r in range(count)
    ]


def series(hospital: str = "north", **changed: object) -> EpsilonSeries:
    plain = EpsilonSeries(hospital=hospital, rounds=(1, 2), epsilon=(0.5, 0.801), delta=1e-5)
    return replace(plain, **changed)  # type: ignore[arg-type]


def lines(*hospitals: str) -> list[Contribution]:
    return [
        Contribution(
            round=r,
            hospital=h,
            units=1200.0 + i,
            update_norm=2.0 / r,
            cosine_to_aggregate=None if r == 2 else 0.5 - i,
            epsilon=0.5 * r,
            delta=1e-5,
            wall_s=3.0,
        )
        for i, h in enumerate(hospitals)
        for r in (1, 2, 3)
    ]


PICTURES: dict[str, Callable[[], bytes]] = {
    "loss": lambda: plots.loss_accuracy_png(scores()),
    "confusion": lambda: plots.confusion_png(evaluation()),
    "roc": lambda: plots.roc_png(evaluation()),
    "epsilon": lambda: plots.epsilon_png([series(), series("south")], budget=8.0),
    "contribution": lambda: plots.contribution_png(lines("north", "south")),
}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were drawn."""
    drawn: list[Figure] = []

    class Recording(plot_style.FigureCanvasAgg):
        def __init__(self, figure: Figure) -> None:
            super().__init__(figure)
            drawn.append(figure)

    monkeypatch.setattr(plot_style, "FigureCanvasAgg", Recording)
    return drawn


def words(figure: Figure) -> str:
    """All text of a figure."""
    found = [t.get_text() for t in figure.findobj(mpl.text.Text)]
    return " | ".join(text for text in found if text)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_a_png_with_ink_and_always_the_same(name: str) -> None:
    first = PICTURES[name]()
    assert first == PICTURES[name]()
    with Image.open(io.BytesIO(first)) as image:
        assert image.format == "PNG"
        assert not set(image.info) & {"Software", "Creation Time", "date"}
        pixels = np.asarray(image.convert("L"))
    assert min(pixels.shape) > 400
    assert 0.01 < np.mean(pixels < 200) < 0.7
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert edge.min() > 200, "something is cut off at the edge"


@pytest.mark.parametrize("name", PICTURES)
def test_each_axis_is_named_and_each_panel_has_a_title(name: str, figures: list[Figure]) -> None:
    PICTURES[name]()
    for axes in figures[0].axes:
        assert axes.get_xlabel()
        assert axes.get_title(loc="left") or axes.get_title()
        assert axes.get_ylabel() or axes.get_yticklabels()


def test_nothing_global_is_touched() -> None:
    before = dict(mpl.rcParams)
    for draw in PICTURES.values():
        draw()
    assert dict(mpl.rcParams) == before
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []


def test_a_users_settings_change_nothing() -> None:
    plain = PICTURES["loss"]()
    with mpl.rc_context({"axes.linewidth": 9, "font.size": 30, "figure.dpi": 30}):
        assert PICTURES["loss"]() == plain


def test_loss_and_accuracy_say_the_last_values(figures: list[Figure]) -> None:
    plots.loss_accuracy_png(scores())
    text = words(figures[0])
    assert "0.467" in text
    assert "Accuracy, at last 76.7%" in text
    assert "nats" in text


def test_confusion_shows_counts_and_shares_of_the_true_class(figures: list[Figure]) -> None:
    plots.confusion_png(evaluation())
    text = words(figures[0])
    for cell in ("9\n90%", "1\n10%", "5\n25%", "15\n75%", "glioma\n(n = 10)", "notumor\n(n = 0)"):
        assert cell in text
    assert "1\u2009030 test images, 81.2% correct" in text


def test_a_confusion_matrix_must_be_square() -> None:
    with pytest.raises(ReportingError, match="confusion matrix"):
        plots.confusion_png(replace(evaluation(), confusion=((1, 2), (3, 4))))


def test_many_classes_are_turned_and_stay_on_the_page() -> None:
    names = tuple(f"a-long-name-of-a-class-{i}" for i in range(8))
    counts = tuple(tuple(int(i == j) * 7 for j in range(8)) for i in range(8))
    assert plots.confusion_png(replace(evaluation(), classes=names, confusion=counts))


def test_roc_names_classes_and_areas(figures: list[Figure]) -> None:
    whole = evaluation()
    plots.roc_png(replace(whole, roc=whole.roc[:2]))
    text = words(figures[0])
    assert "glioma, AUC 0.900" in text
    assert "notumor, no curve: not tested" in text


def test_epsilon_is_rounded_up_and_stands_with_delta_and_budget(figures: list[Figure]) -> None:
    own = series("south", budget=4.0)
    plots.epsilon_png([series(), own], budget=8.0)
    text = words(figures[0])
    assert "ε = 0.81 of 8\nδ = 1e-5" in text
    assert "ε = 0.81 of 4\nδ = 1e-5" in text


def test_no_guarantee_is_said_in_words(figures: list[Figure]) -> None:
    plots.epsilon_png([series(epsilon=(0.5, math.inf)), series("south")])
    text = words(figures[0])
    assert "no guarantee" in text
    assert "budget" not in text


def test_names_are_cut_and_never_read_as_formulas(figures: list[Figure]) -> None:
    odd = ["$\\frac{$", "_hidden", "x" * 99, "a\nb\x1b[2J", "医院"]
    plots.contribution_png(lines(*odd))
    plots.epsilon_png([series(name) for name in odd])
    for figure in figures:
        text = words(figure)
        assert "$\\frac{$" in text
        assert "_hidden" in text
        assert "x" * 25 + "…" in text
        assert "a b [2J" in text


def test_contributions_show_units_and_gaps(figures: list[Figure]) -> None:
    plots.contribution_png(lines("north", "south"))
    norm, cosine, units = figures[0].axes
    assert "1\u2009200" in words(figures[0])
    drawn = cosine.lines[0].get_ydata()
    assert np.isnan(drawn[1])
    assert list(norm.lines[0].get_ydata()) == pytest.approx([2, 1, 2 / 3])
    assert cosine.get_ylim()[0] < -0.5
    assert [bar.get_width() for bar in units.patches] == [1200, 1201]


def test_twelve_hospitals_can_be_told_apart(figures: list[Figure]) -> None:
    plots.contribution_png(lines(*(f"h{i:02}" for i in range(12))))
    looks = {
        (line.get_color(), line.get_marker(), line.get_linestyle())
        for line in figures[0].axes[0].lines
    }
    assert len(looks) == 12


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.loss_accuracy_png([]),
        lambda: plots.loss_accuracy_png([*scores(), *scores()]),
        lambda: plots.epsilon_png([]),
        lambda: plots.contribution_png([]),
        lambda: plots.roc_png(replace(evaluation(), roc=())),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Callable[[], bytes]) -> None:
    with pytest.raises(ReportingError):
        draw()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.1, "1.10"),
        (1.101, "1.11"),
        (8.0, "8.00"),
        (1e-9, "0.01"),
        (0.0, "0.00"),
        (math.inf, "no guarantee"),
    ],
)
def test_epsilons_are_shown_rounded_up(value: float, shown: str) -> None:
    assert shown_epsilon(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1e-5, "1e-5"), (2.31e-5, "2.4e-5"), (9.99e-6, "1e-5"), (0.0, "0")]
)
def test_deltas_are_shown_rounded_up(value: float, shown: str) -> None:
    shown_value = shown_delta(value)
    assert shown_value.replace("e-0", "e-") == shown
    assert float(shown_value) >= value


def test_only_the_plot_modules_load_matplotlib() -> None:
    code = (
        "import sys, orchestrator.results.curves, orchestrator.aggregation.contribution,"
        "orchestrator.study.strategies, orchestrator.aggregation.update_checks,"
        "orchestrator.results.html_report, orchestrator.rounds.progress\n"
        "heavy = {'matplotlib', 'seaborn', 'torch', 'flwr', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'loaded {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

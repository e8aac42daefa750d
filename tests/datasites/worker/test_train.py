"""One DP training round in this process.

Proven: weights change and as many noised steps are taken as were asked; gradients are divided by
the published number of units; a frozen encoder's features, computed once, give what images give;
noise is fresh in every run; FedProx' term pulls towards the start; a correction that came with the
task is added to every step, and one that does not fit is refused;
synthetic images count only where the plan gives them weight; views of an image are averaged before
the clip, which bounds what a unit does to a step whatever their number;
`model.py` is trained and one whose layers mix images is refused; a task of another kind is refused.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn

from datasites.ingest import make_shard, save_shard
from datasites.ingest.errors import ShardError
from datasites.plans import AugmentPart, ModelPart
from datasites.worker import generate, train
from datasites.worker.protocol import FEATURES, MOST_FEATURES
from models import (
    WeightsError,
    encoder_sha256,
    initial_weights,
    normalise,
    open_encoder,
    weights_from_bytes,
    weights_to_bytes,
)
from models.encoder.card import read_card
from models.encoder.encoder import load_encoder
from privacy import GradientError, UnsafeNoNoise

MODEL_TEXT = """from torch import nn

def build(classes, image_size):
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=4), nn.Flatten(), nn.Linear(128, classes)
    )
"""


def _vector(data: bytes) -> torch.Tensor:
    return torch.cat([tensor.double().flatten() for _, tensor in sorted(_load(data).items())])


def _load(data: bytes, text: str | None = None) -> dict[str, torch.Tensor]:
    name = "small_cnn" if text is None else "model.py"
    like = initial_weights(name, text=text, classes=2, image_size=32, seed=9)
    return dict(weights_from_bytes(data, like=like))


@pytest.fixture(autouse=True)
def no_noise(request, monkeypatch):
    """What is learnt shows without noise; only one test is about noise."""
    if "noise_is_fresh" not in request.node.name:
        monkeypatch.setattr(train, "os_noise", UnsafeNoNoise)


@pytest.fixture
def moved(make_files, output, weights):
    """How far a job moves the weights from where they began, as one vector."""

    def run(task, **how) -> torch.Tensor:
        files = make_files(task, **how)
        train.run(files)
        return _vector(output(files, "weights.safetensors")) - _vector(weights)

    return run


def test_weights_change_and_steps_are_those_asked_for(make_files, output, weights, train_task):
    files = make_files(train_task(steps=2))
    assert train.run(files) == 2
    left = output(files, "weights.safetensors")
    assert not torch.equal(_vector(left), _vector(weights))


def test_the_published_number_of_units_divides_the_gradient(moved, train_task):
    task = train_task(steps=1)
    few, many = moved(task, published_units=4.0), moved(task, published_units=40.0)
    assert few.norm() > 0
    assert torch.allclose(few, 10 * many, atol=1e-5)


@pytest.mark.parametrize("work", [train, generate], ids=["train", "generate"])
def test_a_shard_that_was_put_in_the_approved_ones_place_is_not_touched(
    work, make_files, train_task, generate_task
):
    """An ingest between check and start: what is mounted is real, and not what was approved."""
    task = train_task(steps=1) if work is train else generate_task
    files = make_files(task, shard_sha256="e" * 64)
    with pytest.raises(ShardError, match="replaced while the job waited"):
        work.run(files)
    assert not list(files._outputs.iterdir())


@pytest.mark.parametrize(
    ("name", "most", "left"),
    [
        ("encoder_head", MOST_FEATURES, True),
        ("encoder_head", 100, False),
    ],
)
def test_features_computed_once_train_as_images_do(
    make_files, output, train_task, plan, monkeypatch, name, most, left
):
    """The other path is taken by an augmentation that changes nothing, or for want of room."""
    monkeypatch.setattr(train, "MOST_FEATURES", most)
    plan = plan.model_copy(update={"model": ModelPart(name=name, image_size=32)})
    slow = plan.model_copy(update={"train": plan.train.model_copy(update={"augment": STILL})})
    start = weights_to_bytes(initial_weights(name, text=None, classes=2, image_size=32, seed=0))
    ends = []
    for each in (plan, slow):
        files = make_files(train_task(steps=2), plan=each, inputs={"weights.safetensors": start})
        train.run(files)
        ends.append(weights_from_bytes(output(files, "weights.safetensors")))
        assert (files._outputs / FEATURES).exists() == (left and each is plan)
    assert ends[0]["head.weight"].norm() > 0.01
    for key, tensor in ends[0].items():
        assert torch.allclose(tensor, ends[1][key], atol=1e-4)


@pytest.mark.parametrize("units", [1.0, 1e7])
def test_whether_features_are_kept_does_not_depend_on_how_many_images_there_are(
    make_files, train_task, plan, units
):
    """Else one image more could move the last bits of what all others add."""
    plan = plan.model_copy(update={"model": ModelPart(name="encoder_head", image_size=32)})
    start = weights_to_bytes(
        initial_weights("encoder_head", text=None, classes=2, image_size=32, seed=0)
    )
    files = make_files(
        train_task(steps=1),
        plan=plan,
        inputs={"weights.safetensors": start},
        published_units=units,
    )
    train.run(files)
    assert (files._outputs / FEATURES).exists() == (units == 1.0)


def test_features_are_left_once_and_taken_from_where_they_were_kept(
    make_files, output, train_task, plan, shard
):
    plan = plan.model_copy(update={"model": ModelPart(name="encoder_head", image_size=32)})
    start = weights_to_bytes(
        initial_weights("encoder_head", text=None, classes=2, image_size=32, seed=0)
    )
    how = {"plan": plan, "inputs": {"weights.safetensors": start}}
    files = make_files(train_task(steps=1), **how)
    train.run(files)
    left = np.load(io.BytesIO(output(files, "features.npy")))
    assert left.shape == (len(shard.labels), load_encoder().dimension + 1)
    assert left.dtype == np.float32
    ends = []
    for kept in (left, np.zeros_like(left), left[1:]):
        files = make_files(train_task(steps=1), data={"features/features.npy": _npy(kept)}, **how)
        train.run(files)
        weights = weights_from_bytes(output(files, "weights.safetensors"))
        ends.append(float(weights["head.weight"].norm()))
        assert (files._outputs / "features.npy").exists() == (len(kept) != len(left))
    assert ends[0] > 0.005
    assert ends[1] < 1e-3  # of features that say nothing, nothing is learnt
    assert ends[2] == pytest.approx(ends[0], rel=1e-3)  # a table of another shard is not used


@pytest.fixture
def on_own_encoder(plan, own_encoder):
    """A plan that names an encoder, and what a job under it is given."""
    part = ModelPart(name="encoder_head", image_size=32, encoder_sha256=encoder_sha256(own_encoder))
    start = {"head.weight": torch.zeros(2, read_card(own_encoder).dimension + 1)}
    mounted = {f"encoder/{path.name}": path.read_bytes() for path in own_encoder.iterdir()}
    return plan.model_copy(update={"model": part}), weights_to_bytes(start), mounted


def test_a_head_is_trained_on_the_encoder_that_the_plan_names(
    make_files, output, train_task, on_own_encoder, shard, own_encoder
):
    plan, start, mounted = on_own_encoder
    how = {"plan": plan, "inputs": {"weights.safetensors": start}}
    files = make_files(train_task(steps=1), data=mounted, **how)
    train.run(files)
    left = np.load(io.BytesIO(output(files, FEATURES)))
    assert left.shape == (len(shard.labels), 9)
    truth = open_encoder(own_encoder)(normalise(torch.from_numpy(np.array(shard.images[:2]))))
    assert np.allclose(left[:2, :8], truth.numpy(), atol=1e-3)
    end = weights_from_bytes(output(files, "weights.safetensors"))["head.weight"]
    assert end.norm() > 0.005
    # The shipped encoder's features are not taken for this one's; its own are.
    kept = {"features/features.npy": _npy(np.zeros_like(left))}
    files = make_files(train_task(steps=1), data={**mounted, **kept}, **how)
    assert files.features() is None
    name = f"features/features-{plan.model.encoder_sha256}.npy"
    card_alone = {name: data for name, data in mounted.items() if name.endswith("card.json")}
    files = make_files(train_task(steps=1), data={**card_alone, name: _npy(left)}, **how)
    train.run(files)
    assert not (files._outputs / FEATURES).exists()


@pytest.mark.parametrize("mount", ["nothing", "another"])
def test_another_encoder_than_the_plans_is_not_used(make_files, train_task, on_own_encoder, mount):
    plan, start, mounted = on_own_encoder
    card = mounted["encoder/card.json"] + b" "
    data = {} if mount == "nothing" else {**mounted, "encoder/card.json": card}
    how = {"plan": plan, "inputs": {"weights.safetensors": start}}
    with pytest.raises(WeightsError, match="not mounted"):
        train.run(make_files(train_task(steps=1), data=data, **how))


def test_noise_is_fresh_in_every_run(moved, train_task, plan):
    loud = plan.model_copy(
        update={"train": plan.train.model_copy(update={"noise_multiplier": 5.0})}
    )
    task = train_task(steps=1)
    first, second = moved(task, plan=loud), moved(task, plan=loud)
    assert not torch.allclose(first, second, atol=1e-3)


def test_the_proximal_term_pulls_towards_the_start(moved, train_task):
    free = moved(train_task(steps=3, learning_rate=0.05))
    held = moved(train_task(steps=3, learning_rate=0.05, proximal_mu=10.0))
    assert 0 < held.norm() < 0.8 * free.norm()


def test_a_correction_is_added_to_every_step_and_to_nothing_else(moved, train_task, weights):
    like = weights_from_bytes(weights)
    correction = {
        name: torch.full_like(tensor, 0.25 * (1 + place))
        for place, (name, tensor) in enumerate(sorted(like.items()))
    }
    brought = {"correction.safetensors": weights_to_bytes(correction)}
    # One unclipped step follows the same gradient with and without; its noise is next to none.
    task = train_task(steps=1, learning_rate=0.5)
    difference = moved(task, inputs=brought) - moved(task)
    expected = -0.5 * _vector(brought["correction.safetensors"])
    torch.testing.assert_close(difference, expected, atol=1e-4, rtol=1e-4)
    # It is neither clipped nor divided by units: a clipping norm of nothing leaves it alone.
    two = moved(train_task(steps=2, learning_rate=0.5), inputs=brought)
    assert torch.allclose(two, 2 * expected, atol=4.0)
    assert (two - 2 * expected).norm() < 0.2 * two.norm()


@pytest.mark.parametrize("broken", ["shape", "name", "nan", "bytes"])
def test_a_correction_that_does_not_fit_is_refused(make_files, train_task, weights, broken):
    correction = dict(weights_from_bytes(weights))
    name = next(iter(correction))
    if broken == "shape":
        correction[name] = correction[name][:1]
    elif broken == "name":
        correction["another"] = correction.pop(name)
    elif broken == "nan":
        correction[name] = correction[name] * float("nan")
    data = b"no weights" if broken == "bytes" else weights_to_bytes(correction)
    files = make_files(train_task(steps=1), inputs={"correction.safetensors": data})
    with pytest.raises(WeightsError):
        train.run(files)
    assert not list(files._outputs.iterdir())


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@pytest.mark.parametrize(("weight", "used"), [(1.0, True), (0.0, False)])
def test_synthetic_images_count_only_by_the_plans_weight(moved, train_task, plan, weight, used):
    # A clipping norm this small leaves nothing of the real images' gradient.
    part = plan.train.model_copy(update={"synthetic_weight": weight, "clipping_norm": 1e-6})
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1, 0, 1])
    data = {
        "synthetic/synthetic_images.npy": _npy(images),
        "synthetic/synthetic_labels.npy": _npy(labels),
    }
    change = moved(train_task(), plan=plan.model_copy(update={"train": part}), data=data)
    assert (float(change.norm()) > 1e-3) is used


def test_a_plan_that_wants_synthetic_images_trains_without_any(moved, train_task, plan):
    part = plan.train.model_copy(update={"synthetic_weight": 1.0, "clipping_norm": 1e-6})
    change = moved(train_task(), plan=plan.model_copy(update={"train": part}))
    assert change.norm() < 1e-6


def test_augmentation_changes_what_is_learnt(moved, train_task, plan):
    part = plan.train.model_copy(update={"augment": AugmentPart(rotate_deg=45.0, shift=0.5)})
    task = train_task(steps=1)
    plain = moved(task)
    turned = moved(task, plan=plan.model_copy(update={"train": part}))
    assert not torch.allclose(plain, turned, atol=1e-4)


STILL = AugmentPart(horizontal_flip=False, shift=0.0, rotate_deg=0.0, scale=0.0, brightness=0.0)


def _viewed(plan, augment, views):
    """The plan with a clip that nothing escapes, and so many views of each image."""
    part = {"augment": augment.model_copy(update={"views": views}), "clipping_norm": 0.01}
    return plan.model_copy(update={"train": plan.train.model_copy(update=part)})


def test_views_are_averaged_before_the_clip(moved, train_task, plan):
    """Of one image that stays as it is, many views weigh as much as one, clipped or not."""
    task = train_task(steps=1, learning_rate=1.0)
    one, many = (moved(task, plan=_viewed(plan, STILL, views)) for views in (1, 5))
    assert many.norm() > 1e-4
    assert torch.allclose(one, many, atol=1e-3 * float(many.norm()))


@pytest.mark.parametrize("views", [1, 3, 32])
def test_a_unit_moves_a_step_by_its_clip_however_many_views_it_has(
    make_files, output, weights, train_task, plan, shard, views
):
    """All images here are of one unit, so a step's whole sum is that unit's."""
    turned = _viewed(plan, AugmentPart(rotate_deg=45.0, shift=0.5), views)
    task = train_task(steps=1, learning_rate=1.0)
    one = make_shard(
        images=shard.images,
        labels=shard.labels,
        units=np.zeros_like(shard.units),
        classes=shard.classes,
        rules="one unit",
    )
    files = make_files(task, plan=turned, published_units=1.0, shard_sha256=one.version)
    save_shard(one, files._data / "train", replace=True)
    train.run(files)
    change = _vector(output(files, "weights.safetensors")) - _vector(weights)
    assert float(change.norm()) == pytest.approx(0.01, rel=1e-3)


def test_views_of_an_image_differ(moved, train_task, plan):
    task = train_task(steps=1, learning_rate=1.0)
    turned = _viewed(plan, AugmentPart(rotate_deg=45.0, shift=0.5), 3)
    assert not torch.allclose(moved(task, plan=turned), moved(task, plan=turned), atol=1e-5)
    assert not torch.allclose(
        moved(task, plan=turned), moved(task, plan=_viewed(plan, STILL, 3)), atol=1e-5
    )


def test_a_model_file_is_trained(make_files, output, train_task, plan):
    own = plan.model_copy(update={"model": ModelPart(name="model.py", image_size=32)})
    state = initial_weights("model.py", text=MODEL_TEXT, classes=2, image_size=32, seed=1)
    inputs = {"model.py": MODEL_TEXT.encode(), "weights.safetensors": weights_to_bytes(state)}
    files = make_files(train_task(), plan=own, inputs=inputs)
    assert train.run(files) == 2
    after = _load(output(files, "weights.safetensors"), MODEL_TEXT)
    assert any(not torch.equal(after[name], state[name]) for name in state)


def test_a_model_that_mixes_images_is_refused(plan):
    four = plan.model_copy(update={"classes": ("glioma", "meningioma", "notumor", "pituitary")})
    mixing = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(1024), nn.Linear(1024, 4))
    with pytest.raises(GradientError):
        train.check_file_model(mixing, four)
    train.check_file_model(nn.Sequential(nn.Flatten(), nn.Linear(1024, 4)), four)


def test_a_task_of_another_kind_is_refused(make_files, generate_task):
    with pytest.raises(TypeError, match="generate"):
        train.run(make_files(generate_task))


def test_warm_up_needs_no_files():
    train.warm_up()

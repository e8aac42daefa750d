"""What hospitals are sent so that each draws from the others' released generators. Pure.

A generator that left is one that its owner released after it was adapted with DP: drawing from it
is post-processing and costs nobody anything. It is passed on only if it is byte for byte what its
hospital's receipt names, finite, and of the make that most others are of: one that does not fit
would fail every hospital's job, and so let one hospital take the pool from all. A hospital never
gets its own back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from datasites import GENERATOR_FILE, PoolTask, Source
from models import (
    WeightsError,
    check_plain_weights,
    pack_generators,
    weights_from_bytes,
    weights_to_bytes,
)
from orchestrator.errors import UpdateReason, UpdateRefusedError
from orchestrator.hospitals import Reply
from privacy import sha256_hex


def released_generator(site: str, reply: Reply | None) -> bytes:
    """The generator in a hospital's answer.

    Raises:
        UpdateRefusedError: there is none, it is not what was signed, it is no weights file, or not
            written as everybody writes one (it would not come out of a packed file the same).
    """
    data = None if reply is None else reply.files.get(GENERATOR_FILE)
    if reply is None or reply.receipt is None or data is None:
        raise UpdateRefusedError(site, UpdateReason.NO_GENERATOR, "its owner released no generator")
    if GENERATOR_FILE not in reply.receipt.outputs:
        raise UpdateRefusedError(
            site, UpdateReason.RECEIPT_INVALID, "its receipt names no generator"
        )
    try:
        check_plain_weights(data, max_bytes=len(data))
    except WeightsError as error:
        raise UpdateRefusedError(site, UpdateReason.NOT_FINITE, str(error)) from error
    if weights_to_bytes(weights_from_bytes(data, max_bytes=len(data))) != data:
        raise UpdateRefusedError(
            site, UpdateReason.MAKE_DIFFERS, "its generator's file is not written as Dura writes it"
        )
    return data


def of_one_make(released: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those generators that have the same tensors as most; of makes equally many, all of each.

    Which make is the plan's cannot always be told here (a checkpoint lies at the hospitals alone);
    they know, and take no other. Where most hospitals agree, those who do not are left out.
    """
    makes = {site: _make(data) for site, data in released.items()}
    counts = Counter(makes.values())
    most = max(counts.values(), default=0)
    return {site: data for site, data in released.items() if counts[makes[site]] == most}


def _make(data: bytes) -> tuple[tuple[str, tuple[int, ...]], ...]:
    weights = weights_from_bytes(data, max_bytes=len(data))
    return tuple(sorted((name, tuple(tensor.shape)) for name, tensor in weights.items()))


def pool_task(
    site: str, released: Mapping[str, bytes], *, request: str, plan_sha256: str
) -> tuple[PoolTask, bytes] | None:
    """What a hospital is asked, and the file that goes along; None if nobody else released any.

    Args:
        site: whom to ask.
        released: hospital to released generator.
        request: id of the request.
        plan_sha256: the plan.
    """
    others = {one: data for one, data in released.items() if one != site}
    if not others:
        return None
    packed = pack_generators(list(others.values()))
    task = PoolTask(
        request=request,
        plan_sha256=plan_sha256,
        weights_sha256=sha256_hex(packed),
        sources=tuple(Source(hospital=one, sha256=sha256_hex(d)) for one, d in others.items()),
    )
    return task, packed

"""What a job reads and leaves: the mounted places and no other; a damaged shard is refused."""

from __future__ import annotations

import pytest

from datasites.ingest import ShardDamagedError
from datasites.worker.protocol import Result


def test_what_is_there_and_what_is_not(make_files, train_task, shard, weights):
    files = make_files(train_task())
    assert files.job.task == train_task()
    assert files.weights == weights
    assert files.shard("train").version == shard.version
    assert files.model_text is None
    assert files.synthetic() is None
    assert files.report_model is None


def test_what_the_hospital_mounts_is_found(make_files, train_task):
    files = make_files(
        train_task(), inputs={"model.py": b"text"}, data={"llama/config.json": b"{}"}
    )
    assert files.model_text == "text"
    assert files.report_model is not None
    assert (files.report_model / "config.json").read_text() == "{}"


def test_a_damaged_shard_is_refused(make_files, train_task):
    files = make_files(train_task())
    path = next(path for path in (files._data / "train").iterdir() if "image" in path.name)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(data))
    with pytest.raises(ShardDamagedError):
        files.shard("train")


def test_the_result_is_left_where_the_agent_looks(make_files, train_task, output):
    files = make_files(train_task())
    result = Result(steps_taken=2, work_s=0.5)
    files.write_result(result)
    assert Result.model_validate_json(output(files, "result.json")) == result

"""The network of `tests.syftnetkit` for the tests of messages, and the body of a job message."""

import json
import time
from uuid import uuid4

import pytest

from tests.syftnetkit import ANN, A, Network


@pytest.fixture
def new_net(tmp_path):
    """A network for one test that breaks it."""
    return Network.build(tmp_path)


@pytest.fixture
def outputs_net(tmp_path):
    """A network whose folder has the name of a job's output folder."""
    return Network.build(tmp_path / "outputs")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return Network.build(tmp_path_factory.mktemp("net"))


@pytest.fixture
def net(shared):
    """A module's network, with no refusal noted and nothing waiting on the relay."""
    shared.forget()
    yield shared
    shared.sweep()


@pytest.fixture
def job():
    """A job name that no other test uses."""
    return f"job-{time.monotonic_ns()}"


@pytest.fixture
def body(job):
    """The JSON of a job message from Ann to A, with any field changed."""

    def make(*, path=None, change=None, changes=None, **fields):
        one = {
            "id": str(uuid4()),
            "path_in_datasite": path or f"app_data/job/inbox/{ANN}/v1/{job}/code/task.json",
            "content": "{}",
            "content_type": "text",
            "new_hash": "0",
            "datasite_email": A,
            "submitted_timestamp": 1.0,
        }
        message = {
            "sender_email": ANN,
            "message_filename": {"submitted_timestamp": time.time(), "uid": str(uuid4())},
            "proposed_file_changes": [{**one, **(change or {})}],
        }
        if changes is not None:
            message["proposed_file_changes"] = changes
        return json.dumps({**message, **fields}).encode()

    return make

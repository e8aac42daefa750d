"""The mock data set is public and whole; what syft calls private never reaches the relay."""

import pytest

A, B = "owner@hospital-a.example", "owner@hospital-b.example"
ANN = "ann@university.example"
PREFIX = "syft_datasetcollection"


@pytest.fixture
def mock(tmp_path):
    folder = tmp_path / "mock"
    folder.mkdir()
    (folder / "train.npy").write_bytes(b"public synthetic images")
    (folder / "card.json").write_bytes(b"{}")
    return folder


def publish(net, mock, name="mock"):
    net.links[A].publish_mock(name=name, folder=mock, summary="synthetic")


def test_a_researcher_finds_the_mock_and_gets_its_files(new_net, mock):
    assert new_net.links[ANN].mock_datasets() == {}
    publish(new_net, mock)
    assert new_net.links[ANN].mock_datasets() == {A: "mock"}
    connection = new_net.links[ANN]._connection
    (found,) = connection.watcher_list_collections(PREFIX)
    assert found["owner_email"] == A
    hashed = found["content_hash"]
    files = connection.watcher_download_collection(PREFIX, "mock", hashed, A)
    assert files["train.npy"] == b"public synthetic images"


def test_nothing_private_is_on_the_relay_nor_below_the_syftbox(new_net, mock):
    publish(new_net, mock)
    on_relay = [path for path in (new_net.relay / "collections").rglob("*") if path.is_file()]
    assert not any(b"private shard" in path.read_bytes() for path in on_relay)
    assert not any("private" in str(path.relative_to(new_net.relay)) for path in on_relay)


def test_publishing_again_replaces_the_mock(new_net, mock):
    publish(new_net, mock)
    (mock / "train.npy").write_bytes(b"newer images")
    publish(new_net, mock)
    connection = new_net.links[A]._connection
    (own,) = connection.owner_list_all_collections_with_permissions(PREFIX)
    assert own.tag == "mock"
    hashed = own.content_hash
    files = connection.watcher_download_collection(PREFIX, "mock", hashed, A)
    assert files["train.npy"] == b"newer images"
    connection.owner_delete_collection(PREFIX, "mock")
    assert new_net.links[ANN].mock_datasets() == {}


def test_odd_folders_among_the_collections_are_passed_over(new_net, mock):
    publish(new_net, mock)
    (new_net.relay / "collections" / B / "not a collection").mkdir(parents=True)
    (new_net.relay / "collections" / "stray").write_bytes(b"")
    assert new_net.links[ANN].mock_datasets() == {A: "mock"}

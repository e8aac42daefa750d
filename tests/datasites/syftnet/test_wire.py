"""The wire's rules: plain names in one's own folder only, and a container that cannot harm.

The containers here are what a paired but hostile peer can sign: bombs, links, sparse maps,
chains of headers, lengths that lie.
"""

import contextlib
import gzip
import io
import tarfile
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasites.errors import MessageError
from datasites.syftnet import wire

ANN = "ann@university.example"
INBOX = f"app_data/job/inbox/{ANN}/v1"
REVIEW = f"app_data/job/review/{ANN}/v1"
MEMBER = "proposed_file_changes.json"


def code_of(function, *args, **kwargs):
    with pytest.raises(MessageError) as caught:
        function(*args, **kwargs)
    return caught.value.code


@given(st.binary(max_size=5000))
def test_what_is_packed_is_unpacked(payload):
    assert wire.unpack(wire.pack(payload)) == payload


def test_the_container_is_the_one_that_syft_reads_and_writes():
    from syft.sync.utils.syftbox_utils import compress_data, uncompress_data

    assert uncompress_data(wire.pack(b"{}")) == b"{}"
    assert wire.unpack(compress_data(b"{}")) == b"{}"


def test_a_decompression_bomb_costs_at_most_the_cap():
    bomb = gzip.compress(bytes(64 * 1024 * 1024), compresslevel=9)
    assert len(bomb) < 100_000
    tracemalloc.start()
    assert code_of(wire.unpack, bomb, limit_bytes=2**20) == "too_large"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def archive(*members):
    """A gzipped tar of (TarInfo, bytes) members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.GNU_FORMAT) as made:
        for info, data in members:
            made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name=MEMBER, **fields):
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def sparse():
    """A member that says it is a terabyte of zeros."""
    header = bytearray(member(type=tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[398:410] = b"00000000000\0", b"00000000000\0"
    header[482], header[483:495] = 0, (2**40).to_bytes(12, "big")
    header[483] = 0x80
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return gzip.compress(bytes(header) + bytes(1024))


def header_chain():
    """Thousands of long-name headers, one announcing the next."""
    header = member("x", type=tarfile.GNUTYPE_LONGNAME, size=0).tobuf(tarfile.GNU_FORMAT)
    return gzip.compress(header * 5000 + bytes(1024))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not gzip",
        gzip.compress(b""),
        gzip.compress(b"not tar" * 200),
        gzip.compress(bytes(2048)),
        gzip.compress(b"cut short")[:8],
        archive((member("other.json", size=2), b"{}")),
        archive((member(type=tarfile.SYMTYPE, linkname=MEMBER), b"")),
        archive((member(type=tarfile.LNKTYPE, linkname=MEMBER), b"")),
        archive((member(type=tarfile.SYMTYPE, linkname="/etc/passwd"), b"")),
        archive((member(type=tarfile.DIRTYPE), b"")),
        archive((member(type=tarfile.FIFOTYPE), b"")),
        sparse(),
        header_chain(),
        gzip.compress(member(size=10**9).tobuf(tarfile.GNU_FORMAT) + b"short"),
        gzip.compress(member(size=-1).tobuf(tarfile.GNU_FORMAT)),
    ],
    ids=[
        "empty", "garbage", "empty-gzip", "no-tar", "empty-tar", "truncated", "other-name",
        "link-to-itself", "hard-link-to-itself", "link-to-host", "folder", "pipe", "sparse",
        "header-chain", "lying-size", "negative-size",
    ],
)  # fmt: skip
def test_a_hostile_container_is_malformed_and_nothing_worse(data):
    started = time.monotonic()
    assert code_of(wire.unpack, data) == "malformed"
    assert time.monotonic() - started < 2


@settings(max_examples=200)
@given(st.binary(max_size=1500))
def test_any_bytes_are_a_payload_or_a_message_error(data):
    for raw in (data, gzip.compress(data, compresslevel=1)):
        with contextlib.suppress(MessageError):
            assert isinstance(wire.unpack(raw), bytes)


@pytest.mark.parametrize("name", ["a", "study-r001-A", "x" * 100, "a..b"])
def test_a_plain_job_name_passes(name):
    assert wire.check_job_name(name) == name


BAD_NAMES = ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "a\n", "a\0", "-x", "ä", "x" * 101]


@pytest.mark.parametrize("name", [*BAD_NAMES, "v1", "v22"])
def test_any_other_job_name_is_refused(name):
    assert code_of(wire.check_job_name, name) == "bad_name"


@pytest.mark.parametrize("inside", ["code/task.json", "run.sh", "config.yaml"])
def test_a_job_file_in_the_senders_own_inbox_passes(inside):
    job, path = wire.inbound_job_file(f"{INBOX}/job/{inside}", sender=ANN)
    assert (job, str(path)) == ("job", inside)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../keys/syft_keys.json",
        f"{INBOX}/../../other/v1/job/run.sh",
        f"{INBOX}/job/code/../../../x",
        f"{INBOX}//job/run.sh",
        f"./{INBOX}/job/run.sh",
        f"{INBOX}/job/run.sh/",
        "app_data/job/inbox/bob@institute.example/v1/job/run.sh",
        f"{REVIEW}/job/state.yaml",
        f"{INBOX}/job",
        f"{INBOX}/job/other.sh",
        f"{INBOX}/job/code",
        f"{INBOX}/job/code/deep/file",
        f"{INBOX}/job/code/.hidden",
        f"{INBOX}/job/code/a\nb",
        f"{INBOX}/job/syft.pub.yaml",
        f"{INBOX}/syft.pub.yaml",
        "syft.pub.yaml",
        "public/dura/card.json",
    ],
)
def test_any_other_path_of_a_sender_is_refused(path):
    assert code_of(wire.inbound_job_file, path, sender=ANN) == "bad_path"


@pytest.mark.parametrize("name", ["syft.pub.yaml", "SYFT.pub.yaml"])
def test_syfts_permission_file_cannot_be_a_job_or_its_code(name):
    assert code_of(wire.inbound_job_file, f"{INBOX}/job/code/{name}", sender=ANN) == "bad_path"
    assert code_of(wire.check_job_name, name) == "bad_name"


def test_a_state_and_an_output_of_the_recipients_job_pass():
    found = wire.inbound_result_file(f"{REVIEW}/job/state.yaml", recipient=ANN)
    assert found == ("job", "state.yaml")
    found = wire.inbound_result_file(f"{REVIEW}/job/outputs/weights.safetensors", recipient=ANN)
    assert found == ("job", "weights.safetensors")


@pytest.mark.parametrize(
    "path",
    [
        f"{INBOX}/job/run.sh",
        "app_data/job/review/bob@institute.example/v1/job/state.yaml",
        f"{REVIEW}/job/outputs/../../x",
        f"{REVIEW}/job/outputs/.partial",
        f"{REVIEW}/job/outputs",
        f"{REVIEW}/job/logs/stdout",
        "/state.yaml",
    ],
)
def test_any_other_path_of_a_site_is_refused(path):
    assert code_of(wire.inbound_result_file, path, recipient=ANN) == "bad_path"


@given(st.text(max_size=60))
def test_no_path_that_passes_leaves_the_senders_inbox(path):
    try:
        job, inside = wire.inbound_job_file(f"{INBOX}/{path}", sender=ANN)
    except MessageError:
        return
    assert f"{INBOX}/{job}/{inside}" == f"{INBOX}/{path}"
    assert not {"..", "", "."} & set(path.split("/"))

"""The writer: the shipped model on many facts, foreign and broken models, sources, determinism."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.reports.errors import WriterError
from models.reports.facts import CaseFacts, Facts, facts_sha256
from models.reports.language.layout import PROVENANCE
from models.reports.language.template import template_body
from models.reports.verify.verify import verify_report
from models.reports.writer.model_source import SHIPPED_MODEL, find_model
from models.reports.writer.writer import ReportWriter
from models.training_scripts import train_report_llama
from models.training_scripts.synthetic_facts import sample_case, sample_cohort

START, STOP, UNKNOWN = "<s>", "</s>", "<unk>"
MAX_TEMPLATE_SHARE = 0.05
"""Measured: see the model card. More means that model, language and verifier have drifted apart."""


def case(probabilities: dict[str, float], predicted: str) -> CaseFacts:
    return CaseFacts(
        hospital="Klinikum Süd 3",
        case_id="C-9",
        predicted=predicted,
        probabilities=probabilities,
        model_sha256="7" * 64,
        dataset_version="v1",
        epsilon=None,
        delta=0.0,
        privacy_unit="patient",
    )


EDGES: list[Facts] = [
    case({"glioma": 1.0, "meningioma": 0.0, "notumor": 0.0, "pituitary": 0.0}, "glioma"),
    case({"glioma": 0.25, "meningioma": 0.25, "notumor": 0.25, "pituitary": 0.25}, "notumor"),
    case({"glioma": 0.5, "meningioma": 0.5, "notumor": 0.0, "pituitary": 0.0}, "meningioma"),
    case({"glioma": 0.0, "pituitary": 0.9999, "notumor": 0.0001}, "pituitary"),
    case({"other": 0.6, "normal": 0.4}, "other"),
    case({"no_tumor": 0.34, "glioma": 0.33, "meningioma": 0.33}, "no_tumor"),
]


@pytest.fixture(scope="module")
def shipped() -> ReportWriter:
    return ReportWriter.load()


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random LLaMa with a tokenizer that knows nothing of references."""
    folder = tmp_path_factory.mktemp("foreign") / "tiny-random-llama"
    save_random_llama(folder, byte_level_tokenizer())
    return folder


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    texts = ["of {{p.1}}, {{predicted}}.\n\n The glioma 91.3 % in 12 of 340 cases is highest "] * 50
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>"],
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=START, eos_token=STOP)


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """Spaces as "▁", the first one dropped when a text is put together: LLaMa 2's way."""
    letters = [chr(code) for code in range(33, 127)]
    words = ["▁the", "▁The", "▁{{", "}}", "▁9", "▁glioma", "▁a", "▁scan"]
    vocabulary = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>", "▁", "\n", *letters, *words])}
    inner = Tokenizer(models.BPE(vocabulary, [], unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.decoder = decoders.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=START, eos_token=STOP, unk_token=UNKNOWN
    )


def save_random_llama(folder: Path, tokenizer: PreTrainedTokenizerFast, **config: Any) -> None:
    torch.manual_seed(0)
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 8192,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    LlamaForCausalLM(LlamaConfig(**{**settings, **config})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_every_report_on_varied_facts_passes_and_few_need_the_template(
    shipped: ReportWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(2)
    facts_list = [
        *EDGES,
        *(sample_case(rng) for _ in range(16)),
        *(sample_cohort(rng) for _ in range(8)),
    ]
    sources: Counter[str] = Counter()
    first = 0
    for index, facts in enumerate(facts_list):
        report = shipped.write(facts, seed=100 * index)
        verify_report(report, facts)
        sources[report.source] += 1
        first += report.attempts == 1 and report.source == "llama"
        assert report.text.endswith(f"{PROVENANCE[report.source]}\n")
        assert report.facts_sha256 == facts_sha256(facts)
    with capsys.disabled():
        print(f"\n{len(facts_list)} reports: {first} at the first draft, {dict(sources)}")
    assert sources["template"] <= MAX_TEMPLATE_SHARE * len(facts_list)


def test_the_same_seed_writes_the_same_report(shipped: ReportWriter) -> None:
    facts = EDGES[0]
    before = torch.random.get_rng_state()
    one, same = (shipped.write(facts, seed=5) for _ in range(2))
    other = shipped.write(facts, seed=6)
    assert one == same
    assert one.text != other.text
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_report_records_what_it_was_made_with(shipped: ReportWriter) -> None:
    report = shipped.write(EDGES[0], seed=5)
    assert report.model_id == "report_llama"
    assert report.model_sha256 == shipped.model_sha256
    assert {"hospital", "case_id", "model", "p.1", "privacy"} <= set(report.references)
    assert len(report.rejected) == report.attempts - 1


def test_no_attempts_means_the_template(shipped: ReportWriter) -> None:
    report = shipped.write(EDGES[0], seed=1, attempts=0)
    assert (report.source, report.attempts, report.rejected) == ("template", 0, ())


def test_more_classes_than_the_shipped_model_knows(shipped: ReportWriter) -> None:
    names = [f"kind_{letter}" for letter in "abcdefghijklm"]
    facts = case(dict.fromkeys(names, 1 / 13), names[0])
    report = shipped.write(facts, seed=1)
    assert (report.source, report.attempts) == ("template", 0)


def test_the_shipped_files_are_those_of_the_card() -> None:
    card = (SHIPPED_MODEL / "MODEL_CARD.md").read_text(encoding="utf-8")
    sha256 = hashlib.sha256((SHIPPED_MODEL / "model.safetensors").read_bytes()).hexdigest()
    assert f"`{sha256}`" in card
    assert {path.suffix for path in SHIPPED_MODEL.iterdir()} == {".safetensors", ".json", ".md"}
    assert sum(path.stat().st_size for path in SHIPPED_MODEL.iterdir()) <= 4 * 2**20


def test_the_shipped_model_never_saw_a_class_name_or_figure() -> None:
    tokenizer = Tokenizer.from_file(str(SHIPPED_MODEL / "tokenizer.json"))
    words = [token for token in tokenizer.get_vocab() if not token.startswith(("{{", "<"))]
    assert not [word for word in words if re.search(r"\d", word) and len(word) > 1]
    assert not [word for word in words if re.search("gliom|mening|pituit|tumo", word)]


def test_a_model_that_writes_nonsense_is_held_to_the_language(foreign: Path) -> None:
    writer = ReportWriter.load(foreign)
    assert writer.model_id == "tiny-random-llama"
    for facts in (EDGES[0], sample_cohort(random.Random(3))):
        report = writer.write(facts, seed=3)
        verify_report(report, facts)
        assert report.text.endswith(f"{PROVENANCE[report.source]}\n")


@pytest.mark.parametrize("attempts", [1, 2])
def test_drafts_that_fail_end_as_a_template_report(
    foreign: Path, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its constraints the writer's drafts are lies; verification alone stops them."""
    writer = ReportWriter.load(foreign)
    good = template_body(EDGES[0])
    for lie in ("The prognosis is poor.", "All will be well.", "It is {{class.2}}."):
        body = good.replace("\n\nLimits", f" {lie}\n\nLimits", 1)
        monkeypatch.setattr(writer, "_draft", lambda facts, seed, body=body: body)
        report = writer.write(EDGES[0], seed=3, attempts=attempts)
        verify_report(report, EDGES[0])
        assert report.source == "template"
        assert len(report.rejected) == report.attempts == attempts
        assert all(report.rejected)


@pytest.mark.parametrize("make", [byte_level_tokenizer, metaspace_tokenizer])
def test_constraints_hold_for_other_tokenizers(tmp_path: Path, make: Any) -> None:
    save_random_llama(tmp_path, make())
    writer = ReportWriter.load(tmp_path)
    drawn: list[str] = []
    keep = writer._continue

    def note(context: str, tracker: Any) -> None:
        keep(context, tracker)
        drawn.append(tracker.text)

    writer._continue = note  # type: ignore[method-assign]
    writer.write(EDGES[0], seed=1)
    assert len(drawn) >= 5
    assert any(drawn)
    for text in drawn:
        prose = re.sub(r"\{\{[a-z0-9_.]*\}?\}?", "", text)
        assert not re.search(r"[0-9%]|glioma", prose)


def test_a_chat_model_gets_system_and_user_and_no_date(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = (
        "{{ bos_token }}{% if date_string is not defined %}TODAY{% endif %}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    )
    save_random_llama(tmp_path, tokenizer)
    writer = ReportWriter.load(tmp_path)
    prompt = writer._prompt(EDGES[0])
    assert prompt.startswith("<s>[system]You write")
    assert "[user]Facts:" in prompt
    assert prompt.endswith("[assistant]")
    assert "TODAY" not in prompt
    report = writer.write(EDGES[0], seed=1, attempts=1)
    verify_report(report, EDGES[0])
    assert (report.source, report.attempts) == ("llama", 1)


def test_dtype_and_device(foreign: Path) -> None:
    writer = ReportWriter.load(foreign, dtype="bfloat16")
    assert writer._model.dtype == torch.bfloat16
    report = writer.write(EDGES[0], seed=1, attempts=1)
    verify_report(report, EDGES[0])
    for setting, message in (
        ({"dtype": "int8"}, "float16"),
        ({"device": "toaster"}, "is no device"),
        ({"device": "cuda:99"}, "is not here"),
    ):
        with pytest.raises(WriterError, match=message):
            ReportWriter.load(foreign, **setting)
    assert ReportWriter.load(str(foreign))._model.dtype == torch.float32
    assert ReportWriter.load()._model.dtype == torch.float32


def test_a_short_context_is_refused(tmp_path: Path) -> None:
    save_random_llama(tmp_path, byte_level_tokenizer(), max_position_embeddings=64)
    with pytest.raises(WriterError, match="longer context"):
        ReportWriter.load(tmp_path).write(EDGES[0], seed=1)


def test_a_context_that_just_holds_the_prompt_is_used_up(tmp_path: Path) -> None:
    save_random_llama(tmp_path, byte_level_tokenizer())
    writer = ReportWriter.load(tmp_path)
    wide = writer._settings(100, 400).max_new_tokens
    writer._model.config.max_position_embeddings = 110
    assert (writer._settings(100, 400).max_new_tokens, wide) == (10, 400)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    save_random_llama(tmp_path, tokenizer)
    writer = ReportWriter.load(tmp_path)
    with torch.no_grad():
        writer._model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(WriterError, match="not finite"):
        writer.write(EDGES[0], seed=1)


def copy_of(foreign: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(foreign, tmp_path / "copy"))


def test_damaged_folders_are_refused(foreign: Path, tmp_path: Path) -> None:
    folder = copy_of(foreign, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(WriterError, match="cannot be loaded"):
        ReportWriter.load(folder)
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(WriterError, match="no safetensors"):
        ReportWriter.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(WriterError, match=r"no config\.json"):
        ReportWriter.load(folder)


def test_missing_weights_are_not_made_up(foreign: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copy_of(foreign, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WriterError, match="lacks weights"):
        ReportWriter.load(folder)


@pytest.mark.parametrize(
    "source", ["no such thing", "../up", "a/b/c", "https://x/y", Path("nowhere")]
)
def test_what_is_neither_folder_nor_hub_id_is_refused(source: str | Path) -> None:
    with pytest.raises(WriterError, match="neither a folder nor a Hub id"):
        find_model(source)


def test_a_hub_id_is_found_in_the_cache(foreign: Path, tmp_path: Path) -> None:
    commit = "a" * 40
    home = tmp_path / "models--someone--tiny-llama"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    shutil.copytree(foreign, home / "snapshots" / commit)
    writer = ReportWriter.load("someone/tiny-llama", cache_dir=tmp_path, offline=True)
    assert writer.model_id == "someone/tiny-llama"
    assert writer.model_sha256 == ReportWriter.load(foreign).model_sha256


def test_a_hub_id_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WriterError, match="could not be fetched"):
        find_model("someone/tiny-llama", cache_dir=tmp_path, offline=True)


def test_the_training_script_makes_a_model_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_report_llama.main(["--quick", "--out", str(tmp_path)])
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    sha256 = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert f"`{sha256}`" in card
    assert "0 final texts failed" in card
    assert ReportWriter.load(tmp_path).write(EDGES[0], seed=1, attempts=1).text
    assert "reports=" in capsys.readouterr().out


def test_a_quick_run_does_not_overwrite_the_shipped_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        train_report_llama.main(["--quick"])
    assert "would overwrite" in capsys.readouterr().err


def test_verifying_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; import models.reports.verify.verify, models.reports.language.template;"
        "import models.reports.report, models.reports.writer.prompt;"
        "print(sorted({'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"

"""Writes a report with a LLaMa: constrained draft, values filled in, verified, or a template.

The language model writes prose with symbolic references (SymGen: Hennigen et al. 2023, "Towards
Verifiable Text Generation with Symbolic References", arXiv 2311.09188). In this order:

1. the prompt is built from the facts alone;
2. each next token is one that `models.reports.language.automaton` admits: it goes on with a
sentence of the
   report language that these facts allow here, with references that exist, no digit, no class name;
3. values are filled in (`models.reports.language.rendering`), header and provenance added;
4. `models.reports.verify.verify` checks the text. A draft that fails is drawn again, with the next
seed, up to
   `attempts` times; then `models.reports.language.template` writes the body and the report says so.

So no unverified text ever leaves `write`. Any causal model in transformers' form will do, from a
folder or the Hub, safetensors only, without running code that came with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from models.reports.errors import ReportCheckError, WriterError
from models.reports.facts import Facts, facts_sha256
from models.reports.language import Automaton, Source, compose, render, sections, template_body
from models.reports.report import Report
from models.reports.verify import verify_report
from models.reports.writer.llm import (
    Follow,
    OnlyAdmitted,
    end_tokens,
    load_files,
    number_type,
    token_texts,
    usable_device,
)
from models.reports.writer.model_source import files_sha256, find_model
from models.reports.writer.prompt import COMPACT_CLASSES, build_prompt, chat_messages
from models.reports.writer.tokens import TokenTable, Tracker

__all__ = ["Report", "ReportWriter"]

_TEMPERATURE: Final = 0.6
_TOP_P: Final = 0.9


class ReportWriter:
    """A loaded language model that writes reports.

    Use `ReportWriter.load`. Not to be shared between threads: a draft draws from torch's
    generator, whose state is put back afterwards.

    Attributes:
        model_id: how the model is named in reports.
        model_sha256: SHA-256 over its weight files.
    """

    def __init__(self, model: Any, tokenizer: Any, *, model_id: str, model_sha256: str) -> None:
        self.model_id = model_id
        self.model_sha256 = model_sha256
        self._model = model
        self._tokenizer = tokenizer
        self._compact = getattr(model.config, "dura_prompt", None) == "compact"
        self._ends = end_tokens(model, tokenizer)
        self._table = TokenTable(token_texts(tokenizer, model.config.vocab_size))

    @classmethod
    def load(
        cls,
        source: str | Path | None = None,
        *,
        device: str = "cpu",
        dtype: str = "auto",
        revision: str | None = None,
        cache_dir: Path | None = None,
        offline: bool = False,
    ) -> ReportWriter:
        """Load a model and its tokenizer.

        Args:
            source: None for the shipped model, a folder, or a Hub id ("owner/name").
            device: where it runs, "cpu", "cuda" or "cuda:N".
            dtype: number type of the weights, "float32", "bfloat16" or "float16"; "auto" for
                float32 on a CPU, else the file's own.
            revision: branch, tag or commit of a Hub id.
            cache_dir: where the Hub's files are kept.
            offline: take a Hub id from `cache_dir` only.

        Raises:
            WriterError: there is no such model, or it cannot be loaded safely.
        """
        found = find_model(source, revision=revision, cache_dir=cache_dir, offline=offline)
        where = usable_device(device)
        model, tokenizer = load_files(found, number_type(dtype, where))
        return cls(
            model.to(where).eval(),
            tokenizer,
            model_id=found.model_id,
            model_sha256=files_sha256(found),
        )

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return int(self._model.num_parameters())

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return int(self._model.config.vocab_size)

    def write(self, facts: Facts, *, seed: int, attempts: int = 3) -> Report:
        """Write a verified report.

        Args:
            facts: what may be said.
            seed: of the first draft; draft n is drawn with `seed + n`.
            attempts: drafts before the template writes; 0 for the template at once.

        Raises:
            ReportCheckError: the template itself failed, which is a defect of this release.
        """
        rejected: list[str] = []
        for attempt in range(attempts if self._covers(facts) else 0):
            body = self._draft(facts, seed + attempt)
            if body is None:
                rejected.append("unfinished")
                continue
            try:
                return self._finish(facts, body, seed=seed, rejected=rejected)
            except ReportCheckError as error:
                rejected.append(", ".join(sorted({found.kind for found in error.findings})))
        return self._finish(facts, None, seed=seed, rejected=rejected)

    def _finish(self, facts: Facts, body: str | None, *, seed: int, rejected: list[str]) -> Report:
        """Fill in, verify and record a body; None for the template's."""
        source: Source = "template" if body is None else "llama"
        draft = compose(facts, template_body(facts) if body is None else body, source)
        rendered = render(draft, facts)
        report = Report(
            kind=facts.kind,
            text=rendered.text,
            source=source,
            attempts=len(rejected) + (body is not None),
            rejected=tuple(rejected),
            seed=seed,
            model_id=self.model_id,
            model_sha256=self.model_sha256,
            facts_sha256=facts_sha256(facts),
            references=rendered.used,
        )
        verify_report(report, facts)
        return report

    def _covers(self, facts: Facts) -> bool:
        """The shipped model has no words for the thirteenth class."""
        return not self._compact or len(facts.ranked) <= COMPACT_CLASSES

    def _draft(self, facts: Facts, seed: int) -> str | None:
        """One body, drawn section by section; None where the model did not finish a section."""
        prompt, body = self._prompt(facts), ""
        with torch.no_grad(), torch.random.fork_rng(devices=_devices(self._model.device)):
            torch.manual_seed(seed)
            for section in sections(facts):
                # The shipped model was trained on sections, others do better with all before it.
                before = prompt if self._compact else prompt + body
                tracker = Tracker(Automaton(section), self._table)
                self._continue(before + section.opening, tracker)
                if not tracker.finished:
                    return None
                body += f"{section.opening}{tracker.text.rstrip()}\n\n"
        return body

    def _continue(self, context: str, tracker: Tracker) -> None:
        """Let the model go on after a context, within what the tracker admits."""
        ids = self._tokenizer(context, add_special_tokens=self._adds_special)["input_ids"]
        prompt = torch.tensor([ids], dtype=torch.int64, device=self._model.device)
        self._model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=self._settings(prompt.shape[1], tracker.automaton.longest),
            logits_processor=LogitsProcessorList([OnlyAdmitted(tracker, self._ends)]),
            stopping_criteria=StoppingCriteriaList([Follow(tracker, self._ends)]),
        )

    def _prompt(self, facts: Facts) -> str:
        """What stands before the body, in the dialect of the model."""
        if self._compact:
            return build_prompt(facts, "compact")
        if not self._tokenizer.chat_template:
            return build_prompt(facts, "text")
        turns = [{"role": turn.role, "content": turn.content} for turn in chat_messages(facts)]
        # LLaMa's templates tell the day unless told otherwise; the day is not in the facts.
        prompt: str = self._tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, date_string=""
        )
        return prompt

    @property
    def _adds_special(self) -> bool:
        """Whether the tokenizer must add what starts a text; templates bring it along."""
        return not self._compact and not self._tokenizer.chat_template

    def _settings(self, prompt_tokens: int, characters: int) -> GenerationConfig:
        """Sampling settings; what a model's own files ask for is set back.

        A token holds a character at least, so a section ends within its greatest length.
        """
        wanted = characters
        room = getattr(self._model.config, "max_position_embeddings", None)
        if room is not None and room < prompt_tokens + wanted:
            wanted = room - prompt_tokens
        if wanted < 1:
            raise WriterError(
                f"model {self.model_id!r} reads {room} tokens and the prompt has {prompt_tokens}; "
                f"use a model with a longer context"
            )
        return GenerationConfig(
            do_sample=True,
            temperature=_TEMPERATURE,
            top_p=_TOP_P,
            top_k=0,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            max_new_tokens=wanted,
            eos_token_id=list(self._ends) or None,
            pad_token_id=self._ends[0] if self._ends else 0,
        )


def _devices(device: torch.device) -> list[int]:
    """The accelerators whose generators a draft will move."""
    return [device.index or 0] if device.type == "cuda" else []

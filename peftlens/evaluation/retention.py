"""Retention of general abilities: scores of a base model and of its tuned versions on suites.

A suite is the test split of a task, or a task of lm-evaluation-harness, which the harness scores
itself. A text is scored by the loss of its tokens, of an encoder that of masked ones, and by the
distance of the tuned model's predictions from the base's, KL(base || tuned); a question by the
answer with the highest log-probability. The base's scores are computed once per base and suite, and
cached on disk under a hash of everything they depend on.

Of a text the first tokens are scored, up to MAX_LENGTH: tokens of one text are correlated, so the
tokens of other texts say more than further ones of the same. An item of an interval is a text.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.data.collate import Collator, scoring_batches
from peftlens.data.task import Kind
from peftlens.data.tokenization import TokenizedExample
from peftlens.errors import InputError
from peftlens.evaluation.harness_suite import PREFIX, HarnessSuite, harness_suite
from peftlens.evaluation.log_likelihood import answer_states, choose
from peftlens.evaluation.model_divergence import kl_of_logits
from peftlens.evaluation.pseudo_log_likelihood import MaskedSuite, masked_suites
from peftlens.evaluation.token_chunks import token_loss
from peftlens.io.files import cache_dir, canonical_json, sha256_text
from peftlens.io.progress import track
from peftlens.io.tensor_cache import cached_tensors
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import draw_head
from peftlens.models.model_kind import HAS_HEAD, NotLanguageModelError
from peftlens.models.snapshot import restored_after
from peftlens.results.table import NotApplicable
from peftlens.runs.run import versions
from peftlens.tasks import load_task

SUITES = ("passages", "piqa", "openbookqa", "commonsenseqa")
QUICK_SUITES = ("passages_short", "piqa", "openbookqa", "commonsenseqa")
MAX_LENGTH = 256  # tokens per text, and per prompt with its answer
_VERSION = 3  # version of the cached files


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """Options of the probes that score retention suites.

    Attributes:
        suites: names of tasks with a test split: built in, file:PATH or hub:org/name; or
            lm_eval:TASK, a task of lm-evaluation-harness.
        items: maximum number of questions per suite, in the random order of its split, or of the
            first documents of a harness's task; 0 for all. Texts are scored all: for a quick look
            there is the suite passages_short.
        suite_options: options of a suite's task by name, such as the columns of a file, or metric,
            include_path and batch_size of a harness's task.
    """

    suites: tuple[str, ...] = SUITES
    items: int = 150
    suite_options: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """Tokenized test split of a task, for scoring base and tuned models.

    Attributes:
        name: name of the task, as in the configuration.
        kind: kind of the task: texts (language_modeling), or questions with candidate answers.
        items: tokenized examples.
        sha256: hash of the data and of the number of items.
    """

    name: str
    kind: Kind
    items: tuple[TokenizedExample, ...]
    sha256: str

    @property
    def texts(self) -> bool:
        """True if the suite consists of texts and not of questions."""
        return self.kind == "language_modeling"


AnySuite = Suite | HarnessSuite | MaskedSuite


@dataclass(frozen=True)
class Scores:
    """Scores of a model on the n items of a suite.

    Attributes:
        loss: loss of a text, summed over its tokens, or of a question's right answer, per token;
            nats, shape (n,); NaN for documents of the harness.
        tokens: number of tokens in the sum of the loss; 1 for a question; shape (n,).
        right: 1 if the answer with the highest log-probability is right, else 0; for documents of
            the harness their score; shape (n,); None for texts.
        right_per_byte: like `right`, by log-probability per byte of the answer; None for documents
            of the harness.
        token_loss: loss of every token of the texts, in their order, nats, shape (t,); None for
            questions.
        kl: KL(base || tuned) of a text, summed over its tokens, nats, shape (n,); None for
            questions, and if the base's logits depend on more than its head's weight and bias.
    """

    loss: NDArray[np.float64]
    tokens: NDArray[np.int64]
    right: NDArray[np.float64] | None = None
    right_per_byte: NDArray[np.float64] | None = None
    token_loss: NDArray[np.float64] | None = None
    kl: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Reference:
    """Scores of the base, with the tensors that reproduce its predictions for the suite's texts.

    Attributes:
        scores: scores of the base.
        states: head input for every token, shape (t, d); None for questions.
        head: weight (V, d), and bias (V,) or None, of the base's head; None for questions, and if
            the logits depend on more than these.
    """

    scores: Scores
    states: torch.Tensor | None = None
    head: tuple[torch.Tensor, torch.Tensor | None] | None = None


def suite(base: BaseModel, name: str, options: dict[str, Any], max_items: int | None) -> Suite:
    """Tokenize the test split of a task, or its first items in the random order of the split.

    Args:
        base: base model with the tokenizer.
        name: name of a task, file:PATH or hub:org/name.
        options: options of the task.
        max_items: maximum number of items; None for all.

    Raises:
        InputError: the task does not exist, or none of its items can be scored.
    """
    task = load_task(name, options)
    if task.kind in ("chat", "generation"):
        raise InputError(
            f"retention suite {name!r} has neither texts nor candidate answers; give another, such "
            "as passages_short or openbookqa"
        )
    encoder = Collator.of(base, MAX_LENGTH)
    items, reasons = [], Counter()
    for example in task.splits["test"][:max_items]:
        try:
            tokenized, skipped = encoder.items([example])
        except NotLanguageModelError:
            raise
        except InputError as error:  # only this item's answer exceeds the model's context
            tokenized, skipped = [], {str(error): 1}
        items += tokenized
        reasons.update(skipped)
    if not items:
        raise InputError(
            f"retention suite {name!r} has no item that can be scored: {dict(reasons)}"
        )
    return Suite(name, task.kind, tuple(items), sha256_text(f"{task.sha256} {max_items}"))


def suites(base: BaseModel, options: SuiteOptions) -> list[AnySuite]:
    """Prepare suites: of texts as a whole, and of questions up to the number in the options.

    Of an encoder only texts are scored.

    Raises:
        InputError: see `suite`, `masked_suites` and `harness_suite`.
        NotApplicable: the base has a head for a task, or is an encoder and predicts no masked
            tokens, or no suite has texts for it.
    """
    if base.kind == "encoder":
        return [*masked_suites(base, options.suites, options.suite_options, MAX_LENGTH)]
    if base.head:
        raise NotApplicable(f"{HAS_HEAD}; measure linear_probes")
    found: list[AnySuite] = []
    for name in options.suites:
        own = options.suite_options.get(name, {})
        if name.startswith(PREFIX):
            found.append(harness_suite(name, own, options.items))
            continue
        texts = load_task(name, own).kind == "language_modeling"
        found.append(suite(base, name, own, None if texts else options.items or None))
    return found


def reference(base: BaseModel, suite_data: AnySuite, head_seed: int = 0) -> Reference:
    """Load the base's scores from disk, or compute them without any adapter attached.

    Args:
        base: base model.
        suite_data: suite to score.
        head_seed: seed by which the base's new head is drawn, where it has one.
    """
    file = cache_dir("retention") / f"{_key(base, suite_data, head_seed)}.safetensors"

    def make() -> bytes:
        with restored_after(base.model) as model:
            draw_head(model, head_seed)
            return safetensors.torch.save(_reference(model, base, suite_data))

    tensors = {
        name: tensor.to(base.device)
        for name, tensor in cached_tensors(file, make, safetensors.torch.load).items()
    }
    fields = {name: tensor.cpu().numpy() for name, tensor in tensors.items()
              if name in Scores.__dataclass_fields__}  # fmt: skip
    head = output_head(base.model) if "plain_head" in tensors else None
    return Reference(Scores(**fields), tensors.get("states"), head)


def _key(base: BaseModel, suite_data: AnySuite, head_seed: int = 0) -> str:
    inputs = {
        "base": base.sha256,
        "device": base.device,
        "dtype": base.dtype,
        "threads": torch.get_num_threads(),  # their number affects rounding
        "suite": suite_data.sha256,
        "versions": versions(),
        "version": _VERSION,
        "max_length": Collator.of_states(base, MAX_LENGTH).example_tokenizer.max_length,
    }
    if base.head:
        inputs["head"] = [asdict(base.head), head_seed]
    return sha256_text(canonical_json(inputs))[:32]


def _reference(model: nn.Module, base: BaseModel, suite_data: AnySuite) -> dict[str, torch.Tensor]:
    if isinstance(suite_data, HarnessSuite):
        return _tensors(_document_scores(model, base, suite_data))
    if isinstance(suite_data, MaskedSuite):
        of_masked = suite_data.states(model, base, MAX_LENGTH)  # (t, d)
        return _tensors(_masked_scores(suite_data, of_masked)) | {"states": of_masked.cpu()}
    description = f"Scoring the base on {suite_data.name}"
    encoder = Collator.of(base, MAX_LENGTH)
    if not suite_data.texts:
        return _tensors(_question_scores(model, encoder, suite_data, description))
    states: list[torch.Tensor | None] = [None] * len(suite_data.items)
    losses: list[Any] = [None] * len(suite_data.items)
    head, plain = output_head(model), True
    for batch in _text_batches(model, encoder, suite_data, description):
        logits = nn.functional.linear(batch.states, *head).float() if head else None  # (t, V)
        plain = (
            plain and logits is not None and torch.allclose(logits, batch.logits.float(), atol=1e-3)
        )
        for item, item_states in batch.split(batch.states):
            states[item] = item_states
        for item, item_loss in batch.split(batch.loss):
            losses[item] = item_loss
    tensors = _tensors(_text_scores(losses))
    tensors["states"] = torch.cat([one for one in states if one is not None]).cpu()  # (t, d)
    return tensors | ({"plain_head": torch.ones(1)} if plain else {})


def output_head(model: Any) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Return the output head's weight (V, d) and bias, which no method modifies in place.

    None if the head is no linear layer.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        return None
    return head.weight.data, None if head.bias is None else head.bias.data


def scores(model: nn.Module, base: BaseModel, suite_data: AnySuite, baseline: Reference) -> Scores:
    """Score a tuned model on a suite.

    Args:
        model: tuned model, with its adapter attached.
        base: base model of the tuned model.
        suite_data: suite to score.
        baseline: scores of the base, for the distance from its predictions.
    """
    if isinstance(suite_data, HarnessSuite):
        return _document_scores(model, base, suite_data)
    if isinstance(suite_data, MaskedSuite):
        states = suite_data.states(model, base, MAX_LENGTH)  # (t, d)
        return _masked_scores(suite_data, states, baseline.states)
    description, encoder = f"Scoring {suite_data.name}", Collator.of(base, MAX_LENGTH)
    if baseline.states is None:
        return _question_scores(model, encoder, suite_data, description)
    losses: list[Any] = [None] * len(suite_data.items)
    kl = np.zeros(len(suite_data.items))
    states = baseline.states.split([item.rows[0].scored for item in suite_data.items])
    for batch in _text_batches(model, encoder, suite_data, description):
        for item, item_loss in batch.split(batch.loss):
            losses[item] = item_loss
        if baseline.head is not None:
            # the same batches as for the base, so that equal models have equal rounding
            base_states = torch.cat([states[i] for i in batch.items])  # (tokens, d)
            base_logits = nn.functional.linear(base_states, *baseline.head)  # (t, V)
            for item, item_kl in batch.split(kl_of_logits(base_logits, batch.logits)):
                kl[item] = item_kl.sum().item()
    return replace(_text_scores(losses), kl=None if baseline.head is None else kl)


def unchanged_scores(suite_data: AnySuite, baseline: Reference) -> Scores:
    """Return what `scores` would give for the base itself."""
    has_kl = isinstance(suite_data, MaskedSuite) or baseline.head is not None
    return replace(baseline.scores, kl=np.zeros(len(baseline.scores.tokens)) if has_kl else None)


@dataclass(frozen=True)
class _TextBatch:
    """Scored batch of texts.

    Attributes:
        items: indices of the items.
        lengths: number of scored tokens per item.
        states: head input per token, shape (tokens, d).
        logits: logits per token, shape (tokens, V).
        loss: loss per token, nats, shape (tokens,).
    """

    items: list[int]
    lengths: list[int]
    states: torch.Tensor
    logits: torch.Tensor
    loss: torch.Tensor

    def split(self, values: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield each item's index with its tokens' values."""
        yield from zip(self.items, values.split(self.lengths), strict=True)


@torch.inference_mode()
def _text_batches(
    model: nn.Module, encoder: Collator, suite_data: Suite, description: str
) -> Iterator[_TextBatch]:
    rows = [item.rows[0] for item in suite_data.items]
    for indices in track(list(scoring_batches(rows, encoder.at_once)), description):
        batch = encoder.batch([rows[index] for index in indices])
        states, logits = answer_states(model, batch)
        loss = token_loss(logits, batch.targets)
        yield _TextBatch(indices, [rows[i].scored for i in indices], states, logits, loss)


def _text_scores(losses: list[torch.Tensor]) -> Scores:
    arrays = [loss.cpu().double().numpy() for loss in losses]  # (tokens of the text,) each
    return Scores(
        loss=np.array([loss.sum() for loss in arrays]),
        tokens=np.array([len(loss) for loss in arrays]),
        token_loss=np.concatenate(arrays),
    )


def _masked_scores(
    suite_data: MaskedSuite, states: torch.Tensor, before: torch.Tensor | None = None
) -> Scores:
    """Score by the states (t, d) at the masked tokens, and by the base's."""
    scored = _text_scores(list(suite_data.loss(states).split(suite_data.lengths)))
    if before is None:
        return scored
    kl = suite_data.divergence(before, states).double().cpu().split(suite_data.lengths)
    return replace(scored, kl=np.array([one.sum().item() for one in kl]))


def _question_scores(
    model: nn.Module, encoder: Collator, suite_data: Suite, description: str
) -> Scores:
    choices = choose(model, encoder, suite_data.items, description)
    return Scores(
        loss=choices.loss,
        tokens=np.ones(len(choices.loss), np.int64),
        right=(choices.by_sum == choices.correct).astype(float),
        right_per_byte=(choices.by_byte == choices.correct).astype(float),
    )


def _document_scores(model: nn.Module, base: BaseModel, suite_data: HarnessSuite) -> Scores:
    right = suite_data.scores(model, base.tokenizer)
    n = len(right)
    return Scores(loss=np.full(n, np.nan), tokens=np.ones(n, np.int64), right=right)


def _tensors(scored: Scores) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(values)
        for name, values in asdict(scored).items()
        if values is not None
    }

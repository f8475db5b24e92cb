from types import SimpleNamespace

import numpy as np
import pytest
import torch

from peftlens.adapters.external import ExternalAdapter
from peftlens.diffing import text_sources
from peftlens.diffing.activation_differences import texts_read
from peftlens.diffing.hidden_states import mean_states
from peftlens.errors import InputError
from peftlens.probes import activation_difference, patchscope
from peftlens.probes.activation_difference import Config, measure
from peftlens.results.table import NotApplicable

FEW = Config(items=6, random_updates=2)


def test_sizes_are_those_of_the_mean_states(context, lora, tmp_path):
    file = tmp_path / "own.txt"
    file.write_text("my own line of text\n")
    frame = measure(context, lora, Config(items=6, random_updates=2, texts=str(file)))
    assert frame.groupby("text").size().to_dict() == {"general": 3, "task": 3, "own": 3}
    assert frame["p"].isna().all()  # no token is a word
    base = context.base_model(lora)
    for kind, rows in texts_read(lora, base, items=6, positions=5, own=str(file)).items():
        before, n = mean_states(base.model, base, rows)
        with context.open_run(lora) as model:
            after, _ = mean_states(model, base, rows)
        own = frame[frame["text"] == kind]
        np.testing.assert_allclose(own["norm"], (after - before).norm(dim=1), rtol=1e-4)
        assert set(own["n_positions"]) == {n}
    np.testing.assert_allclose(frame["relative_norm"], frame["norm"] / frame["stream_norm"])
    general = frame["text"] == "general"
    assert (frame.loc[general, "random_relative_norm"] > 0).all()
    assert frame.loc[~general, ["random_relative_norm", "random_larger"]].isna().all(axis=None)
    larger = frame["random_larger"][general]
    assert set(larger) <= {0, 0.5, 1}
    # the mean of two is less than the own size where neither is larger
    assert (frame["random_relative_norm"] < frame["relative_norm"])[general][larger == 0].all()
    assert set(frame["random_updates"]) == {2}


def test_raised_tokens_are_those_of_norm_and_head(context, full):
    frame = measure(context, full, FEW)
    base = context.base_model(full)
    rows = texts_read(full, base, items=6, positions=5)["general"]
    before, _ = mean_states(base.model, base, rows)
    with context.open_run(full) as model:
        after, _ = mean_states(model, base, rows)
    delta = (after - before)[-1].float()
    with torch.inference_mode():
        logits = base.model.lm_head(base.model.model.norm(delta))
    last = frame[(frame["text"] == "general") & (frame["layer"] == 3)].iloc[0]
    order = base.tokenizer.convert_ids_to_tokens(logits.argsort(descending=True).tolist())
    shown = [token for token in last["raised"] if token.isalpha() and token.isascii()]
    assert shown
    assert shown == [token for token in order if token in shown]
    assert len(last["raised"]) == len(last["lowered"]) == 20


def test_adapters_of_other_programs_and_bad_options(context, trained):
    prompt = ExternalAdapter(trained("prompt_tuning", num_virtual_tokens=2).adapter())
    frame = measure(context, prompt, FEW)
    assert set(frame["text"]) == {"general"}
    assert frame["random_found"].isna().all()  # its start is unknown
    assert set(frame["random_updates"]) == {0}
    for options in ({"items": 0}, {"positions": 0}, {"random_updates": -1}):
        with pytest.raises(InputError, match=next(iter(options))):
            measure(context, prompt, Config(**options))


@pytest.mark.parametrize("probe", [activation_difference, patchscope])
def test_an_encoder_decoder_and_an_unchanged_base_are_left_out(context, probe, bases, trained):
    lora = trained("lora", rank=2)
    config = lora.config.model_copy(update={"base_model": str(bases["t5"])})
    t5 = SimpleNamespace(config=config, record=lora.record)
    with pytest.raises(NotApplicable, match="encoder-decoder"):
        probe.measure(context, t5, probe.Config())
    with pytest.raises(NotApplicable, match="the base's own"):
        probe.measure(context, trained("frozen"), probe.Config(items=6, random_updates=1))


def test_words_are_known_where_the_vocabulary_and_the_text_are(llama, lora):
    assert text_sources.known_word_scores(lora, llama, "") is None  # bytes
    unknown = SimpleNamespace(task=None)
    assert text_sources.known_word_scores(unknown, llama, "") is None

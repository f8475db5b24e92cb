import numpy as np
import pandas as pd
import pytest

from peftlens.claims import off_vocabulary

START = "prompt_tuning init=vocabulary"


def prompts(
    configuration=START, similarity=0.5, random=0.62, gap=0.5, runs=6, noise=0.005, rng=None
):
    """Rows of both tables for prompts of one configuration, one per seed, of four vectors each."""
    rng = rng or np.random.default_rng(0)
    near, loss = [], []
    for seed in range(runs):
        own = {"run": f"{configuration} {seed}", "configuration": configuration, "seed": seed}
        shift = rng.normal(0, noise)
        for metric in ("cosine", "dot"):
            near += [
                own | {"step": step, "metric": metric, "space": "embedding", "kind": "soft prompt",
                       "similarity": 1.0 if step == 0 else similarity + shift,
                       "random_step_similarity": 1.0 if step == 0 else random}
                for step in (0, 9) for _ in range(4)
            ]  # fmt: skip
        at_tokens = gap + rng.normal(0, noise)
        loss += [
            own | {"prompt": prompt, "gap": value, "gap_ci_low": value - 0.02,
                   "gap_ci_high": value + 0.02}
            for prompt, value in (("trained", 0.0), ("nearest tokens (cosine)", at_tokens))
        ]  # fmt: skip
    return {"soft_prompt_neighbors": pd.DataFrame(near),
            "soft_prompt_faithfulness": pd.DataFrame(loss)}  # fmt: skip


def both(one, other):
    return {name: pd.concat([one[name], other[name]]) for name in one}


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, "supported"),
        ({"similarity": 0.62}, "contradicted"),  # as far as any vector that moved as much
        ({"similarity": 0.98}, "contradicted"),  # at tokens
        ({"similarity": 0.55, "random": 0.6}, "insufficient evidence"),  # at the margin
        ({"similarity": 0.15, "random": 0.15}, "contradicted"),  # a random vector
        ({"gap": 0.0}, "contradicted"),  # the tokens do what the prompt does
        ({"runs": 2}, "insufficient evidence"),
    ],
)
def test_every_outcome(changed, outcome):
    assert off_vocabulary.verdict(prompts(**changed))[0] == outcome


def test_the_sentence_has_the_numbers():
    _, sentence = off_vocabulary.verdict(prompts())
    assert (
        "yes for prompt_tuning init=vocabulary (cosine to the nearest token 0.50, after random"
        in (sentence)
    )
    assert "random steps 0.62: lower by 0.12 (0.1" in sentence
    assert "the tokens cost 0.50 (0.4" in sentence
    assert "nats per token; 6 runs)" in sentence
    _, sentence = off_vocabulary.verdict(prompts(similarity=0.74))
    assert "0.74, after random steps 0.62: higher by 0.12 (0.1" in sentence


def test_every_configuration_must_be_off():
    other = prompts("prompt_tuning init=random", similarity=0.15, random=0.15)
    found, sentence = off_vocabulary.verdict(both(prompts(), other))
    assert found == "contradicted"
    assert "no for prompt_tuning init=random" in sentence


def test_the_cost_has_the_variance_over_examples():
    """Prompts that agree are no certainty where the examples vary."""
    tables = prompts(gap=0.15)
    assert off_vocabulary.verdict(tables)[0] == "supported"
    tables["soft_prompt_faithfulness"]["gap_ci_low"] -= 0.2
    tables["soft_prompt_faithfulness"]["gap_ci_high"] += 0.2
    assert off_vocabulary.verdict(tables)[0] == "insufficient evidence"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda frame: frame[frame["step"] == 0], "No prompt was trained."),
        (lambda frame: frame.assign(space="keys of layer 0"), "No prompt was trained."),
        (lambda frame: frame.assign(kind="embedding rows"), "No prompt was trained."),
        (lambda frame: frame.drop(columns="random_step_similarity"), "The table has no random"),
        (lambda frame: frame.assign(random_step_similarity=None), "Of no prompt the start"),
    ],
)
def test_what_is_missing_is_not_measured(change, sentence):
    tables = prompts()
    tables["soft_prompt_neighbors"] = change(tables["soft_prompt_neighbors"])
    found, message = off_vocabulary.verdict(tables)
    assert found == "not measured"
    assert message.startswith(sentence)


def test_decisions_in_simulated_studies():
    rng = np.random.default_rng(0)

    def shares(similarity, studies=200):
        found = [
            off_vocabulary.verdict(
                prompts(similarity=similarity, random=0.6, runs=5, noise=0.02, rng=rng)
            )[0]
            for _ in range(studies)
        ]
        return [found.count(name) / studies for name in ("supported", "contradicted")]

    assert shares(0.48, 30)[0] >= 0.9
    assert shares(0.6, 30)[1] >= 0.7
    assert max(shares(0.55)) <= 0.05

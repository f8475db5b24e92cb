import pytest
import simulated_studies as simulated

from peftlens.claims.soft_prompt_gap import verdict

PROMPT = "prompt_tuning num_virtual_tokens=20"


def tables(gap, prompt=PROMPT, **options):
    return simulated.charts({"lora": 0.7 + gap, prompt: 0.7}, **({"items": 1500} | options))


@pytest.mark.parametrize(
    ("gap", "outcome"),
    [
        (0.06, "supported"),
        (0.02, "insufficient evidence"),
        (0.0, "contradicted"),
        (-0.05, "contradicted"),
    ],
)
def test_two_points_decide(gap, outcome):
    assert verdict(tables(gap, seed_sd=0.002))[0] == outcome


def test_prompts_may_have_more_steps_and_the_sentence_says_so():
    found, sentence, _ = verdict(tables(0.06, f"{PROMPT} max_steps=3000"))
    assert found == "supported"
    assert "after 100 steps" in sentence
    assert "after 3000 steps" in sentence


def test_a_large_base_is_not_what_the_claim_is_about():
    one = tables(0.06)
    one["base_parameters"]["parameters"] *= 10
    assert verdict(one)[:2] == (
        "not measured", "The base has 1.3 billion parameters, and is not small.",
    )  # fmt: skip


@pytest.mark.parametrize("prompt", ["bottleneck", f"{PROMPT} batch_size=16"])
def test_what_was_not_trained_alike_is_not_compared(prompt):
    assert verdict(tables(0.06, prompt))[0] == "not measured"


def test_the_longest_that_validates_best_counts():
    one = simulated.charts(
        {"lora": 0.8, "prompt_tuning num_virtual_tokens=5": 0.5, PROMPT: 0.8}, items=1500,
        seed_sd=0.002,
    )  # fmt: skip
    assert verdict(one)[0] == "contradicted"


@pytest.mark.parametrize("name", ["lora", PROMPT])
def test_a_best_rate_at_the_edge_decides_nothing(name):
    assert verdict(tables(0.1, at_edge=[name]))[0] == "insufficient evidence"


def test_other_seeds_are_not_compared():
    one = tables(0.1)
    one["paired_accuracy"] = one["paired_accuracy"].iloc[:0]
    assert verdict(one)[0] == "not measured"


def test_decisions_in_simulated_studies():
    def draw(gap):
        return lambda rng: tables(gap, items=300, rng=rng)

    assert simulated.outcomes(verdict, draw(0.07), 30)["supported"] >= 0.9
    assert simulated.outcomes(verdict, draw(-0.03), 30)["contradicted"] >= 0.9
    assert max(simulated.outcomes(verdict, draw(0.02)).values()) <= 0.05

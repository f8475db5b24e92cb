import pandas as pd

from peftlens.claims import off_vocabulary


def table(similarity, steps=(0, 9), space="embedding"):
    return {
        "soft_prompt_neighbors": pd.DataFrame(
            [
                {"run": f"r{run}", "step": step, "metric": metric, "space": space,
                 "similarity": 1.0 if step == 0 else similarity, "off_vocabulary": 0.75}
                for run in range(6) for step in steps for metric in ("cosine", "dot")
            ]
        )
    }  # fmt: skip


def test_far_from_every_token():
    outcome, message = off_vocabulary.verdict(table(0.6))
    assert outcome == "supported"
    assert "In 6 of 6 prompts most vectors coincide with no token" in message
    assert "0.60; 75% of the tokens" in message


def test_at_a_token():
    assert off_vocabulary.verdict(table(0.999))[0] == "contradicted"


def test_untrained_prompts_and_prefixes_say_nothing():
    assert off_vocabulary.verdict(table(0.6, steps=(0,)))[0] == "not measured"
    assert off_vocabulary.verdict(table(0.6, space="keys of layer 0"))[0] == "not measured"

import peftlens
from peftlens.models.base import open_base
from peftlens.models.vocabulary import readable
from peftlens.probes import soft_prompt_neighbors
from peftlens.run import RunConfig


def test_an_untrained_prompt_is_nearest_to_the_tokens_it_started_from(bases, words, tmp_path):
    run = peftlens.train(
        RunConfig(method="prompt_tuning", task=f"file:{words}", base=str(bases["llama"]),
                  device="cpu", dtype="float32",
                  method_config={"num_virtual_tokens": 3, "init": "text", "init_text": "cab"},
                  training={"steps": 5, "checkpoint_steps": [0], "learning_rate": 0.3}),
        tmp_path,
    )  # fmt: skip
    frame = soft_prompt_neighbors.measure(run)
    assert len(frame) == 2 * 3 * 5  # steps, virtual tokens, neighbours
    start = frame[(frame["step"] == 0) & (frame["neighbour"] == 1)]
    assert start["token"].tolist() == ["c", "a", "b"]
    assert start["cosine"].min() > 0.9999
    assert (start["moved"] == 0).all()
    end = frame[(frame["step"] == 5) & (frame["neighbour"] == 1)]
    assert (end["moved"] > 0).all()
    tokenizer = open_base(str(bases["llama"]), device="cpu").tokenizer
    assert [readable(tokenizer, i) for i in frame["token_id"]] == frame["token"].tolist()

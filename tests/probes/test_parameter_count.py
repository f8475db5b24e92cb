import peftlens
from peftlens.probes import parameter_count
from peftlens.runs.config import RunConfig


def test_by_hand(context, bases, words, tmp_path):
    run = peftlens.train(
        RunConfig(method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                  dtype="float32", method_config={"rank": 4}, training={"max_steps": 1}),
        tmp_path,
    )  # fmt: skip
    (row,) = parameter_count.measure(context, run).to_dict("records")
    trained = 3 * 4 * (64 + 48)  # three blocks, rank 4, q 32 -> 32 and v 32 -> 16
    base = 259 * 32 + 3 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 64 + 2 * 32) + 32
    assert row["rank"] == 4
    assert row["trainable_parameters"] == trained
    assert row["share"] == trained / base
    assert row["adapter_bytes"] > 4 * trained  # float32, and a header

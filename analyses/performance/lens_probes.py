"""Seconds of the probes that read what an adapter changed inside, for one LoRA.

python analyses/performance/lens_probes.py

SmolLM2-135M with a LoRA of rank 8, trained on headlines for 20 steps; each probe with its defaults,
in one process, the base and its vocabulary loaded before, as they are in a study. One round.
"""

import tempfile

from measurements import seconds, write

import peftlens as pl
from peftlens.adapters.run_context import RunContext
from peftlens.evaluation.probe_runner import run_probe
from peftlens.vocab.vocabulary import vocabulary

PROBES = (
    "activation_difference",
    "patchscope",
    "update_directions",
    "rank_components",
    "layer_ablation",
    "divergence",
)


def main() -> None:
    """Write reports/performance/lens_probes.csv."""
    config = pl.RunConfig(method="lora", task="bbc_topic", base_model="smollm2-135m",
                          device="cpu", dtype="float32",
                          training={"max_steps": 20, "batch_size": 8})  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = pl.train(config, folder)
        context = RunContext()
        vocabulary(context.base_model(run))
        rows = [
            {
                "probe": name,
                "seconds": round(seconds(lambda name=name: run_probe(context, run, name, {})), 1),
            }
            for name in PROBES
        ]
    rows.append({"probe": "all", "seconds": round(sum(row["seconds"] for row in rows), 1)})
    write(__file__, rows)


if __name__ == "__main__":
    main()

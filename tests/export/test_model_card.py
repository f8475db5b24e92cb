import finished
import yaml
from huggingface_hub import ModelCard

from peftlens.export import model_card
from peftlens.results import study_results


def test_the_hub_reads_it(tmp_path):
    one = study_results.read(finished.study(tmp_path, [finished.lora(8, 0)], probes=("cost",)))
    text = model_card.metadata(one.runs[0])
    found = yaml.safe_load(text.strip("-\n"))
    assert found["base_model"] == "smollm2-135m"
    assert found["peftlens"]["trainable_parameters"] == 460_800
    assert found["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.75
    assert ModelCard(text).data.eval_results[0].metric_value == 0.75

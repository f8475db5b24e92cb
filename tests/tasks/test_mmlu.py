from collections import Counter

from peftlens.tasks import load_task


def test_four_options_each_right_about_as_often():
    task = load_task("mmlu", {})
    examples = [one for part in task.splits.values() for one in part]
    assert {len(one.answers) for one in examples} == {4}
    shares = Counter(one.correct for one in examples)
    assert min(shares.values()) / len(examples) > 0.2

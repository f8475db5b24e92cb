import planted

from peftlens.adapters.run_context import RunContext
from peftlens.probes import soft_prompt_task_words as probe


def of(frame, words, whole=False):
    frame = frame[(frame["step"] == 2) & (frame["words"] == words)]
    return frame[frame["position"].isna() == whole]


def test_a_prompt_at_the_labels_clusters_is_related_and_one_elsewhere_is_not(planted_run):
    planted.put(planted_run, planted.around(0, 6))  # the first label's cluster
    near = probe.measure(RunContext(), planted_run)
    assert of(near, "labels")["related"].all()
    assert of(near, "typical")["related"].all()
    assert of(near, "labels", whole=True)["related"].all()
    planted.put(planted_run, planted.around(20, 6))  # tight, and about something else
    far = probe.measure(RunContext(), planted_run)
    assert not of(far, "labels")["related"].any()
    assert not of(far, "typical")["related"].any()
    (words, *_) = of(near, "labels")["nearest_words"]
    assert {*words} <= {f"{word}" for word in map(planted.word, range(planted.MEMBERS))}
    (task_words, *_) = of(near, "labels")["task_words"]
    assert len(task_words) == 2  # a label each
    assert of(near, "labels")["closeness"].min() > of(far, "labels")["closeness"].max()


def test_the_sets_are_the_tasks_words(context, planted_run):
    base = context.base_model(planted_run)
    labels = [base.tokenizer.decode(list(ids)) for ids in probe._labels(planted_run, base)]
    assert labels == sorted(planted.group(side)[0] for side in (0, 1))
    typical = [base.tokenizer.decode(list(ids)) for ids in probe._typical(planted_run, base)]
    inputs = {*planted.group(0)[2:], *planted.group(1)[2:]}
    inputs |= {planted.word(400 + 20 * side + number) for side in (0, 1) for number in range(5)}
    assert {*typical} <= inputs
    assert len(typical) > 15


def test_words_of_the_template_are_not_typical(context, planted_run):
    base = context.base_model(planted_run)
    prompts = probe._words("Text: alpha Label:")
    assert prompts == ["text", "alpha", "label"]
    found = {base.tokenizer.decode(list(ids)) for ids in probe._typical(planted_run, base)}
    assert not {"text", "label", "<unk>"} & found

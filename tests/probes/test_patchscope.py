from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.initial_state import open_start
from peftlens.diffing.activation_differences import activation_differences, texts_read
from peftlens.diffing.patchscope import mean_random_logits, patched_logits, virtual_states
from peftlens.probes.patchscope import Config, measure

FEW = Config(items=6, random_updates=1)


def raised(base, change):
    """The most raised tokens that are letters, as the tokenizer writes them."""
    order = change.argsort(descending=True).tolist()
    return [text for i in order if (text := base.tokenizer.convert_ids_to_tokens(i)).isalpha()]


def test_words_of_a_difference_are_those_beyond_random_directions(context, lora):
    frame = measure(context, lora, FEW)
    assert list(frame["source"].unique()) == ["general", "task"]
    assert list(frame["layer"]) == [1, 2, 3] * 2
    base = context.base_model(lora)
    texts = texts_read(lora, base, items=6, positions=5)
    delta = activation_differences(lora, base, texts)["task"].delta
    change = patched_logits(base, 1, delta[1:2])[0] - mean_random_logits(base, 1)
    shown = frame[(frame["source"] == "task") & (frame["layer"] == 2)].iloc[0]["raised"]
    letters = [token for token in shown if token.isalpha() and token.isascii()]
    assert letters
    assert letters == [token for token in raised(base, change) if token in letters]
    assert set(frame["reference"]) == {"random directions"}


def test_virtual_tokens_are_compared_with_their_start(context, trained):
    run = trained("prompt_tuning", num_virtual_tokens=2)
    frame = measure(context, run, FEW)
    virtual = frame[frame["source"] == "virtual tokens"]
    assert list(zip(virtual["layer"], virtual["position"], strict=True)) == [
        (layer, position) for layer in (1, 2, 3) for position in (0, 1)
    ]
    assert set(virtual["reference"]) == {"start"}
    base = context.base_model(run)
    with context.open_run(run) as model:
        now = virtual_states(model, base, 2)
    with open_start(run, base) as model:
        start = virtual_states(model, base, 2)
    change = patched_logits(base, 2, now[2]) - patched_logits(base, 2, start[2])
    shown = [t for t in virtual.iloc[-1]["raised"] if t.isalpha() and t.isascii()]
    assert shown == [token for token in raised(base, change[1]) if token in shown]


def test_without_a_known_start_random_directions_are_the_reference(context, trained):
    run = ExternalAdapter(trained("prompt_tuning", num_virtual_tokens=2).adapter())
    virtual = measure(context, run, FEW).query("source == 'virtual tokens'")
    assert len(virtual) == 6
    assert set(virtual["reference"]) == {"random directions"}
    assert set(virtual["random_updates"]) == {0}


def test_blocks_before_the_first_change_have_no_words(context, trained):
    frame = measure(context, trained("last_layers", blocks=1), FEW)
    general = frame[frame["source"] == "general"].set_index("layer")
    assert general["raised"].notna().to_dict() == {1: False, 2: False, 3: True}

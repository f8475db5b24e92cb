"""Styles of methods: one color, mark and dash for each, on all pages.

A method's style depends on nothing but its name. Configurations of one method share color and mark,
and differ in the dash of their lines and in whether their marks are filled. Gray is the reference,
such as the untrained base model, and no method's.

Colors: Okabe & Ito 2008, Color Universal Design; without yellow, invisible in light mode, and
black, invisible in dark mode.
"""

from dataclasses import dataclass, replace
from zlib import crc32

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GRAY = "#808080"
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star",
           "pentagon", "hexagon2")  # fmt: skip
OTHER_SYMBOLS = ("hourglass", "bowtie", "triangle-right")  # of series that no listed method owns
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
REFERENCES = ("frozen", "majority")

# Most used first: the first six differ in color, and all in color or mark.
ORDER = (
    "lora", "prompt_tuning", "bottleneck", "full", "ln_tuning", "last_layers",
    "ia3", "prefix_tuning", "dora", "bitfit", "qlora", "p_tuning",
    "head", "adalora", "vera", "rslora", "pissa", "few_shot",
    "hard_prompt", "compacter", "parallel_adapter", "mam", "unipelt", "oft",
    "lora_plus", "boft", "diff_pruning", "fish_mask", "random_mask", "magnitude_mask",
    "embeddings", "modules", "trainable_tokens", "multitask_prompt_tuning", "cpt",
    "framed_prompt_tuning", "adaption_prompt", "loha", "lokr", "hira", "hra", "olora", "lora_fa",
    "randlora", "vblora", "tinylora", "fourierft", "c3a", "delora", "miss", "road", "shira",
    "supertuning", "osf", "loreft", "intrinsic_dimension", "beft",
)  # fmt: skip


@dataclass(frozen=True)
class Style:
    """Look of a series.

    Attributes:
        color: color as #rrggbb, never the only difference from the others of a page.
        symbol: shape of the marks, by Plotly's name.
        dash: dash of the line, by Plotly's name.
        is_open: whether the marks are outlines.
    """

    color: str = COLORS[0]
    symbol: str = SYMBOLS[0]
    dash: str = DASHES[0]
    is_open: bool = False


PLAIN = Style()  # of the only series
REFERENCE = Style(GRAY, "circle", "dot")
FRONT = Style(GRAY, "circle", "solid")  # of a Pareto front, gray as it is no method's


def method_style(method: str, variant: int = 0) -> Style:
    """Return the style of a method's configuration.

    Args:
        method: name of the method, such as "lora".
        variant: number of the configuration among those of its method, from 0.
    """
    if method in REFERENCES:
        return REFERENCE
    return _variant(_of_method(method), variant)


def other_style(place: int) -> Style:
    """Return the style of a series that belongs to no method, by its place among such series."""
    symbol = OTHER_SYMBOLS[place // len(COLORS) % len(OTHER_SYMBOLS)]
    dash = DASHES[place // len(COLORS) % len(DASHES)]
    return Style(COLORS[place % len(COLORS)], symbol, dash)


def _of_method(method: str) -> Style:
    if method not in ORDER:  # of another package, or a type of Hugging Face peft
        return other_style(crc32(method.encode()) % (len(COLORS) * len(OTHER_SYMBOLS)))
    color, turn = ORDER.index(method) % len(COLORS), ORDER.index(method) // len(COLORS)
    symbol = SYMBOLS[(color + turn) % len(SYMBOLS)]
    return Style(COLORS[color], symbol, DASHES[turn % len(DASHES)])


def _variant(style: Style, variant: int) -> Style:
    dash = DASHES[(DASHES.index(style.dash) + variant) % len(DASHES)]
    return replace(style, dash=dash, is_open=variant % 2 == 1)

"""Examples as padded token arrays: what stands where, what is scored, what is trained on."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from theory_lab import _checks
from theory_lab._trees import record
from theory_lab._typing import Array
from theory_lab.finetune.tasks.base import Example
from theory_lab.finetune.tokens import Codec, codec

Side = Literal["left", "right"]


@record(data=("tokens", "present", "scored"))
class Sequences:
    """Token sequences of one length T, with any leading axes.

    Attributes:
        tokens: (..., T) int32.
        present: (..., T) bool, false on padding.
        scored: (..., T) bool, true on the tokens whose log-probabilities are asked for; never the first token.
    """

    tokens: Array | np.ndarray
    present: Array | np.ndarray
    scored: Array | np.ndarray

    def __getitem__(self, index: Any) -> "Sequences":
        return Sequences(self.tokens[index], self.present[index], self.scored[index])

    def __len__(self) -> int:
        return len(self.tokens)


@record(data=("options", "labels"))
class Questions:
    """n examples with K options each, encoded.

    Attributes:
        options: `Sequences` of shape (n, K, T): the prompt with every option.
        labels: (n,) int32, which option is right.
        truncated: how many of the n examples lost the beginning of their prompt.
    """

    options: Sequences
    labels: Array | np.ndarray
    truncated: int

    @property
    def right(self) -> Sequences:
        """The prompt with the right option, (n, T): what training sees; ``scored`` is the mask of its loss."""
        return self.options[np.arange(len(self.labels)), self.labels]

    def __len__(self) -> int:
        return len(self.labels)


def encode(
    examples: Sequence[Example],
    tokenizer: Any,
    *,
    length: int | None = None,
    side: Side = "left",
    multiple: int = 1,
    start: Sequence[int] | None = None,
    pad: int | None = None,
) -> Questions:
    """Examples as arrays.

    Prompt and option are tokenized together, as the text that they make. Scored are the tokens after the longest beginning
    that this text shares with the prompt alone: the option's tokens, and the last of the prompt's where a token spans both.

    Too long a prompt loses its first tokens; the opening tokens and the option never lose any. All prompts of an example
    keep the same number of tokens at most, what the longest option leaves, so that all options are asked in one context.

    Args:
        examples: with the same number K of options.
        tokenizer: see `tokens.codec`, also for ``start`` and ``pad``.
        length: the most tokens of a sequence, opening and option included; None for no limit.
        side: where padding goes, "left" or "right".
        multiple: T is the longest sequence, rounded up to a multiple of this.

    Returns:
        NumPy arrays in a pytree, which `jax.device_put` or the first use moves to a device.

    Raises:
        ValueError: no examples, numbers of options that differ, an option that adds no token to its prompt, a length that
            leaves no room for one token of the prompt beside the longest option.

    Example:
        >>> from theory_lab.finetune.tasks import example
        >>> from theory_lab.finetune.tokens import word_tokenizer
        >>> tokenizer = word_tokenizer(["it", "was", "great", "bad"])
        >>> questions = encode([example("a", "It was", [" bad", " great"], 1)], tokenizer)
        >>> questions.right.tokens.tolist(), questions.right.scored.tolist()
        ([[2, 4, 5, 6]], [[False, False, False, True]])
    """
    number = _number_of_options(examples)
    _checks.choice("side", side, ("left", "right"))
    _checks.count("multiple", multiple, bits=20)
    coder = codec(tokenizer, start=start, pad=pad)
    longest = None if length is None else _checks.count("length", length, least=2)
    rows, cut = [], 0
    for one in examples:
        texts, shortened = _texts(one, coder, longest)
        rows.extend(texts)
        cut += shortened
    width = -(-max(len(prompt) + len(option) for prompt, option in rows) // multiple) * multiple
    sequences = _padded(rows, width, side, coder.pad)
    shape = (len(examples), number, width)
    return Questions(
        options=Sequences(*(a.reshape(shape) for a in (sequences.tokens, sequences.present, sequences.scored))),
        labels=np.array([one.label for one in examples], np.int32),
        truncated=cut,
    )


def batches(sequences: Sequences, size: int) -> Iterator[tuple[Sequences, int]]:
    """Batches of exactly ``size`` rows, and how many rows of each count; the last is filled up with its first row.

    One shape for all of them means one compilation.
    """
    for first in range(0, len(sequences), size):
        rows = np.arange(first, first + size)
        counted = min(size, len(sequences) - first)
        yield sequences[np.where(rows < len(sequences), rows, first)], counted


def _number_of_options(examples: Any) -> int:
    if not isinstance(examples, Sequence) or not examples or not all(isinstance(one, Example) for one in examples):
        raise _checks.refuse("examples", "a non-empty sequence of Examples", examples)
    numbers = sorted({len(one.options) for one in examples})
    if len(numbers) > 1:
        raise _checks.refuse("examples", "of one number of options", f"numbers {numbers}")
    return numbers[0]


def _texts(one: Example, coder: Codec, longest: int | None) -> tuple[list[tuple[list[int], list[int]]], bool]:
    """Per option the tokens before what is scored, opening ones included, and those that are; and whether any were cut."""
    parts = [_parts(one, k, coder) for k in range(len(one.options))]
    room, most = max(len(prompt) for prompt, _ in parts), max(len(option) for _, option in parts)
    if longest is not None:
        room = longest - len(coder.start) - most
        if room < 1:
            rule = f"at least {longest + 1 - room} for example {one.id!r}, whose longest option takes {most} of it"
            raise _checks.refuse("length", f"{rule} (leave it out if the model has fewer positions)", longest)
    cut = any(len(prompt) > room for prompt, _ in parts)
    return [([*coder.start, *prompt[-room:]], option) for prompt, option in parts], cut


def _parts(one: Example, k: int, coder: Codec) -> tuple[list[int], list[int]]:
    prompt, whole = coder.ids(one.prompts[k]), coder.ids(one.prompts[k] + one.options[k])
    shared = 0
    while shared < min(len(prompt), len(whole)) and prompt[shared] == whole[shared]:
        shared += 1
    if shared == len(whole) or shared + len(coder.start) == 0:
        rule = "a text that adds a token to one or more of its prompt"
        raise _checks.refuse(f"options[{k}] of example {one.id!r}", rule, one.options[k])
    return whole[:shared], whole[shared:]


def _padded(rows: list[tuple[list[int], list[int]]], width: int, side: Side, pad: int) -> Sequences:
    tokens = np.full((len(rows), width), pad, np.int32)
    present, scored = np.zeros((2, len(rows), width), np.bool_)
    for row, (prompt, option) in enumerate(rows):
        size = len(prompt) + len(option)
        first = width - size if side == "left" else 0
        tokens[row, first : first + size] = prompt + option
        present[row, first : first + size] = True
        scored[row, first + len(prompt) : first + size] = True
    return Sequences(tokens, present, scored)

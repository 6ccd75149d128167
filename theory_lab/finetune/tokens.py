"""Tokenizers: what one must offer, and a word-level one that needs nothing."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from theory_lab import _checks

WORD = re.compile(r"\n|\w+|[^\w\s]")
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # OPT's, with OPT's ids 0 to 3
RULE = "an object with encode(text) -> token ids (or an object with .ids) and decode(ids) -> text"


@dataclass(frozen=True)
class WordTokenizer:
    r"""One token per word, punctuation mark or line break; case is dropped, unknown words are one token.

    Attributes:
        words: all tokens; the position is the id. The first four are special: <s>, <pad>, </s>, <unk>.

    Example:
        >>> tokenizer = word_tokenizer(["is", "it", "?"])
        >>> tokenizer.encode("Is it cold?\n")
        [4, 5, 3, 6, 7]
        >>> tokenizer.decode([4, 5, 6])
        'is it ?'
    """

    words: tuple[str, ...]
    start: tuple[int, ...] = (2,)  # </s> opens a sequence, as in OPT
    pad: int = 1
    end: int = 2
    unknown: int = 3

    def encode(self, text: str) -> list[int]:
        ids = self._ids
        return [ids.get(word, self.unknown) for word in WORD.findall(text.lower())]

    def decode(self, ids: Iterable[int]) -> str:
        """The words with single spaces between them, none around line breaks; special tokens but <unk> are dropped."""
        kept = (self.words[i] for i in ids if i == self.unknown or i >= len(SPECIAL))
        return " ".join(kept).replace(" \n", "\n").replace("\n ", "\n")

    def to_json(self) -> str:
        """The same tokenizer as the text of a tokenizer.json, the format of the library ``tokenizers``.

        It gives the ids of `encode` for printable text and, like it, no opening tokens; its ``decode`` writes spaces around
        line breaks.
        """
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        split = {"type": "Split", "pattern": {"Regex": WORD.pattern}, "behavior": "Removed", "invert": True}
        parts = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": i, "content": word, **flags} for i, word in enumerate(SPECIAL)],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": split,
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": dict(self._ids), "unk_token": SPECIAL[self.unknown]},
        }
        return json.dumps(parts, ensure_ascii=False, indent=1) + "\n"

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}


def word_tokenizer(words: Iterable[str]) -> WordTokenizer:
    """A tokenizer for these words, in this order, after the four special tokens; a line break is added at the end.

    Raises:
        ValueError: a word that is not one token in lower case, or one that occurs twice.
    """
    given = tuple(words)
    for word in given:
        if not isinstance(word, str) or WORD.findall(word.lower()) != [word] or word == "\n":
            raise _checks.refuse("words", "single words or punctuation marks in lower case", word)
    if twice := sorted({word for word in given if given.count(word) > 1}):
        raise _checks.refuse("words", "distinct", twice)
    return WordTokenizer((*SPECIAL, *given, "\n"))


@dataclass(frozen=True)
class Codec:
    """What encoding needs of a tokenizer.

    Attributes:
        ids: the tokens of a text, without special ones.
        many: those of several texts; at once, on all cores, where the tokenizer has ``encode_batch``.
        start: ids that open every sequence.
        pad: the id that fills up; it is never looked at.
    """

    ids: Callable[[str], list[int]]
    many: Callable[[Sequence[str]], list[list[int]]]
    start: tuple[int, ...]
    pad: int


def codec(tokenizer: Any, *, start: Sequence[int] | None = None, pad: int | None = None) -> Codec:
    """Any tokenizer with ``encode``: the word-level one here, one of the library ``tokenizers``, or your own.

    Special tokens that ``encode`` would add by itself are switched off where it has ``add_special_tokens``; what opens a
    sequence is said by ``start`` alone (OPT: [2], Llama: [1]).

    Args:
        tokenizer: encode(text) gives ids or an object with ``ids``.
        start: None is the tokenizer's own attribute ``start``, or nothing.
        pad: None is the tokenizer's own attribute ``pad``, or 0.

    Raises:
        ValueError: an object that does not encode, ids that are not whole numbers.

    Example:
        >>> codec(word_tokenizer(["yes", "no"])).ids("no")
        [5]
    """
    if not callable(getattr(tokenizer, "encode", None)):
        raise _checks.refuse("tokenizer", RULE, tokenizer)
    options: dict[str, bool] = {}
    try:
        tokenizer.encode("a", add_special_tokens=False)
        options["add_special_tokens"] = False
    except (TypeError, LookupError):  # no such option; a str, whose encode takes the name of an encoding
        pass

    def ids(text: str) -> list[int]:
        encoded = tokenizer.encode(text, **options)
        return list(getattr(encoded, "ids", encoded))

    def many(texts: Sequence[str]) -> list[list[int]]:
        if not (options and callable(getattr(tokenizer, "encode_batch", None))):
            return [ids(text) for text in texts]
        return [list(encoded.ids) for encoded in tokenizer.encode_batch(list(texts), **options)]

    try:
        ids("a")
    except (TypeError, LookupError):
        raise _checks.refuse("tokenizer", RULE, tokenizer) from None
    opening = getattr(tokenizer, "start", ()) if start is None else start
    if isinstance(opening, (str, int)) or not isinstance(opening, Sequence):
        raise _checks.refuse("start", "a sequence of token ids", opening)
    first = tuple(_checks.count(f"start[{i}]", one, least=0) for i, one in enumerate(opening))
    filler = getattr(tokenizer, "pad", 0) if pad is None else pad
    return Codec(ids, many, first, _checks.count("pad", filler, least=0, bits=31))

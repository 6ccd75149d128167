"""What a base is pretrained on: the generated corpus or text files, as blocks of tokens, some of them held out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from theory_lab import _checks
from theory_lab.finetune import language
from theory_lab.finetune.recipe import Settings
from theory_lab.finetune.text import documents, pack

HELD_OUT = 50  # one document or block in so many
MOST_HELD_OUT = 8  # batches


class Blocks(NamedTuple):
    """Blocks of T tokens, each opened by ``end``, and the tokenizer that made them.

    Attributes:
        train: (N, T) int32, at least one batch.
        held_out: (M, B, T) int32, whole batches.
        vocabulary: number of tokens.
        end, pad: the token between documents, which opens texts too, and the one that fills up.
        tokenizer_json: the tokenizer as a file.
    """

    train: np.ndarray
    held_out: np.ndarray
    vocabulary: int
    end: int
    pad: int
    tokenizer_json: str


def blocks_of(settings: Settings) -> Blocks:
    """The blocks of a corpus.

    The generated corpus tells the facts of key 0, whatever the seed, as the task "old_knowledge" asks for them by default.
    Held out of the generated corpus is its validation split, one document for fifty of training; of text files, the last
    block in fifty; in either case at least one batch and at most eight.

    Raises:
        ValueError: text for fewer than two batches, a tokenizer that cannot be read or has no such end.
    """
    if settings.text is None:
        ours = language.tokenizer()
        key = jax.random.fold_in(jax.random.key(settings.seed), 2)
        told = language.world(jax.random.key(0))
        few = max(settings.documents // HELD_OUT, settings.batch_size * settings.context // 16)
        parts = [
            _opened(language.corpus(key, number, split=split, told=told), ours, ours.end, settings.context)
            for split, number in (("train", settings.documents), ("validation", few))
        ]
        return _batched(settings, *parts, len(ours), ours.end, ours.pad, ours.to_json())
    reader, written = _read_tokenizer(str(settings.tokenizer))
    end = reader.token_to_id(settings.end)
    if end is None:
        raise _checks.refuse("end", f"a token of {settings.tokenizer!r}", settings.end)
    whole = _opened(documents(settings.text), reader, end, settings.context)
    cut = len(whole) - max(settings.batch_size, len(whole) // HELD_OUT)
    pad = reader.token_to_id("<pad>")
    return _batched(settings, whole[: max(cut, 0)], whole[max(cut, 0) :], reader.get_vocab_size(), end,
                    end if pad is None else pad, written)  # fmt: skip


def _opened(texts: Iterable[str], tokenizer: Any, end: int, context: int) -> np.ndarray:
    """Packed blocks, (N, context), that begin as every text of a task does."""
    packed = pack(texts, tokenizer, context - 1, end=end)
    return np.concatenate([np.full((len(packed), 1), end, np.int32), packed], axis=1)


def _batched(settings: Settings, train: np.ndarray, held_out: np.ndarray, *described: Any) -> Blocks:
    size = settings.batch_size
    for name, blocks in (("training text", train), ("held-out text", held_out)):
        if len(blocks) < size:
            raise _checks.refuse(f"the {name}", f"at least a batch of {size} blocks", f"{len(blocks)} blocks")
    number = min(len(held_out) // size, MOST_HELD_OUT)
    return Blocks(train, held_out[: number * size].reshape(number, size, -1), *described)


def _read_tokenizer(path: str) -> tuple[Any, str]:
    if not Path(path).is_file():
        raise _checks.refuse("tokenizer", "a tokenizer.json", path)
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        missing = "tokenizers is not installed; it comes with the extra 'lm': pip install 'theory_lab[lm]'"
        raise ImportError(missing) from error
    try:
        written = Path(path).read_text(encoding="utf-8")
        return Tokenizer.from_str(written), written
    except Exception as error:  # the library raises nothing narrower
        raise _checks.refuse("tokenizer", "a tokenizer.json", f"{path} ({error})") from None

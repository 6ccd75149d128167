"""Learn a tokenizer for pretraining: ``python -m theory_lab.finetune.vocabulary --text PATH --size N --out tokenizer.json``.

Byte-level byte-pair encoding, as GPT-2 and OPT have it: every text can be written, nothing is unknown. The first tokens are
OPT's special ones with OPT's ids. The library `tokenizers` (extra "lm") does the work; `pretrain` reads what is written.
"""

import json
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from theory_lab import _checks
from theory_lab._options import Parser
from theory_lab.finetune.text import Paths, documents
from theory_lab.finetune.tokens import SPECIAL
from theory_lab.models import tensorfile

LEAST = 256 + len(SPECIAL)  # all bytes and the special tokens


def byte_pairs(text: Paths, size: int) -> str:
    """A tokenizer.json learned from text: the pairs of pieces that occur most often become tokens, one after another.

    Args:
        text: files and folders as `theory_lab.finetune.text.documents` reads them.
        size: tokens in all; fewer come out of a text too short to have so many pairs that occur twice.

    Raises:
        ValueError: paths without text, a size below 260.
        ImportError: the extra "lm" is not installed.

    Example:
        >>> import json, pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = pathlib.Path(folder, "a.txt").write_text("to be or not to be")
        ...     learned = json.loads(byte_pairs(folder, 262))
        >>> [entry["content"] for entry in learned["added_tokens"]], learned["model"]["merges"]
        (['<s>', '<pad>', '</s>', '<unk>'], [['b', 'e'], ['t', 'o']])

    Reference:
        Sennrich, Haddow, Birch: Neural Machine Translation of Rare Words with Subword Units, 2016. Radford et al.: Language
        Models are Unsupervised Multitask Learners, 2019 (bytes in place of characters).
    """
    _checks.count("size", size, least=LEAST, bits=24)
    found = documents(text)
    first = next(found, None)
    if first is None:
        raise _checks.refuse("paths", "files with text in them", text)
    library = _library()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(chain([first], found), trainer)
    return str(tokenizer.to_str(pretty=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code: 0; 2 for bad usage, unreadable text and what cannot be written."""
    parser = Parser(prog="python -m theory_lab.finetune.vocabulary", description=str(__doc__).split("\n\n")[1])
    parser.add_argument("--text", required=True, nargs="+", help="files or folders of .txt, .txt.gz, .txt.xz")
    parser.add_argument("--size", type=int, default=8192, help="tokens in all (default: %(default)s)")
    parser.add_argument("--out", required=True, help="the file to write")
    given = parser.parse_args(arguments)
    try:
        out = Path(given.out)
        if out.is_dir():
            raise _checks.refuse("--out", "a file", given.out)
        _checks.writable("--out", out.parent)
        written = byte_pairs(given.text, given.size)
        out.parent.mkdir(parents=True, exist_ok=True)
        tensorfile.write_bytes(out, [written.encode()])
    except (ValueError, OSError, ImportError) as error:
        print(_checks.as_option(error, {"paths": "--text", "size": "--size"}), file=sys.stderr)
        return 2
    print(f"{len(json.loads(written)['model']['vocab'])} tokens written to {out}")
    return 0


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        missing = "tokenizers is not installed; it comes with the extra 'lm': pip install 'theory_lab[lm]'"
        raise ImportError(missing) from error
    return tokenizers


if __name__ == "__main__":
    sys.exit(main())

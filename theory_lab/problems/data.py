"""Real data for `logistic`: bundled with scikit-learn, or any LIBSVM-format file by path.

Needs the extra ``data`` (scikit-learn). Nothing is downloaded.
"""

import bz2
import gzip
import lzma
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from theory_lab import _checks

OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """Breast Cancer Wisconsin (diagnostic), 569 x 30, standardised; labels -1/+1 (+1: benign)."""
    data = _datasets().load_breast_cancer()
    return standardise(data.data), np.where(data.target == 1, 1.0, -1.0)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Optical digits, 1797 x 64, standardised; labels -1 (even) / +1 (odd)."""
    data = _datasets().load_digits()
    return standardise(data.data), np.where(data.target % 2 == 1, 1.0, -1.0)


def libsvm(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels of a LIBSVM-format file, plain or compressed (.gz, .bz2, .xz), as dense arrays, not standardised.

    Lines are ``label index:value index:value ...``. Indices count from 1, or from 0 if an index 0 occurs in the file; what
    a line leaves out is zero.

    Args:
        path: the file.

    Returns:
        Features (n, d) and labels (n,), float64, the labels as they stand in the file.

    Raises:
        ValueError: no such file, one that is not in LIBSVM format, query ids (``qid:``, data for ranking), or numbers that
            are not finite; the message carries the path.
    """
    if not isinstance(path, (str, os.PathLike)) or not (file := Path(path)).is_file():
        raise _checks.refuse("path", "a readable LIBSVM-format file", str(path))
    opener: Any = OPENERS.get(file.suffix, open)
    datasets = _datasets()
    try:
        with opener(file, "rb") as stream:
            features, labels, queries = datasets.load_svmlight_file(stream, query_id=True)
    except (ValueError, OSError, EOFError, IndexError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"path must be a readable LIBSVM-format file, got {str(path)!r} ({error})") from error
    if features.shape[0] == 0 or features.nnz == 0:
        raise ValueError(f"path must be a LIBSVM-format file with at least one row and one feature, got {str(path)!r}")
    if queries.size or not (np.isfinite(features.data).all() and np.isfinite(labels).all()):
        raise _checks.refuse("path", "a LIBSVM-format file of finite numbers without query ids", str(path))
    return features.toarray(), labels


def standardise(features: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and standard deviation 1; constant columns become 0."""
    centred = features - features.mean(axis=0)
    deviation = centred.std(axis=0)
    return centred / np.where(deviation > 1e-12 * np.abs(features).max(initial=1.0), deviation, 1.0)


def _datasets() -> Any:
    try:
        import sklearn.datasets
    except ImportError as error:
        raise ValueError("this data set needs scikit-learn: pip install 'theory_lab[data]'") from error
    return sklearn.datasets

"""The README's Python examples: `blocks()` for the tests; run as a script, it prints the first one."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def blocks() -> list[str]:
    """Every fenced Python block of the README, in order."""
    return re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    print(blocks()[0])

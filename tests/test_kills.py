"""What the kills came to is told as it was."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.kills import COMPARED, Found, lines

FOUND = Found(
    2,
    expected=("a" * 64, "b" * 64),
    digests=[("a" * 64, "b" * 64), ("a" * 64, "b" * 64)],
    kills=[("in an epoch", 6), ("while it starts", 0), ("in an epoch", 2)],
    torn=1,
    resumed=2,
    seconds=90,
)


def test_kills_are_told_by_where_they_hit() -> None:
    text = "\n".join(lines(FOUND))
    assert text.startswith("## 2 processes\n\nKills: 3. Trainings that came to their end: 2. ")
    assert "| in an epoch | 2 | 3, 7 |\n| while it starts | 1 | 1 |" in text
    assert f"| `{COMPARED[0]}` | `{'a' * 16}` | `{'a' * 16}` |" in text
    assert "All trainings ended alike: yes. 2 minutes." in text


def test_another_digest_is_told() -> None:
    other = replace(FOUND, digests=[*FOUND.digests, ("a" * 64, "c" * 64)])
    assert FOUND.same
    assert not other.same
    text = "\n".join(lines(other))
    assert f"| `{COMPARED[1]}` | `{'b' * 16}` | `{'b' * 16}`, `{'c' * 16}` |" in text
    assert "All trainings ended alike: NO." in text

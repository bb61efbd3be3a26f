"""Whatever is done to a sound file, every reader reads it or refuses it in one sentence."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valid_files import READERS

from gendistill.data import official, readers
from gendistill.errors import UserError

EXAMPLES = 25


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, float, bytes]]:
    """One to three changes: what, where (a share of the file), with which bytes."""
    kinds = st.sampled_from(["flip", "set", "cut", "leave out", "put in", "repeat"])
    numbers = st.sampled_from(
        [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\n", b"9e9"]
    )
    one = st.tuples(kinds, st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8) | numbers)
    return draw(st.lists(one, min_size=1, max_size=3))


def damaged(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for kind, share, new in changes:
        at = int(share * len(content))
        before, after = content[:at], content[at:]
        if kind == "flip" and after:
            content = before + bytes([after[0] ^ (1 << new[0] % 8)]) + after[1:]
        elif kind == "set":
            content = before + new + after[len(new) :]
        elif kind == "cut":
            content = before
        elif kind == "leave out":
            content = before + after[new[0] % 50 :]
        elif kind == "put in":
            content = before + new + after
        else:
            content = before + after[: new[0] % 50] + after
    return content


@pytest.fixture
def taken_as_official(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the readers see what the sums keep from them, but for what would end the process."""
    verify = official.verify
    monkeypatch.setattr(readers, "verify", lambda name, path: verify(name, path) if name == "svhn" else path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused(name: str, taken_as_official: None) -> None:
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = reader.make(Path(folder))
        sound = path.read_bytes()
        if name == "SVHN":
            with pytest.raises(UserError, match="is not the official file of svhn"):
                reader.read(path)
        else:
            reader.read(path)

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(damages())
        def check(changes: list[tuple[str, float, bytes]]) -> None:
            path.write_bytes(damaged(sound, changes))
            try:
                reader.read(path)
            except UserError as error:
                assert "\n" not in str(error)

        check()

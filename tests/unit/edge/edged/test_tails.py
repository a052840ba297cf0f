"""The ends of logs, read on and on from the files that the runtime writes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.layout import Layout
from octoedge.edge.edged.observed import ContainerSeen, PodSeen
from octoedge.edge.edged.tails import Tails, read_on
from octoedge.edge.ports import LogKey, LogMark

STAMP = "2026-11-21T07:00:00.{:09d}Z"


def line(number: int, text: str = "", tag: str = "F") -> bytes:
    return f"{STAMP.format(number)} stdout {tag} {text or number}\n".encode()


def said(number: int, text: str = "") -> bytes:
    return f"{STAMP.format(number)} {text or number}\n".encode()


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    file.write_bytes(line(1) + line(2))
    first = read_on(file, 0, None, 1000)
    assert first is not None
    assert (first.text, first.whole) == (said(1) + said(2), True)
    assert read_on(file, 0, first.mark, 1000) is None
    with file.open("ab") as more:
        more.write(line(3) + line(4)[:20])
    second = read_on(file, 0, first.mark, 1000)
    assert second is not None
    assert (second.text, second.whole) == (said(3), False)


def test_a_log_that_is_empty_yet_is_known_too(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    file.touch()
    first = read_on(file, 0, None, 1000)
    assert first is not None
    assert (first.text, first.whole) == (b"", True)
    assert read_on(file, 0, first.mark, 1000) is None


def test_too_much_at_once_is_its_end_and_replaces_what_was_before(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    file.write_bytes(line(1))
    first = read_on(file, 0, None, 200)
    assert first is not None
    with file.open("ab") as more:
        more.write(b"".join(map(line, range(2, 100))))
    second = read_on(file, 0, first.mark, 200)
    assert second is not None
    assert second.whole
    assert second.text.endswith(said(98) + said(99))
    assert second.text.startswith(STAMP[:10].encode())
    assert read_on(file, 0, second.mark, 200) is None


def test_a_rotated_log_goes_on_and_another_instance_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    file.write_bytes(line(1))
    first = read_on(file, 0, None, 1000)
    assert first is not None
    file.rename(tmp_path / "0.log.1")
    file.write_bytes(line(2))
    second = read_on(file, 0, first.mark, 1000)
    assert second is not None
    assert (second.text, second.whole) == (said(2), False)
    other = tmp_path / "1.log"
    other.write_bytes(line(3))
    third = read_on(other, 1, second.mark, 1000)
    assert third is not None
    assert (third.text, third.whole) == (said(3), True)


def test_a_file_that_was_emptied_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    file.write_bytes(line(1) + line(2))
    first = read_on(file, 0, None, 1000)
    assert first is not None
    file.write_bytes(line(3))
    second = read_on(file, 0, first.mark, 1000)
    assert second is not None
    assert (second.text, second.whole) == (said(3), True)


def test_a_line_in_parts_waits_for_its_end(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    file.write_bytes(line(1) + line(2, "half ", "P"))
    first = read_on(file, 0, None, 1000)
    assert first is not None
    assert first.text == said(1)
    with file.open("ab") as more:
        more.write(line(3, "whole"))
    second = read_on(file, 0, first.mark, 1000)
    assert second is not None
    assert second.text == said(2, "half whole")


@given(st.lists(st.integers(1, 60), max_size=12), st.integers(150, 4000))
def test_looks_at_any_time_give_the_end_of_what_was_written(sizes: list[int], most: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "0.log"
        file.touch()
        kept, mark, written = b"", None, 0
        for size in sizes:
            with file.open("ab") as more:
                more.write(b"".join(line(written + n) for n in range(size)))
            written += size
            news = read_on(file, 0, mark, most)
            if news is not None:
                kept, mark = news.text if news.whole else kept + news.text, news.mark
        whole = b"".join(said(n) for n in range(written))
        assert whole.endswith(kept)
        assert not sizes or kept


class Seen:
    """An observer that has seen one pod."""

    def __init__(self, *containers: ContainerSeen) -> None:
        self.pods = {"u1": PodSeen("u1", "shop", "cart", (), containers)}


def test_containers_that_have_run_have_a_log(tmp_path: Path) -> None:
    seen = Seen(
        ContainerSeen("c2", "s", "app", 1, ContainerState.RUNNING),
        ContainerSeen("c1", "s", "app", 0, ContainerState.EXITED),
        ContainerSeen("c3", "s", "new", 0, ContainerState.CREATED),
    )
    layout = Layout(tmp_path, tmp_path / "logs")
    tails = Tails(layout, seen)  # type: ignore[arg-type]
    key = LogKey("shop", "cart", "u1", "app")
    assert tails.log_keys() == [key]
    assert tails.log_news(key, None, 1000) is None
    path = layout.log_file("shop", "cart", "u1", "app", 1)
    path.parent.mkdir(parents=True)
    path.write_bytes(line(1))
    news = tails.log_news(key, LogMark(0, 1, 5), 1000)
    assert news is not None
    assert (news.text, news.whole, news.mark.attempt) == (said(1), True, 1)
    assert tails.log_news(LogKey("shop", "gone", "u9", "app"), None, 1000) is None

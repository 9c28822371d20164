"""The ring of recent images, against one that remembers everything."""

from pathlib import Path
from tempfile import gettempdir

from hypothesis import example, given
from hypothesis import strategies as st

from invad.serving.spool import Recent, Spool


def recent(id: str, score: float = 0.0) -> Recent:
    return Recent(
        id=id, name=id, class_name=None, width=1, height=1, score=score, threshold=None, decision=None, model=""
    )


@example([(0, 0), (0, 1), (0, 2)], 2)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), max_size=60), st.integers(1, 100))
def test_what_is_there_is_right_and_the_newest_are_there(puts: list[tuple[int, int]], size: int) -> None:
    spool = Spool(Path(gettempdir()), size)
    sent: dict[str, bytes] = {}
    order: list[str] = []
    for number, length in puts:
        id = f"{number}-{length}"
        data = bytes([number]) * length
        if spool.get(id) is None and 0 < length <= size:
            order.append(id)
        sent[id] = data
        spool.put(recent(id, score=len(order)), data)
    there = {id: found[1] for id in sent if (found := spool.get(id)) is not None}
    assert all(sent[id] == data for id, data in there.items())
    assert sum(map(len, there.values())) <= size
    newest = order[::-1]
    held = 0
    for id in newest:  # as many of the newest as fit half the ring are there: a wrap may waste the other half
        held += len(sent[id])
        if 2 * held > size:
            break
        assert id in there
    spool.close()


def test_one_that_is_there_is_said_anew(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    spool.put(recent("a", score=1.0), b"12345")
    spool.put(recent("a", score=2.0), b"12345")
    spool.put(recent("b"), b"12345")
    found = spool.get("a")
    assert found is not None and found[0].score == 2.0 and found[1] == b"12345"
    assert list(tmp_path.iterdir()) == [] or all(path.stat().st_size <= 10 for path in tmp_path.iterdir())
    spool.close()

"""References are computed once per chunk, and never depend on who computed them."""

from __future__ import annotations

from apportion.data.records import Pair
from apportion.run.reference import CHUNK, cached_reference

PAIRS = [Pair(f"prompt {i}", "good", "bad") for i in range(3 * CHUNK)]


class Model:
    """Numbers that depend on the whole chunk, as the last bits of real ones do."""

    def __init__(self):
        self.asked = 0

    def __call__(self, chunk):
        self.asked += len(chunk)
        start = sum(hash(pair.prompt) % 1000 for pair in chunk) / 7
        chosen = [None if i == 1 else -start - i for i in range(len(chunk))]
        return chosen, [-2 * start - i for i in range(len(chunk))]


def test_nested_subsets_share_their_whole_chunks(tmp_path):
    model = Model()
    small = cached_reference(tmp_path, "m", PAIRS[: CHUNK + 5], model)
    assert model.asked == CHUNK + 5
    large = cached_reference(tmp_path, "m", PAIRS, model)
    assert model.asked == CHUNK + 5 + 2 * CHUNK
    assert [side[:CHUNK] for side in small] == [side[:CHUNK] for side in large]
    assert large[0][1] is None


def test_the_order_of_stages_does_not_matter(tmp_path):
    sizes = (10, CHUNK, CHUNK + 5, 3 * CHUNK)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    up = {n: cached_reference(tmp_path / "a", "m", PAIRS[:n], Model()) for n in sizes}
    down = {n: cached_reference(tmp_path / "b", "m", PAIRS[:n], Model()) for n in reversed(sizes)}
    assert up == down


def test_another_start_model_has_its_own(tmp_path):
    model = Model()
    cached_reference(tmp_path, {"parent": "a"}, PAIRS, model)
    cached_reference(tmp_path, {"parent": "b"}, PAIRS, model)
    assert model.asked == 2 * len(PAIRS)


def test_a_damaged_line_is_computed_again(tmp_path):
    model = Model()
    truth = cached_reference(tmp_path, "m", PAIRS, model)
    (place,) = (tmp_path / "reference").glob("*.jsonl")
    lines = place.read_text().splitlines()
    lines[0] = lines[0].replace("-", "", 1)
    place.write_text("\n".join([*lines[:2], lines[2][:50]]))
    assert cached_reference(tmp_path, "m", PAIRS, model) == truth
    assert model.asked == len(PAIRS) + 2 * CHUNK

"""The page and the figures: self-contained, escaped, deterministic, and honest about gaps."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from apportion.advise.shares import advise, advise_levels
from apportion.errors import ResultsError
from apportion.report.figures import save, score_by_budget, score_by_share
from apportion.report.group import group_results
from apportion.report.html import ReportMeta, write_report
from apportion.surface.model import fit_surface
from apportion.surface.simulate import budget_cells, law, simulate

EVIL = 'evil/<script>alert("x")</script>&$\\frac'


def study(model="sandbox:small", levels=(100, 400), replicates=2, n_items=80):
    cells = budget_cells(levels, [0, 0.25, 1])
    truth = {k: law(*k) for k in cells}
    rows = simulate(truth, replicates=replicates, sigma=0.01, n_items=n_items, seed=1, lines=cells)
    return [
        dataclasses.replace(
            r,
            model=model,
            strict=r.score,
            lenient=min(1.0, r.score + 0.05),
            format_failure_rate=0.125,
            truncation_rate=0.0,
            response_tokens=31.0,
        )
        for r in rows
    ]


def advised(rows, sandbox=False, **limits):
    return advise_levels(fitted(rows), sandbox=sandbox, **limits)[0]


def fitted(rows):
    name = {"model": rows[0].model, "task": rows[0].task, "method": rows[0].method}
    return fit_surface(rows, **name, prior="broad")


class Page(HTMLParser):
    """Tags, links and text of a page; void tags aside, every tag must be closed in order."""

    void = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text, self.open = [], [], "", []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def render(tmp_path, rows, advice, **meta):
    paths = write_report(rows, advice, ReportMeta(**{"title": "A study", **meta}), tmp_path / "out")
    return paths, Page(paths.html.read_text(encoding="utf-8"))


def test_the_page_is_one_file_and_says_the_answer_first(tmp_path):
    rows = study()
    advice = advised(rows, sandbox=True)
    paths, page = render(
        tmp_path, rows, advice, sandbox=True, facts=(("Recipe", (("beta", "0.1"),)),), study="a: 1"
    )
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "url(" not in paths.html.read_text()
    answer = f"{100 * advice[0].share:g} % on SFT"
    assert page.text.index(answer) < page.text.index("Figures") < page.text.index("Every cell")
    for part in ("Generated sandbox", "2 replicates", "80 test items", "beta", "a: 1", "12.5"):
        assert part in page.text
    assert "None: every planned cell has a score" in page.text
    assert not re.search(r"\b(nan|inf)\b", page.text.lower())
    assert len(paths.pngs) == len(paths.pdfs) == 4
    assert all(p.read_bytes()[:4] == b"\x89PNG" for p in paths.pngs)
    assert all(p.read_bytes()[:4] == b"%PDF" for p in paths.pdfs)


def test_names_are_escaped(tmp_path):
    rows = study(model=EVIL)
    paths, page = render(
        tmp_path, rows, advised(rows), title=EVIL, facts=((EVIL, ((EVIL, EVIL),)),), study=EVIL
    )
    assert "script" not in page.tags
    assert page.text.count('<script>alert("x")') >= 5
    assert all(re.fullmatch(r"[a-z0-9._-]+", path.name) for path in (*paths.pngs, *paths.pdfs))


def test_failed_cells_are_listed_with_their_reasons(tmp_path):
    rows = study()
    gone = {"score": None, "item_scores": None, "stderr": None, "strict": None, "lenient": None}
    rows[-1] = dataclasses.replace(rows[-1], status="failed", reason="loss was <NaN>", **gone)
    rows[3] = dataclasses.replace(rows[3], status="missing", reason="not run", **gone)
    _, page = render(tmp_path, rows, advised(rows))
    assert "loss was <NaN>" in page.text
    assert "not run" in page.text
    assert "1 to 2 replicates" in page.text


def test_without_enough_evidence_it_says_so(tmp_path):
    rows = [r for r in study() if (r.n_sft, r.n_pref) in ((0, 0), (100, 0))]
    paths, page = render(tmp_path, rows, (), refused=("budget 100: one share",))
    assert "No advice: not enough evidence" in page.text
    assert "budget 100: one share" in page.text
    assert len(paths.pngs) == 1


def test_nothing_finished_still_makes_a_page(tmp_path):
    gone = {"score": None, "item_scores": None, "stderr": None, "strict": None, "lenient": None}
    rows = [dataclasses.replace(r, status="missing", reason="not run", **gone) for r in study()]
    _, page = render(tmp_path, rows, ())
    assert "No advice" in page.text


def test_two_models_get_two_parts(tmp_path):
    one, two = study(), study(model="other")
    paths, page = render(tmp_path, one + two, (*advised(one), *advised(two)))
    assert len(paths.pngs) == 8
    assert len({path.name for path in paths.pngs}) == 8
    assert page.text.count("Every cell") == 2


def test_no_results_and_no_folder_are_the_user_s_errors(tmp_path):
    with pytest.raises(ResultsError, match="no results"):
        write_report([], (), ReportMeta("t"), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot be written"):
        write_report(study(), (), ReportMeta("t"), tmp_path / "file")


def test_figures_have_the_same_bytes_each_time(tmp_path):
    rows = study()
    group = group_results(rows, advised(rows), sandbox=True)[0]
    for draw in (score_by_budget, score_by_share):
        first = [p.read_bytes() for p in save(draw(group), tmp_path / "a")]
        second = [p.read_bytes() for p in save(draw(group), tmp_path / "b")]
        assert first == second
        assert b"CreationDate" not in first[1]


def texts(figure):
    found = [t.get_text() for t in figure.texts]
    for ax in figure.axes:
        found += [ax.get_title(loc="left"), ax.get_xlabel()]
    for legend in figure.legends:
        found += [legend.get_title().get_text(), *(t.get_text() for t in legend.get_texts())]
    return " | ".join(found)


def test_the_figure_says_what_it_shows():
    rows = study()
    group = group_results(rows, advised(rows), sandbox=True)[0]
    words = texts(score_by_budget(group))
    for part in (
        "sandbox:small · math · DPO",
        "2 replicates",
        "80 test items",
        "generated sandbox",
    ):
        assert part in words
    for label in ("100 %", "25 %", "0 %", "base model", "strict (primary)", "lenient (means only)"):
        assert label in words
    real = group_results(study(model="real"), (), sandbox=False)[0]
    assert "sandbox" not in texts(score_by_budget(real))


def test_equal_scorings_need_one_panel_only():
    rows = [dataclasses.replace(r, lenient=r.strict) for r in study()]
    group = group_results(rows, (), sandbox=False)[0]
    assert len(score_by_budget(group).axes) == 1
    assert score_by_share(group) is None


def test_intervals_in_the_figure_are_those_of_the_fit_and_do_not_share_an_x():
    rows = [dataclasses.replace(r, lenient=r.strict) for r in study()]
    group = group_results(rows, (), sandbox=False)[0]
    ax = score_by_budget(group).axes[0]
    bars = [
        line for line in ax.lines if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    ]
    drawn = sorted(tuple(round(y, 6) for y in line.get_ydata()) for line in bars)
    cells = [c for c in group.estimate.cells if (c.n_sft, c.n_pref) != (0, 0)]
    assert drawn == sorted(tuple(round(100 * e, 6) for e in c.interval) for c in cells)
    places = [line.get_xdata()[0] for line in bars]
    assert len(set(places)) == len(places)


def test_the_safe_region_and_the_recommended_share_are_marked():
    rows = study(levels=(100, 1000, 10_000), replicates=4, n_items=3000)
    advice = advised(rows, epsilon=0.08)
    safe = [a for a in advice if a.safe_shares]
    assert safe
    group = group_results(rows, advice, sandbox=False)[0]
    for ax, one in zip(score_by_share(group).axes, advice, strict=True):
        places = [row.share in one.safe_shares for row in one.shares]
        runs = sum(1 for k, here in enumerate(places) if here and not (k and places[k - 1]))
        assert len(ax.patches) == runs
        rings = [line for line in ax.lines if line.get_markersize() == 12]
        assert [line.get_xdata()[0] for line in rings] == [one.share]


def test_a_lattice_is_drawn_against_preference_units(tmp_path):
    levels = (0, 100, 400)
    rows = simulate(
        {(a, b): law(a, b) for a in levels for b in levels},
        replicates=2, sigma=0.01, n_items=60, seed=1,
    )  # fmt: skip
    paths, page = render(tmp_path, rows, (advise(fitted(rows), 300),))
    assert "interpolated" in page.text
    group = group_results(rows, (), sandbox=False)[0]
    assert "preference units" in texts(score_by_budget(group))
    assert len(paths.pngs) == 4

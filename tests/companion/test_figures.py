"""How figures are stored, what the pages with them weigh, and what some of them show."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from companion import figures
from companion.data import drawn_faces
from vaemi import factor_information
from vaemi.information import FactorInformation, pairwise_information
from vaemi.models import as_float

pytestmark = pytest.mark.usefixtures("figure_style")


def as_matplotlib_stores_it(figure):
    stored = io.StringIO()
    figure.savefig(stored, format="svg", bbox_inches="tight", metadata={"Date": None})
    return stored.getvalue()


def pictures(svg):
    """Kind and pixels of every picture in an SVG."""
    found = re.findall(r"data:image/(\w+);base64,([\w+/=\s]+)", svg)
    return [(kind, np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))) for kind, content in found]


def test_a_sheet_of_faces_takes_a_third_and_looks_the_same():
    faces = as_float(drawn_faces.render(drawn_faces.sample_factors(16)))
    # A figure each, as being drawn may move the axes of one a little.
    before = as_matplotlib_stores_it(figures.contact_sheet(faces))
    after = figures.as_svg(figures.contact_sheet(faces))
    assert len(after) < len(before) / 3
    for (_, exact), (kind, stored) in zip(pictures(before), pictures(after), strict=True):
        assert kind == "jpeg"
        assert np.sqrt(((stored.astype(float) - exact[:, :, :3]) ** 2).mean()) < 4, "of 255"


def test_grey_pictures_stay_grey(embedded_digits):
    ((_, stored),) = pictures(figures.as_svg(figures.strips({"digits": embedded_digits.validation.images[:8] / 255})))
    assert stored.ndim == 2


def test_heat_maps_and_what_shows_the_page_through_it_are_stored_without_loss():
    figure, axes = plt.subplots()
    axes.pcolormesh(np.random.default_rng(0).random((4, 5)), cmap="viridis", rasterized=True)
    ((_, exact),), ((kind, stored),) = pictures(as_matplotlib_stores_it(figure)), pictures(figures.as_svg(figure))
    assert kind == "png"
    assert (stored == exact[:, :, :3]).all()
    figure, axes = plt.subplots()
    axes.imshow(np.random.default_rng(0).random((30, 30, 4)))
    assert figures.as_svg(figure) == as_matplotlib_stores_it(figure)


def test_notebooks_store_figures_so(smoke_results):
    assert "data:image/jpeg;base64," in (smoke_results / "smoke" / "celeba.ipynb").read_text()


def test_no_page_weighs_more_than_2_megabytes(site):
    # What a page loads of its own: its text and pictures, without the explorer and what all pages share.
    for page in site.glob("*/*.html"):
        text = page.read_text()
        own = {(page.parent / name).resolve() for name in re.findall(r'<img[^>]*src="([^":]+)"', text)}
        assert len(text.encode()) + sum(path.stat().st_size for path in own) < 2_000_000, page


def test_text_of_figures_is_legible_on_a_phone(site):
    drawn = list((site / "_images").glob("*.svg"))
    assert len(drawn) > 60
    for path in drawn:
        svg = path.read_text()
        width = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])
        # Matplotlib draws letters at 100 points and scales them.
        points = 100 * min(float(scale) for scale in re.findall(r" scale\(([\d.]+) -[\d.]+\)", svg))
        assert 342 / width * points > 9, path


def test_maps_of_channels_show_the_most_informative_ones():
    maps = torch.zeros(10, 3, 5)
    maps[7, 1, 2], maps[4] = 2.0, 0.5
    shown = [axes for axes in figures.information_maps(maps, shown=3).axes if axes.get_images()]
    assert [axes.get_title() for axes in shown] == ["channel 4", "channel 7", "channel 0"]
    np.testing.assert_array_equal(shown[1].get_images()[0].get_array(), maps[7])
    assert {axes.get_images()[0].get_clim() for axes in shown} == {(0, 2)}


@pytest.mark.parametrize("count", [3, 13])
def test_redundancy_shows_numbers_in_few_cells_and_no_colour_on_the_diagonal(count):
    mean = torch.randn(150, 1, generator=torch.Generator().manual_seed(0)).repeat(1, 20)
    mean[:, 4:] += torch.randn(150, 16, generator=torch.Generator().manual_seed(1)) / 2
    found = pairwise_information(mean, torch.full_like(mean, -2.0), range(2, 2 + count), points=50)
    figure = figures.redundancy(found)
    axes, bar = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"$z_{{{h}}}$" for h in range(2, 2 + count)]
    (mesh,) = axes.collections
    drawn = mesh.get_array().reshape(count, count)
    np.testing.assert_array_equal(drawn.mask, np.eye(count, dtype=bool))
    pairs = ~np.eye(count, dtype=bool)
    np.testing.assert_allclose(drawn[pairs], found.nats.numpy().clip(min=0)[pairs])
    assert mesh.get_clim() == (0, found.nats.numpy()[pairs].max())
    assert "nats" in bar.get_ylabel()
    shown = {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}
    expected = {(i, j): f"{max(found.nats[i, j], 0):.2f}" for i in range(count) for j in range(count)}
    assert shown == (expected if count == 3 else {})


def test_a_deviation_beyond_the_usual_is_not_cut_off():
    information = FactorInformation(*(torch.tensor([1.0, value]) for value in (0.5, 0.1, 4.0)), 100, "mixture")
    _, deviations = figures.spectrum_and_deviations(information).axes
    assert deviations.get_ylim()[1] > 4


def test_several_spectra_are_each_sorted_and_counted():
    # Means of one size each way: the larger, the more information.
    sign = torch.tensor([1.0, -1.0]).repeat(50)[:, None]
    informations = {
        "few": factor_information(sign * torch.tensor([0.0, 3.0, 0.0, 0.0]), torch.zeros(100, 4)),
        "many": factor_information(sign * torch.tensor([2.0, 1.0, 3.0, 0.0]), torch.zeros(100, 4)),
    }
    (axes,) = figures.spectra(informations, shown_beyond=0).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["few: 1", "many: 3"]
    for line, information in zip(axes.get_lines(), informations.values(), strict=False):
        expected = information.nats.sort(descending=True).values[:3]
        np.testing.assert_allclose(line.get_ydata(), expected, atol=1e-12)


def test_spectra_side_by_side_have_a_line_per_seed_and_the_first_behind():
    spectra = {
        "a": torch.tensor([[0.0, 2.0, 1.0, 0.0], [1.5, 0.0, 0.0, 0.0]]),
        "b": torch.tensor([[0.5, 0.3, 0.2, 3.0]]),
    }
    one, other, *_ = figures.spectra_side_by_side(spectra, shown_beyond=0).axes
    assert [one.get_title(), other.get_title()] == ["a: 1 to 2", "b: 4"]
    np.testing.assert_allclose([line.get_ydata() for line in one.get_lines()[:2]], [[2, 1, 0, 0], [1.5, 0, 0, 0]])
    dashed = [line for line in other.get_lines() if line.get_linestyle() == "--"]
    np.testing.assert_allclose([line.get_ydata() for line in dashed], [[2, 1, 0, 0], [1.5, 0, 0, 0]])


def test_the_path_holds_the_counts_of_both_models():
    linear = torch.linspace(0.2, 4, 32).repeat(3, 1)
    figure = figures.information_path([1, 2], torch.full((2, 5), 0.5), [1, 1.5, 2], linear)
    for axes in figure.axes:
        drawn = np.concatenate([line.get_ydata() for line in axes.get_lines()])
        low, high = axes.get_ylim()
        assert low == 0
        assert drawn.max() < high, axes.get_title()
    assert figure.axes[-1].get_ylim()[1] > 32


def test_a_line_joins_each_estimator_to_its_dot_and_crosses_no_other_name():
    seconds, errors = [0.07, 0.2, 1.2, 8.0, 27.0, 170.0], [0.5, 3e-9, 0.02, 0.025, 0.03, 0.01]
    names = ["a long name, 1", "vaemi", "a long name, 2", "a long name, 3", "a long name, 4", "a long name, 5"]
    rows = pd.DataFrame({"estimator": names, "cpu_seconds": seconds, "largest_error": errors})
    figure = figures.cost_and_error(rows)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = {text.get_text().strip(): Text.get_window_extent(text) for text in axes.texts}
    assert set(boxes) == set(names)
    for name, box in boxes.items():
        assert not any(box.overlaps(other) for same, other in boxes.items() if same != name)
    for text in axes.texts:
        row = rows[rows.estimator == text.get_text().strip()].iloc[0]
        dot = axes.transData.transform((row.cpu_seconds, row.largest_error))
        box = boxes[row.estimator]
        if row.estimator != "vaemi":
            line = Bbox([(dot[0] - 0.5, box.y0), (dot[0] + 0.5, dot[1])])
            assert box.x0 == pytest.approx(dot[0], abs=1)
            assert not any(line.overlaps(other) for name, other in boxes.items() if name != row.estimator)


def test_codes_are_drawn_where_they_are_and_coloured_by_angle():
    angle = torch.linspace(-torch.pi, torch.pi, 9)
    codes = {"circle": torch.stack([angle.cos(), angle.sin()], 1), "sphere": torch.rand(9, 2)}
    panels = figures.codes_by_angle(codes, dict.fromkeys(codes, angle)).axes[:2]
    for axes, (name, points) in zip(panels, codes.items(), strict=True):
        assert axes.get_title() == name
        (drawn,) = axes.collections
        np.testing.assert_allclose(drawn.get_offsets(), points)
        drawn.update_scalarmappable()
        colours = drawn.get_facecolor()
        # The same at both ends of the circle, different at the opposite side.
        assert np.abs(colours[0] - colours[-1]).max() < 0.05
        assert np.abs(colours[0] - colours[4]).max() > 0.3


def test_the_landing_figure_counts_the_used_factors_and_has_a_strip_per_factor():
    strips = {2: torch.rand(7, 1, 28, 28), 0: torch.rand(7, 1, 28, 28)}
    figure = figures.landing([0.02, 0.5, 2.0, 0.01, 0.0], [1.0, 0.9, 1.1, 1.0, 1.0], strips, threshold=0.1)
    svg = as_matplotlib_stores_it(figure)
    for text in ("2 used factors", "3 ignored factors", "2.0 nats", "0.0 nats"):
        assert f"<!-- {text} -->" in svg
    assert len(pictures(svg)) == 2
    labels = [axes.yaxis.label for axes in figure.subfigs[1].axes]
    assert [label.get_color() for label in labels] == [figures.BLUE, figures.ORANGE]
    # Drawn for a column of 340 pixels, in which its text is not reduced.
    width = float(re.search(r'<svg [^>]*width="([\d.]+)pt"', svg)[1])
    assert width * 4 / 3 < 360
    for rows, highest in ((0, 1.0), (1, 0.01)):  # a warning about a layout without room is an error
        few = figures.landing([0.0, highest], [1.0, 1.0], {k: torch.rand(7, 1, 28, 28) for k in range(rows)})
        assert len(pictures(as_matplotlib_stores_it(few))) == rows


def test_orders_that_agree_with_the_information_do_not_hide_each_other():
    information = [4.0, 2.0, 1.0]
    orders = {"kl": information, "mean_precision": information, "active_units": [4.0, 1.9, 1.0], "variance": [4, 3, 1]}
    errors = {"information": information, **orders, "random 0": [4.0, 3.8, 1.0], "random 1": [4.0, 3.6, 1.0]}
    bottom = figures.masking_curves(errors, [0, 2, 8]).axes[1]
    markers = {line.get_label(): line.get_xydata() for line in bottom.get_lines() if line.get_marker() != "None"}
    more = [points[:, 1].tolist() for points in markers.values()]
    assert more == [pytest.approx(percent) for percent in ([0, 50, 0], [0, -5, 0], [0, 0, 0], [0, 0, 0])]
    places = np.concatenate([points[:, 0] for points in markers.values()])
    assert len(np.unique(places)) == len(places)
    assert [round(float(place)) for place in sorted(places)] == [0] * 4 + [1] * 4 + [2] * 4


def test_the_bound_on_accuracy_can_be_told_from_what_it_bounds():
    levels = {"all": 87.0, "ignored": 50.4}
    figure = figures.attribute_accuracy([1, 4], [52.0, 80.0], np.array([[51.0, 55.0]]), levels, bound=51.8)
    axes, closer = figure.axes
    assert [line.get_ydata()[0] for line in axes.lines[-2:]] == [87.0, 50.4]
    low, high = closer.get_ylim()
    (excluded,) = closer.patches
    assert [excluded.get_y(), excluded.get_y() + excluded.get_height()] == pytest.approx([51.8, high])
    assert closer.lines[-1].get_ydata()[0] == 50.4
    assert (51.8 - 50.4) / (high - low) > 0.3
    assert low < 50

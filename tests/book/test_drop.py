"""The audit in the browser: its numbers are the library's, whatever the file, and every bad file gets a sentence."""

import base64
import csv
import io
import json
import math
import re
import struct
import zipfile
from pathlib import Path
from unittest import mock

import drop
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT

import vaemi
from vaemi.information import answers
from vaemi.information.lattice import LATTICES

M = 1500
TOLERANCE = 1e-6
CRITERIA = (
    *("information", "gaussian_information", "kl", "active_units", "mean_variance", "mean_precision"),
    *("marginal_std", "max_mean", "upper_divergence"),
)
CONVERSIONS = {
    "log_variance": lambda log_variance: log_variance,
    "variance": np.exp,
    "std": lambda log_variance: np.exp(log_variance / 2),
    "log_std": lambda log_variance: log_variance / 2,
}


def encoder():
    """Means and log-variances (M, H) of an encoder with factors of every kind."""
    random = np.random.default_rng(0)
    normal = random.standard_normal
    sides = random.choice([-1.0, 1.0], M)
    rare = np.where(np.arange(M) % 500 == 123, 6.0, 0.0)
    factors = [
        (0.95 * normal(M), 0.3),  # used
        (0.01 * normal(M), 1 - 0.01 * random.random(M)),  # ignored
        (normal(M), 1e-3),  # narrow: far from settled with so few inputs
        (0.9e6 * normal(M), 0.4e6),  # rescaled
        (0.9e-7 * normal(M), 0.2e-7),
        (normal(M), np.exp(random.uniform(math.log(1e-4), 0, M))),  # sigma over many octaves
        (0.95 * sides, 0.2),  # bimodal
        (rare + 1e-3 * normal(M), 0.99),  # decisive for few
        (np.full(M, 0.6), 0.8),  # the same for every input
        (np.full(M, 0.7) + 1e-12 * normal(M), 1e-30),  # finer than float64 resolves
        (1000 * random.random(M), 1e-6),  # every input alone
        (normal(M), 0.05),  # leave_one_out is just far enough to widen the interval
    ]
    mean, sigma = (
        np.stack(parts, 1) for parts in zip(*((mu, np.broadcast_to(s, M)) for mu, s in factors), strict=True)
    )
    return mean, 2 * np.log(sigma)


def tame(kind):
    """The factors of the encoder that a floating type of `kind` can hold."""
    columns = [0, 1, 6, 7, 8]
    return [part[:, columns].astype(kind) for part in encoder()]


class Expected:
    """What the library says about arrays (M, H)."""

    def __init__(self, mean, log_variance):
        mean, log_variance = (np.asarray(part, "=f8") for part in (mean, log_variance))
        # On the lattice, as the page computes; for few samples the library's own leave_one_out is exact.
        with mock.patch("vaemi.information.direct.FEW_SAMPLES", 0):
            info = vaemi.factor_information(mean, log_variance)
            sketch = vaemi.InformationSketch(mean.shape[1])
            sketch.update(mean, log_variance)
            self.divergences = sketch.divergences(mean, log_variance).numpy()
        upper = np.sort(self.divergences, 0)[math.ceil(0.999 * len(mean)) - 1]
        variance = np.exp(log_variance)
        kl = 0.5 * (mean**2 + variance - 1 - log_variance).mean(0)
        spread = variance.var(0) < 0.1
        level = variance.mean(0)
        kinds = np.where(
            spread & (level >= 0.9) & (level <= 1.1), "passive", np.where(spread & (level <= 0.1), "active", "mixed")
        )
        low, high = info.interval(0.95)
        self.values = {
            "nats": info.nats.numpy(),
            "stderr": info.stderr.numpy(),
            "leave_one_out": info.leave_one_out.numpy(),
            "interval_low": low.numpy(),
            "interval_high": high.numpy(),
            "information": info.nats.numpy(),
            "gaussian_information": vaemi.factor_information(mean, log_variance, method="gaussian").nats.numpy(),
            "kl": kl,
            "active_units": mean.var(0),
            "mean_variance": level,
            "mean_precision": -log_variance.mean(0),
            "marginal_std": info.marginal_std.numpy(),
            "max_mean": np.abs(mean).max(0),
            "upper_divergence": upper,
            "largest_divergence": self.divergences.max(0),
        }
        value = self.values
        self.used = {
            "information": value["information"] > 0.1,
            "gaussian_information": value["gaussian_information"] > 0.5,
            "kl": kl > 0.1,
            "active_units": value["active_units"] > 0.01,
            "mean_variance": kinds != "passive",
            "mean_precision": value["mean_precision"] > 0.2,
            "marginal_std": (value["marginal_std"] < 0.8) | (value["marginal_std"] > 1.25),
            "max_mean": value["max_mean"] >= 0.1,
            "upper_divergence": upper > 1,
        }
        self.kinds = kinds
        self.few = ~self.used["information"] & self.used["upper_divergence"]
        self.influential = info.influential(0.1).tolist()

    def check(self, found):
        """Compare with what the page found; return the largest difference of each quantity."""
        rows = found["factors"]
        assert [row["factor"] for row in rows] == list(range(len(self.kinds)))
        differences = {}
        for name, values in self.values.items():
            own = np.array([self.read(row, name) for row in rows])
            differences[name] = float((np.abs(own - values) / np.maximum(1, np.abs(values))).max())
        assert max(differences.values()) < TOLERANCE, differences
        for name, used in self.used.items():
            assert [row["criteria"][name]["used"] for row in rows] == used.tolist(), name
        assert [row["criteria"]["mean_variance"]["kind"] for row in rows] == self.kinds.tolist()
        assert [row["decisive_for_few"] for row in rows] == self.few.tolist()
        # Several inputs may tie, up to rounding.
        at = [row["largest_divergence_input"] for row in rows]
        own = self.divergences[at, range(len(rows))]
        np.testing.assert_allclose(own, self.values["largest_divergence"], atol=1e-6)
        return differences

    @staticmethod
    def read(row, name):
        if name.startswith("interval"):
            return row["interval"][name == "interval_high"]
        return row[name] if name in row else row["criteria"][name]["value"]


# --- files ------------------------------------------------------------------------------------------------------------


def npy(array, version=None):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version)
    return buffer.getvalue()


def npz(compressed=False, **arrays):
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def fortran(array):
    return np.asfortranarray(array)


def pair(kind, order=np.ascontiguousarray):
    return [order(part) for part in tame(kind)]


def file_cases():
    """Files of posteriors by a name: files, what the page is told, and the arrays in them."""
    half, single, double = (tame(kind) for kind in ("f2", "f4", "f8"))
    big, big_half = tame(">f8"), tame(">f2")
    odd = np.round(4 * single[0]).astype("i2"), np.round(2 * single[1]).astype(">i4")
    return {
        "npz": ({"p.npz": npz(mean=double[0], log_variance=double[1])}, None, double),
        "deflated, Fortran": ({"p.npz": npz(True, mu=fortran(single[0]), logvar=fortran(single[1]))}, None, single),
        "half": ({"p.npz": npz(loc=half[0], log_var=half[1], labels=np.array(["a", "b"]))}, None, half),
        "big-endian": ({"p.npz": npz(z_mean=big[0], z_log_var=fortran(big_half[1]))}, None, (big[0], big_half[1])),
        "version 2": (
            {"run-mu.npy": npy(single[0], (2, 0)), "run-logvar.npy": npy(double[1], (3, 0))},
            None,
            (single[0], double[1]),
        ),
        "integers": ({"log_variance.npy": npy(odd[1]), "mean.npy": npy(odd[0])}, None, odd),
        "one name": ({"a.npy": npy(double[0]), "b_log_variance.npy": npy(fortran(double[1]))}, None, double),
        "without names": ({"p.npz": npz(arr_0=double[0], arr_1=np.exp(double[1]))}, "variance", double),
        **{
            f"as {scale}": ({"p.npz": npz(mean=double[0], **{scale: convert(double[1])})}, None, double)
            for scale, convert in CONVERSIONS.items()
        },
    }


def damaged(data):
    """The bytes of an archive whose packed data begin with a block that deflate does not have."""
    name, extra = struct.unpack("<HH", data[26:30])
    return data[: 30 + name + extra] + b"\xff" * 8 + data[38 + name + extra :]


def bzipped(data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("mean.npy", data)
        archive.writestr("log_variance.npy", data)
    return buffer.getvalue()


def bad_files():
    """Files that cannot be audited, and what the page says about each."""
    mean, log_variance = np.zeros((5, 3)), np.zeros((5, 3))
    holes = mean.copy()
    holes[4, 1], holes[3, 2] = np.nan, np.inf
    good = npz(mean=mean, log_variance=log_variance)
    both = {"mean": mean, "log_variance": log_variance}
    return {
        "text": ({"p.npz": b"mean,log_variance\n"}, "p.npz is not a .npy or .npz file"),
        "empty": ({"p.npz": b""}, "p.npz is not a .npy or .npz file"),
        "text as npy": ({"mean.npy": npy(mean), "logvar.npy": b"1, 2"}, "logvar.npy is not a .npy file"),
        "cut archive": ({"p.npz": good[:200]}, "p.npz is damaged"),
        "cut array": ({"mean.npy": npy(mean)[:-8], "std.npy": npy(mean + 1)}, "mean.npy ends before its last number"),
        "cut header": ({"mean.npy": npy(mean)[:9], "std.npy": npy(mean + 1)}, "mean.npy ends within its header"),
        "bad deflate": ({"p.npz": damaged(npz(True, **both))}, "mean.npy in p.npz cannot be unpacked"),
        "bzip": ({"p.npz": bzipped(npy(mean))}, "compressed in a way that NumPy does not use"),
        "no arrays": ({"p.npz": npz()}, "p.npz holds no arrays"),
        "one array": ({"mean.npy": npy(mean)}, "mean.npy holds one array: add the file with the log-variances"),
        "one in archive": ({"p.npz": npz(mean=mean)}, "p.npz holds one array (mean)"),
        "other names": ({"p.npz": npz(x=mean, y=mean, t=mean)}, "p.npz holds 3 arrays (x, y, t), in which no mean"),
        "unnamed files": ({"a.npy": npy(mean), "b.npy": npy(mean)}, "The files hold 2 arrays (a, b), in which no mean"),
        "three": ({f"{i}.npy": npy(mean) for i in range(3)}, "3 files were given"),
        "shapes": (
            {"p.npz": npz(mean=mean, logvar=mean.T)},
            "mean has shape (5, 3) and logvar (3, 5): both must be (M, H)",
        ),
        "flat": ({"p.npz": npz(mean=mean[:, 0], logvar=mean[:, 0])}, "mean has shape (5,): give (M, H)"),
        "maps": ({"p.npz": npz(mean=mean[..., None], logvar=mean[..., None])}, "reshape maps"),
        "no factors": ({"p.npz": npz(mean=mean[:, :0], logvar=mean[:, :0])}, "mean has shape (5, 0): give (M, H)"),
        "one input": ({"p.npz": npz(mean=mean[:1], logvar=mean[:1])}, "mean holds one input: information"),
        "no number": ({"p.npz": npz(mean=holes, logvar=mean)}, "mean holds Infinity at input 3, factor 2"),
        "no number, Fortran": (
            {"p.npz": npz(mean=fortran(holes), logvar=mean)},
            "mean holds Infinity at input 3, factor 2",
        ),
        "not positive": (
            {"p.npz": npz(mean=mean, std=mean)},
            "std holds 0 at input 0, factor 0 (both counted from 0): a standard",
        ),
        "too wide": ({"p.npz": npz(mean=mean, logvar=mean + 300)}, "logvar holds 300 at input 0"),
        "too far": ({"p.npz": npz(mean=mean + 1e200, logvar=mean)}, "mean holds 1e+200 at input 0"),
        "complex": ({"p.npz": npz(mean=mean + 0j, logvar=mean)}, "mean holds values of type <c16"),
        "records": ({"p.npz": npz(mean=np.zeros(5, [("a", "f4")]), logvar=mean)}, "mean holds values of type record"),
    }


# --- without a browser ------------------------------------------------------------------------------------------------


def test_the_scripts_take_their_numbers_and_names_from_the_library(tmp_path):
    drop.place(tmp_path)
    text = (tmp_path / "settings.js").read_text()
    passed = json.loads(text.removeprefix("window.vaemiDrop = { settings: ").removesuffix(" };\n"))
    lattice = LATTICES["default"]
    assert (passed["lattice"]["pointsPerSigma"], passed["lattice"]["reach"]) == (
        lattice.points_per_sigma,
        lattice.reach,
    )
    assert set(passed["names"]["second"]) == set(answers.SCALES)
    assert set(passed["lines"]) == set(CRITERIA)
    page = (ROOT / "book" / "drop.md").read_text()
    linked = re.findall(r'"\.\./_static/drop/([\w.]+)"', page)
    assert sorted(linked) == sorted(path.name for path in tmp_path.iterdir())


# --- in a browser -----------------------------------------------------------------------------------------------------


class Page:
    """A page with the network off, that notes its complaints and requests."""

    def __init__(self, browser, path, script="", **context):
        self.context = browser.new_context(offline=True, accept_downloads=True, **context)
        self.page = self.context.new_page()
        self.complaints, self.requests = [], []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda request: self.requests.append(request.url))
        if script:
            self.page.add_init_script(script)
        self.page.goto(Path(path).as_uri())

    def close(self):
        assert self.complaints == []
        assert {url.partition(":")[0] for url in self.requests} <= {"file", "blob", "data"}
        self.context.close()

    def choose(self, files):
        """Choose files, bytes by name, with the file button."""
        given = [{"name": name, "mimeType": "application/octet-stream", "buffer": data} for name, data in files.items()]
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name="Choose files").click()
        chooser.value.set_files(given)

    def drop(self, files):
        """Drop files onto the page."""
        encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
        transfer = self.page.evaluate_handle(
            """files => {
              const transfer = new DataTransfer();
              for (const [name, text] of Object.entries(files)) {
                transfer.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name));
              }
              return transfer;
            }""",
            encoded,
        )
        self.page.dispatch_event(".drop-zone", "drop", {"dataTransfer": transfer})

    def says(self, words):
        """Wait for words in the live region; return all of it."""
        self.page.locator("#drop [role=status]", has_text=words).wait_for(timeout=60_000)
        return self.page.locator("#drop [role=status]").inner_text()

    def refuses(self):
        self.page.locator("#drop [role=alert]:not(:empty)").wait_for(timeout=20_000)
        return self.page.locator("#drop [role=alert]").inner_text()

    def download(self, kind):
        with self.page.expect_download() as found:
            self.page.get_by_role("link", name=f"Download {kind}").click()
        return Path(found.value.path()).read_text()

    def result(self):
        self.says("factors carr")
        return json.loads(self.download("JSON"))

    def table(self, name):
        region = self.page.get_by_role("region", name=name, exact=True)
        return [row.locator("th, td").all_inner_texts() for row in region.locator("tbody tr").all()]


def write_page(folder):
    """The page alone, without the book around it."""
    drop.place(folder / "_static" / "drop")
    (fragment,) = re.findall(r"```\{raw\} html\n(.*?)```", (ROOT / "book" / "drop.md").read_text(), re.DOTALL)
    (folder / "book").mkdir()
    page = folder / "book" / "drop.html"
    head = "<!doctype html><html lang=en><meta name=viewport content='width=device-width'><title>Audit</title>"
    page.write_text(f"{head}<main><h1>Audit</h1><h2>Files</h2>{fragment}</main></html>")
    return page


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("drop"))


@pytest.fixture
def opened(browser, written):
    page = Page(browser, written)
    yield page
    page.close()


def test_numbers_are_those_of_the_library(opened):
    mean, log_variance = encoder()
    expected = Expected(mean, log_variance)
    assert expected.few.tolist() == [h == 7 for h in range(12)]
    assert 0 < expected.used["gaussian_information"].sum() < 12
    gap = (expected.values["leave_one_out"] - expected.values["nats"])[11]
    assert 1 < gap / expected.values["stderr"][11] < 2
    opened.drop({"p.npz": npz(mean=mean, log_variance=log_variance)})
    differences = expected.check(opened.result())
    print({name: f"{value:.0e}" for name, value in differences.items()})
    assert any(url.startswith("blob:") for url in opened.requests), "a worker does the work"


@pytest.mark.parametrize("case", file_cases())
def test_every_kind_of_file_is_read(opened, case):
    files, scale, arrays = file_cases()[case]
    if scale:
        opened.page.get_by_label("the second array is").select_option(scale)
    opened.choose(files)
    expected, found = Expected(*arrays), opened.result()
    expected.check(found)
    assert found["named"] == (scale is None)
    assert found["second_is"] == (scale or (case.removeprefix("as ") if case.startswith("as ") else "log_variance"))


def test_the_page_shows_the_result_in_words_tables_and_a_chart(opened):
    mean, log_variance = encoder()
    expected = Expected(mean, log_variance)
    value = expected.values
    opened.choose({"p.npz": npz(mean=mean, log_variance=log_variance)})
    assert opened.says("factors carry").startswith(
        f"{len(expected.influential)} of 12 factors carry more than 0.1 nats about 1,500 inputs, "
    )

    def interval(h):
        return f"{value['interval_low'][h]:.2f} to {value['interval_high'][h]:.2f}"

    assert opened.table("Influential factors") == [
        [str(h), f"{value['nats'][h]:.2f}", interval(h)] for h in expected.influential
    ]
    (row,) = opened.table("Factors that are decisive for few inputs")
    assert row == [
        "7",
        *(f"{value[name][7]:.2f}" for name in ("nats", "upper_divergence", "largest_divergence")),
        row[4],
    ]
    assert int(row[4]) % 500 == 123

    cells = opened.table("All criteria")
    for h, (factor, *found) in enumerate(cells):
        assert factor == str(h)
        assert [text.split("\n")[1].split(",")[0] == "used" for text in found] == [
            expected.used[name][h] for name in CRITERIA
        ]
    assert cells[0][1] == f"{value['nats'][0]:.3f}\nused"
    assert cells[1][5].endswith("unused, passive")

    first = expected.influential[0]
    chart = opened.page.get_by_role("img", name="Bar chart").get_attribute("aria-label")
    assert (
        f"{len(expected.influential)} are above 0.1 nats. First: factor {first} {value['nats'][first]:.2f} nats"
        in chart
    )
    assert opened.page.locator("rect.drop-bar").count() == opened.page.locator("line.drop-error").count() == 12

    rows = list(csv.DictReader(opened.download("CSV").splitlines()))
    for name in ("nats", "stderr", "interval_high", "kl", "upper_divergence"):
        np.testing.assert_allclose([float(row[name]) for row in rows], value[name], atol=1e-6, rtol=1e-6)
    assert [row["information_used"] for row in rows] == [
        "true" if used else "false" for used in expected.used["information"]
    ]


@pytest.mark.parametrize("case", bad_files())
def test_a_bad_file_is_one_sentence(opened, case):
    files, sentence = bad_files()[case]
    opened.drop(files)
    said = opened.refuses()
    assert sentence in said
    assert said.endswith(".")
    assert "\n" not in said


def test_a_result_stays_when_the_next_file_is_bad(opened):
    mean, log_variance = tame("f8")
    opened.choose({"p.npz": npz(mean=mean, log_variance=log_variance)})
    before = opened.result()
    opened.choose({"p.npz": npz(mean=mean)})
    assert opened.refuses().endswith("The result below is that of the files before.")
    assert json.loads(opened.download("JSON")) == before
    opened.choose({"q.npz": npz(mean=mean[:, :2], log_variance=log_variance[:, :2])})
    opened.says("of 2 factors")
    assert opened.page.locator("#drop [role=alert]").inner_text() == ""


def test_two_files_can_come_one_after_the_other(opened):
    mean, log_variance = tame("f4")
    opened.choose({"mean.npy": npy(mean)})
    assert "add the file" in opened.refuses()
    opened.choose({"logvar.npy": npy(log_variance)})
    Expected(mean, log_variance).check(opened.result())


def test_another_reading_of_an_array_without_a_name(opened):
    mean, log_variance = tame("f8")
    opened.choose({"p.npz": npz(arr_0=mean, arr_1=np.exp(log_variance / 2))})
    opened.says("factors carr")
    remark = opened.page.get_by_text("arr_1 does not say what the array holds")
    assert "check what the array holds" in remark.inner_text()
    opened.page.get_by_label("the second array is").select_option("std")
    opened.page.get_by_text("arr_1 is read as std").wait_for()
    Expected(mean, log_variance).check(opened.result())


@pytest.mark.parametrize(
    "script",
    [
        "window.Worker = class { constructor() { throw new Error('no workers'); } }",
        "window.Worker = class { postMessage() { setTimeout(() => this.onerror(new Event(''))); } terminate() {} }",
    ],
)
def test_without_a_worker_the_page_does_the_work(browser, written, script):
    page = Page(browser, written, script)
    mean, log_variance = tame("f8")
    page.choose({"p.npz": npz(mean=mean, log_variance=log_variance)})
    Expected(mean, log_variance).check(page.result())
    page.close()


def test_a_browser_that_cannot_unpack_says_so(browser, written):
    page = Page(browser, written, "window.Worker = undefined; delete window.DecompressionStream;")
    mean, log_variance = tame("f8")
    page.choose({"p.npz": npz(True, mean=mean, log_variance=log_variance)})
    assert "This browser cannot unpack p.npz" in page.refuses()
    page.close()


def test_an_example_by_keyboard(opened):
    page = opened.page
    for expected in ("Choose files", "Try an example"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == expected
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert "decisive for few inputs" in opened.says("factors carr")
    found = json.loads(opened.download("JSON"))
    assert 3 <= sum(row["criteria"]["information"]["used"] for row in found["factors"]) <= 9
    assert [row["largest_divergence_input"] % 400 for row in found["factors"] if row["decisive_for_few"]] == [123]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_the_book_on_a_phone(site, browser, scheme):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = Page(browser, site / "book" / "drop.html", color_scheme=scheme, reduced_motion="reduce", **phone)
    page.page.get_by_role("button", name="Try an example").tap()
    page.says("factors carr")
    page.page.locator("rect.drop-bar").first.wait_for()
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    table = page.page.get_by_role("region", name="All criteria", exact=True)
    assert table.evaluate("e => e.scrollWidth > e.clientWidth && e.tabIndex === 0")
    for control in page.page.locator(".drop :is(button, select, a)").all():
        assert control.bounding_box()["height"] >= 40, "too small for a finger"
    # With preload axe would request the styles, which a page opened from a file cannot.
    found = Axe().run(page.page, "#drop", {"preload": False}).response["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"], rule["nodes"][0]["failureSummary"]) for rule in found] == []
    page.close()

"""The page of a run: its numbers, its files, and how it behaves in a real browser."""

import hashlib
import html
import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from d2_data import Metadata
from d2_eval import CocoGroundTruth, evaluate_coco_results
from d2_eval.report import page as page_of_report
from d2_eval.report import write

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


@pytest.fixture
def dataset(coco_content, tmp_path):
    """Annotations beside their two images, and predictions with an error of most kinds."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    noise = np.random.default_rng(0)
    for image in coco_content["images"]:
        pixels = noise.integers(0, 255, (image["height"], image["width"], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / image["file_name"])
    (folder / "truth.json").write_text(json.dumps(coco_content))

    def result(image_id, category_id, box, score):
        return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}

    results = [
        result(1, 3, [10, 10, 20, 20], 0.9),
        result(1, 3, [50, 20, 40, 40], 0.8),  # a dog taken for a cat
        result(1, 7, [0, 60, 20, 20], 0.7),  # nothing is there
        result(2, 7, [80, 0, 20, 20], 0.6),
    ]
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def embedded(page: Path, name: str):
    text = page.read_text(encoding="utf-8")
    match = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)
    return json.loads(match[1])


# ------------------------------------------------------------------- what it says


def test_the_figures_are_those_of_the_evaluation(shared_data, tmp_path):
    folder = shared_data / "data" / "coco54"
    truth, results = folder / "instances_coco54.json", folder / "fakesegm_coco54_results.json"
    page = write(tmp_path, truth, results, most_pictures=8)
    figures = json.loads((tmp_path / "figures.json").read_text())
    curves = evaluate_coco_results(truth, results, "segm")
    (table,) = figures["figures"]
    values = {row["metric"]: row["value"] for row in table["rows"]}
    assert table["task"] == "segm"
    for metric, value in curves.metrics().items():
        assert values[metric] == pytest.approx(value, abs=1e-5)
    by_name = {one["name"]: one["ap"] for one in figures["classes"] if one["ap"] is not None}
    known = {k: v for k, v in curves.per_class().items() if not np.isnan(v)}
    assert by_name == pytest.approx(known, abs=1e-5)
    first = table["rows"][0]
    assert first["interval"][0] < first["interval"][1]
    assert len(embedded(page, "data-pictures")) == 8


def test_the_page_needs_nothing_else(dataset, tmp_path):
    page = write(tmp_path / "report", dataset / "truth.json", dataset / "results.json")
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", text)
    assert "sourceMappingURL" not in text
    assert page.stat().st_size < 2_000_000


def test_two_runs_are_compared_on_the_same_images(shared_data, tmp_path):
    folder = shared_data / "data" / "coco54"
    results = json.loads((folder / "fakesegm_coco54_results.json").read_text())
    worse = [dict(result) for number, result in enumerate(results) if number % 3]
    truth = folder / "instances_coco54.json"
    write(tmp_path, truth, results, compare_with=worse, names=("all", "fewer"), most_pictures=0)
    figures = json.loads((tmp_path / "figures.json").read_text())
    ap = figures["figures"][0]["rows"][0]
    low, high = ap["difference"]
    assert 0 < low < ap["value"] - ap["other"] < high
    width = ap["interval"][1] - ap["interval"][0]
    assert high - low < width  # the same images make both better or worse
    assert figures["errors"]["other"]["costs"]["missed"] > 0


def test_texts_of_the_data_are_no_markup(coco_content, dataset, tmp_path):
    coco_content["categories"][0]["name"] = "</script><script>alert(1)</script>"
    (dataset / "truth.json").write_text(json.dumps(coco_content))
    truth, results = dataset / "truth.json", dataset / "results.json"
    page = write(tmp_path / "report", truth, results, title="<b>&amp;")
    text = page.read_text(encoding="utf-8")
    assert "alert(1)</script>" not in text
    assert f"<title>{html.escape('<b>&amp;')}</title>" in text
    assert embedded(page, "data-figures")["classes"][0]["name"].endswith("alert(1)</script>")


def test_predictions_of_a_dataset_with_metadata_find_its_images(dataset, tmp_path):
    metadata = Metadata(
        name="pets", json_file=str(dataset / "truth.json"), image_root=str(dataset / "images")
    )
    page = write(tmp_path / "report", metadata, dataset / "results.json")
    figures = embedded(page, "data-figures")
    assert figures["images_found"] == 2
    assert figures["dataset"] == "pets"


def test_images_are_found_beside_the_folder_of_annotations(dataset, tmp_path):
    coco = tmp_path / "coco"
    (coco / "annotations").mkdir(parents=True)
    (coco / "train2017").mkdir()
    shutil.move(dataset / "images", coco / "val2017")
    truth = shutil.move(dataset / "truth.json", coco / "annotations" / "instances_val2017.json")
    page = write(tmp_path / "report", truth, dataset / "results.json")
    assert embedded(page, "data-figures")["images_found"] == 2


def test_keypoints_alone_are_compared_by_the_boxes_around_them(shared_data, tmp_path):
    folder = shared_data / "data" / "keypoints" / "faster_coco_eval"
    results = json.loads((folder / "dt_dataset.json").read_text())
    for result in results:
        del result["bbox"]
    page = write(tmp_path / "report", folder / "gt_dataset.json", results, most_pictures=4)
    figures = embedded(page, "data-figures")
    assert figures["task"] == "bbox"
    assert [table["task"] for table in figures["figures"]] == ["bbox", "keypoints"]


def test_images_that_are_nowhere_are_empty_sheets(dataset, tmp_path):
    shutil.rmtree(dataset / "images")
    page = write(tmp_path / "report", dataset / "truth.json", dataset / "results.json")
    assert embedded(page, "data-figures")["images_found"] == 0
    pictures = embedded(page, "data-pictures")
    assert pictures
    assert all(pictures)


def test_a_folder_of_images_that_is_nowhere_is_named(dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder of images '.*nowhere'"):
        write(
            tmp_path / "out",
            dataset / "truth.json",
            dataset / "results.json",
            image_root=tmp_path / "nowhere",
        )


def test_no_predictions_at_all_leave_everything_missed(dataset, tmp_path):
    page = write(tmp_path / "report", dataset / "truth.json", [])
    figures = embedded(page, "data-figures")
    assert figures["errors"]["run"]["counts"]["missed"] == 3
    assert {one["kind"] for one in figures["examples"]} == {"missed"}


def test_pictures_show_errors_of_each_kind_and_where_they_count(dataset, tmp_path):
    truth, results = dataset / "truth.json", dataset / "results.json"
    page = write(tmp_path / "report", truth, results, confidence=0.5)
    figures = embedded(page, "data-figures")
    examples = {(one["kind"], *one["cell"]) for one in figures["examples"]}
    assert examples >= {
        ("correct", 0, 0),
        ("classification", 1, 0),
        ("background", -1, 1),
        ("missed", 0, -1),
    }
    counted = {(t, p): n for t, p, n in figures["confusions"]}
    assert counted == {(0, 0): 1, (1, 0): 1, (-1, 1): 2, (0, -1): 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "keypoints"}, "'bbox' or 'segm', got 'keypoints'"),
        ({"confidence": -1.0}, "confidence is a score from 0 on, got -1.0"),
        ({"most_pictures": -1}, "most_pictures is at least 0, got -1"),
    ],
)
def test_arguments_that_are_none_are_named(dataset, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        write(tmp_path / "report", dataset / "truth.json", dataset / "results.json", **arguments)
    assert not (tmp_path / "report").exists()


def test_results_of_other_images_are_named(dataset, tmp_path):
    results = [{"image_id": 99, "category_id": 3, "bbox": [0, 0, 1, 1], "score": 0.5}]
    with pytest.raises(ValueError, match="image_id 99"):
        write(tmp_path / "report", dataset / "truth.json", results)


def test_the_file_of_wrong_results_is_named(dataset, tmp_path):
    other = tmp_path / "other.json"
    other.write_text('[{"image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1]}]')
    truth, results = dataset / "truth.json", dataset / "results.json"
    with pytest.raises(ValueError, match="result 0 has no 'score'") as raised:
        write(tmp_path / "report", truth, results, compare_with=other)
    assert "other.json" in raised.value.__notes__[0]


def test_the_library_for_charts_is_its_publishers_file():
    library = files(page_of_report) / "assets" / "chart.umd.min.js"
    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    assert digest == "87364cc2b2a76a6684929e7d6b80b18a897794db38400caff1fcf1791c6925d2"


def test_a_dataset_without_annotations_has_no_report(coco_content, tmp_path):
    del coco_content["annotations"]
    (tmp_path / "truth.json").write_text(json.dumps(coco_content))
    with pytest.raises(ValueError, match="without annotations"):
        write(tmp_path / "report", tmp_path / "truth.json", [])


# ------------------------------------------------------- files to mend annotations from


def test_suspected_annotations_are_a_coco_file(dataset, tmp_path):
    write(tmp_path / "report", dataset / "truth.json", dataset / "results.json", confidence=0.5)
    truth = CocoGroundTruth.load(tmp_path / "report" / "label_errors.json")
    content = json.loads((tmp_path / "report" / "label_errors.json").read_text())
    assert truth.class_names == ("cat", "dog")
    said = {one["attributes"]["suspicion"]: one for one in content["annotations"]}
    assert said.keys() == {"not annotated", "other class", "found by nothing"}
    assert said["other class"]["bbox"] == [50, 20, 40, 40]
    assert said["other class"]["attributes"]["annotated_as"] == "dog"
    assert said["other class"]["attributes"]["annotation_id"] == 2
    assert said["found by nothing"]["attributes"]["annotation_id"] == 3


def test_suspected_annotations_are_a_cvat_file(dataset, tmp_path):
    write(tmp_path / "report", dataset / "truth.json", dataset / "results.json", confidence=0.5)
    root = ElementTree.parse(tmp_path / "report" / "label_errors_cvat.xml").getroot()
    assert root.tag == "annotations"
    assert root.findtext("version") == "1.1"
    image = root.find("image[@name='one.png']")
    assert (image.get("width"), image.get("height")) == ("100", "80")
    box = next(b for b in image.iter("box") if b.get("label") == "cat")
    corners = [float(box.get(side)) for side in ("xtl", "ytl", "xbr", "ybr")]
    assert corners == [50, 20, 90, 60]
    assert box.findtext("attribute[@name='suspicion']") == "other class"


def test_suspected_annotations_are_a_fiftyone_folder(dataset, tmp_path):
    write(tmp_path / "report", dataset / "truth.json", dataset / "results.json", confidence=0.5)
    folder = tmp_path / "report" / "label_errors_fiftyone"
    labels = json.loads((folder / "labels.json").read_text())
    files = json.loads((folder / "data.json").read_text())
    assert labels["classes"] == ["cat", "dog"]
    assert labels["labels"].keys() == files.keys() == {"image-1", "image-2"}
    assert Path(files["image-1"]) == dataset / "images" / "one.png"
    found = [one for one in labels["labels"]["image-1"] if one["label"] == 0]
    assert found[0]["bounding_box"] == [0.5, 0.25, 0.4, 0.5]
    assert found[0]["confidence"] == 0.8


# --------------------------------------------------------------------- in a browser


def found_browser() -> str:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser was found: none of {', '.join(BROWSERS)} is on the path")
    return browser


def run_in_browser(page: Path, script: str, *options: str) -> dict:
    """Open a page in a browser without a window, run a script in it, and get what it returns.

    What the page logs as an error, or raises, is returned as ``errors``.
    """
    browser = found_browser()
    text = page.read_text(encoding="utf-8")
    listen = (
        "<script>window.seen = [];"
        "addEventListener('error', (e) => seen.push(e.message));"
        "for (const kind of ['error', 'warn']) console[kind] = (...said) => seen.push(said.join());"
        "</script>"
    )
    report = (
        f"<script>function tried() {{ {script} }}"
        "let got = {}; try { got = tried(); } catch (error) { seen.push(String(error)); }"
        "document.body.dataset.got = JSON.stringify({ ...got, errors: window.seen });</script>"
    )
    text = text.replace("<head>", f"<head>{listen}", 1).replace("</body>", f"{report}</body>", 1)
    opened = page.with_name("opened.html")
    opened.write_text(text, encoding="utf-8")
    profile = page.with_name("profile")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += ["--window-size=1200,900", *options, "--dump-dom", opened.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    match = re.search(r'data-got="(.*?)"', done.stdout)
    assert match, done.stderr[-2000:]
    return json.loads(html.unescape(match[1]))


@pytest.fixture
def page(dataset, tmp_path):
    truth, results = dataset / "truth.json", dataset / "results.json"
    return write(tmp_path / "report", truth, results, confidence=0.5)


def test_clicking_the_matrix_filters_the_pictures(page):
    got = run_in_browser(
        page,
        """
        const cards = () => document.querySelectorAll("#cards .card").length;
        const cell = document.querySelector('#matrix [data-cell="1,0"]');
        const all = cards();
        cell.click();
        const text = document.querySelector("#cards .card").textContent;
        const pressed = cell.getAttribute("aria-pressed"), filtered = cards();
        cell.click();
        return { all, filtered, text, pressed, again: cards(), cell: cell.textContent };
        """,
    )
    assert got["errors"] == []
    assert (got["all"], got["filtered"], got["again"]) == (4, 1, 4)
    assert got["pressed"] == "true"
    assert got["cell"] == "1"
    assert "Classification" in got["text"]
    assert "cat 0.80, annotated as dog" in got["text"]


def test_kinds_and_classes_filter_the_pictures_and_pictures_open(page):
    got = run_in_browser(
        page,
        """
        const texts = (found) => [...document.querySelectorAll(found)].map((e) => e.textContent);
        const kinds = () => texts("#cards .kind");
        const chip = (name) => [...document.querySelectorAll("#kind-chips button")]
          .find((button) => button.textContent.startsWith(name));
        chip("Missed").click();
        const missed = kinds();
        chip("Correct").click();
        const correct = kinds();
        chip("All errors").click();
        const select = document.querySelector("#picture-class");
        select.value = "1";
        select.dispatchEvent(new Event("change"));
        const dogs = kinds();
        document.querySelector("#cards .card").click();
        const viewer = document.querySelector("#viewer");
        const sources = [...document.querySelectorAll("#cards img")].map((i) => i.src.slice(0, 23));
        return { missed, correct, dogs, open: viewer.open, sources: [...new Set(sources)] };
        """,
    )
    assert got["errors"] == []
    assert got["missed"] == ["Missed"]
    assert got["correct"] == ["Correct"]
    assert got["dogs"] == ["Classification", "Background", "Background"]
    assert got["open"] is True
    assert got["sources"] == ["data:image/jpeg;base64,"]


def test_light_and_dark_follow_the_system_and_the_button(page):
    script = """
        const ground = () => getComputedStyle(document.body).backgroundColor;
        const before = [document.documentElement.dataset.theme, ground()];
        document.querySelector("#theme").click();
        const bars = Chart.getChart("chart-errors").data.datasets[0].backgroundColor;
        return { before, after: [document.documentElement.dataset.theme, ground()], bars };
    """
    light = run_in_browser(page, script)
    assert light["errors"] == []
    assert light["before"] == ["light", "rgb(255, 255, 255)"]
    assert light["after"] == ["dark", "rgb(20, 24, 30)"]
    assert light["bars"] == "#6ea3ff"
    dark = run_in_browser(page, script, "--blink-settings=preferredColorScheme=0")
    assert dark["before"][0] == "dark"
    assert dark["after"][0] == "light"


def test_a_page_without_predictions_and_pictures_opens_without_errors(dataset, tmp_path):
    page = write(tmp_path / "report", dataset / "truth.json", [], most_pictures=0)
    got = run_in_browser(
        page,
        """return { cards: document.querySelector("#cards").textContent,
          calibration: document.querySelector("#calibration-lead").textContent };""",
    )
    assert got["errors"] == []
    assert "Nothing to show" in got["cards"]
    assert got["calibration"] == "There are no predictions."


def test_a_comparison_opens_without_errors(dataset, tmp_path):
    results = json.loads((dataset / "results.json").read_text())
    page = write(
        tmp_path / "report",
        dataset / "truth.json",
        results,
        compare_with=results[1:],
        names=("new", "old"),
    )
    got = run_in_browser(
        page,
        """return { text: document.querySelector("#figures").textContent,
          sets: Chart.getChart("chart-errors").data.datasets.map((set) => set.label),
          changes: document.querySelector("#change-cards .card").textContent };""",
    )
    assert got["errors"] == []
    assert got["sets"] == ["new", "old"]
    assert "Difference" in got["text"]
    assert "Found only by new" in got["changes"]
    assert "cat 0.90" in got["changes"]


AS_PRINTED = """
    for (const sheet of document.styleSheets) for (const { media } of sheet.cssRules)
      if (media?.mediaText === "print") media.mediaText = "all";
    dispatchEvent(new Event("beforeprint"));
"""


def test_print_is_light_and_shows_everything_but_controls(page):
    got = run_in_browser(
        page,
        AS_PRINTED
        + """
        const hidden = (found) => [...document.querySelectorAll(found)]
          .every((element) => getComputedStyle(element).display === "none");
        const wide = (element) => element.getBoundingClientRect().right > innerWidth + 1;
        return {
          theme: document.documentElement.dataset.theme,
          controls: hidden(".contents, #theme, .filters, .field, #label-chips"),
          shown: [...document.querySelectorAll("main section h2")].length,
          pictures: [...document.querySelectorAll("#cards img")].map((image) => image.loading),
          cut: [...document.querySelectorAll("section > *, canvas, table")].filter(wide).length,
        };
        """,
        "--blink-settings=preferredColorScheme=0",
    )
    assert got["errors"] == []
    assert got["theme"] == "light"
    assert got["controls"] is True
    assert got["shown"] >= 8
    assert got["pictures"] == ["eager"] * 4
    assert got["cut"] == 0


def test_printing_puts_the_pictures_on_paper(page):
    browser, paper = found_browser(), page.with_name("page.pdf")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    profile = f"--user-data-dir={page.with_name('profile')}"
    command = [browser, *options, profile, f"--print-to-pdf={paper}", page.as_uri()]
    subprocess.run(command, capture_output=True, check=True, timeout=120)
    content = paper.read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", content)) > 1
    assert content.count(b"/DCTDecode") >= 4

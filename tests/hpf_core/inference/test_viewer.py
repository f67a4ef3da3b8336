"""The page of predictions: what is in it, and that it works in a browser where there is one."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hpf_core.bench.scenes import raw_frame
from hpf_core.data.cameras import Rig
from hpf_core.data.layouts import nyu
from hpf_core.errors import DataError
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.predictor import HandPredictor
from hpf_core.inference.streams import PredictedFrame
from hpf_core.inference.viewer import grey_image, page, read_predictions, view_frame, write_page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def predictor() -> HandPredictor:
    return HandPredictor(load_network(), "right")


@pytest.fixture(scope="module")
def frames(predictor, tmp_path_factory) -> list[PredictedFrame]:
    seen = nyu.read_depth(raw_frame(predictor.network.hand, tmp_path_factory.mktemp("frame")).path)
    depth = np.where(nyu.returned(seen), seen, 0).astype(np.uint16)
    empty = np.full_like(depth, 900)
    found = predictor.batch([depth, empty], nyu.CAMERA)
    return [
        PredictedFrame("</script><b>first", 0.0, found[0], depth, nyu.CAMERA),
        PredictedFrame("second", 0.5, found[1], empty, nyu.CAMERA),
    ]


def _data(text: str) -> dict:
    (found,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    return json.loads(found.replace("<\\/", "</"))


def test_a_page_holds_frames_and_names_no_other_place(frames, predictor, tmp_path):
    write_page(tmp_path / "hands.html", [view_frame(frame) for frame in frames], predictor.network.hand, "<i>title")
    text = (tmp_path / "hands.html").read_text()
    assert "&lt;i&gt;title" in text
    assert not re.search(r"(src|href)\s*=\s*[\"']?http", text)
    data = _data(text)
    assert [frame["name"] for frame in data["frames"]] == ["</script><b>first", "second"]
    first = data["frames"][0]
    assert len(first["hands"][0]["points"]) == 41
    (view,) = first["views"]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(view["image"]))))
    # A grey value gives the depth back, to a step of 600 mm / 254.
    fx, _, cx, _ = view["camera"]
    depth = frames[0].depth
    v, u = np.argwhere(image > 0)[len(np.argwhere(image > 0)) // 2]
    assert abs(view["near_mm"] + (255 - image[v, u]) / 254 * view["range_mm"] - depth[2 * v, 2 * u]) < 3
    assert np.allclose(view["pixels"][0], frames[0].hands[0].pixels, atol=0.06)
    assert (fx, cx) == (nyu.CAMERA.fx / 2, nyu.CAMERA.cx / 2)


def test_two_thousand_frames_take_some_megabytes(frames):
    one = len(json.dumps(view_frame(frames[0])))
    assert one * 2000 < 80e6


def test_predictions_are_read_back(frames, predictor, tmp_path):
    for frame in frames:
        frame.save(tmp_path / "hands.jsonl")
    read = read_predictions(tmp_path / "hands.jsonl", predictor.network.hand)
    assert [len(frame["hands"]) for frame in read] == [1, 0]
    assert np.allclose(read[0]["hands"][0]["points"], frames[0].hands[0].points, atol=1e-3)
    assert np.allclose(read[0]["views"][0]["pixels"][0], frames[0].hands[0].pixels, atol=1e-3)
    assert (read[0]["views"][0]["size"], read[1]["views"][0]["pixels"]) == ([640, 480], [])
    (tmp_path / "bad.jsonl").write_text('{"frame": 1}\n')
    with pytest.raises(DataError, match=r"bad.jsonl:1 is no line"):
        read_predictions(tmp_path / "bad.jsonl", predictor.network.hand)


def test_a_rigs_frame_has_all_views(frames):
    """The second camera stands 100 mm to the right of the first, so its pixels lie to the left."""
    pose = np.eye(4)
    pose[:3, 3] = [100.0, 0.0, 0.0]
    rig = Rig((nyu.CAMERA, nyu.CAMERA), np.stack([np.eye(4), pose]))
    depth = frames[0].depth
    shown = view_frame(PredictedFrame("a", 0.0, frames[0].hands, [depth, depth], rig))
    first, second = shown["views"]
    hand = frames[0].hands[0]
    assert np.allclose(first["pixels"][0], hand.pixels, atol=0.06)
    assert np.allclose(second["pixels"][0], nyu.CAMERA.project(hand.points - pose[:3, 3])[:, :2], atol=0.06)
    assert np.array(second["to_space"]).reshape(4, 4)[:3, 3].tolist() == [100.0, 0.0, 0.0]
    assert first["image"] == second["image"] == view_frame(frames[0])["views"][0]["image"]


def driven(text: str, drive: str, folder: Path) -> dict[str, Any]:
    """What a script says of a page that it drives in a browser."""
    say = "const speak = said => { document.title = 'said:' + JSON.stringify(said); };"
    script = f"<script>{say}{drive}</script></body>"
    (folder / "page.html").write_text(text.replace("</body>", script))
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=4000", "--dump-dom", f"file://{folder / 'page.html'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    (said,) = re.findall(r"<title>said:(.*?)</title>", done.stdout, re.S)
    return json.loads(html.unescape(said))


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_labels_and_errors_are_shown_with_the_worst_frame_first(predictor, tmp_path):
    """Two frames of two views, crops of 64 pixels with a surface in the middle; the second one's error is larger."""
    depth = np.full((64, 64), 150.0)
    depth[20:44, 20:44] = 10.0
    view = {
        "size": [64, 64], "pixel_mm": 300 / 64, "near_mm": -150, "range_mm": 300, "pixels": [[[31.5, 31.5]] * 41],
        "image": grey_image(depth, depth < 150, -150, 300), "truth": [[10, 50], [50, 10]],
    }  # fmt: skip
    hand = {"side": "right", "confidence": None, "fit_mm": None, "iou": None, "centre": [0, 0, 0]}
    hand["points"] = [[0, 0, 10]] * 41
    views = [
        {
            "name": f"frame {number}", "time": None, "error": "", "hands": [hand], "views": [view, view],
            "truth": [[40, 40, 0], [-40, -40, 0]], "error_mm": sum(errors) / 2, "joint_errors": errors,
        }
        for number, errors in enumerate(([1.0, 3.0], [30.0, 20.0]))
    ]  # fmt: skip
    text = page(views, predictor.network.hand.links, [8.0] * 41, "trial", joints=["thumb", "<b>index"])
    drive = """
    const crosses = canvas => { const d = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      let n = 0; for (let k = 0; k < d.length; k += 4) if (d[k + 1] > 150 && d[k] < 100) n++; return n; };
    setTimeout(() => speak({ where: get("where").textContent, order: get("order").value, rows: get("joints").innerText,
      bad: document.querySelector(".bad").innerText, views: get("views").children.length, surface: surface.length,
      green: [...get("views").children, get("space")].map(crosses) }), 500);"""
    found = driven(text, drive, tmp_path)
    assert (found["where"], found["order"], found["views"]) == ("frame 1", "worst", 2)
    assert [line.split("\t") for line in found["rows"].split("\n")] == [
        ["joint", "error mm", "mean of all frames"], ["thumb", "30.0", "15.5"], ["<b>index", "20.0", "11.5"],
    ]  # fmt: skip
    assert found["bad"].startswith("thumb")
    assert found["surface"] == 2 * 24 * 24
    assert min(found["green"]) > 10


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_the_page_works_in_a_browser(frames, predictor, tmp_path):
    """A script of the test drives the page: it steps, sorts, switches and draws, and writes down what it sees."""
    views = [view_frame(frame) for frame in frames]
    text = page(views, predictor.network.hand.links, [8.0] * 41, "trial")
    drive = """
    const lit = id => { const c = get(id), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
      let n = 0; for (let k = 0; k < d.length; k += 4) if (d[k] > 200 && d[k + 2] < 90) n++; return n; };
    setTimeout(() => {
      const said = { first: get("where").textContent, orange: lit("image"), space: lit("space") };
      get("step").click();
      setTimeout(() => {
        said.second = get("said").textContent; said.gone = lit("image");
        get("time").value = 0; get("time").dispatchEvent(new Event("input"));
        get("spheres").click();
        setTimeout(() => {
          said.spheres = lit("space");
          dispatchEvent(new KeyboardEvent("keydown", { key: "End" }));
          said.end = get("where").textContent;
          get("order").value = "worst"; get("order").dispatchEvent(new Event("change"));
          said.worst = get("where").textContent;
          get("theme").click(); said.theme = document.documentElement.dataset.theme;
          speak(said);
        }, 200);
      }, 200);
    }, 300);"""
    found = driven(text, drive, tmp_path)
    assert found["first"].startswith("</script><b>first")
    assert found["orange"] > 100
    assert found["space"] > 100
    assert (found["second"], found["gone"]) == ("no hand in this frame", 0)
    assert found["spheres"] > 0
    assert found["end"].startswith("second")
    assert found["worst"].startswith("second")
    assert found["theme"] in ("light", "dark")

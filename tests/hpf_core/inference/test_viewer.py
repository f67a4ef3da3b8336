"""The page of predictions: what is in it, and that it works in a browser where there is one."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from hpf_core.bench.scenes import raw_frame
from hpf_core.data.layouts import nyu
from hpf_core.errors import DataError
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.predictor import HandPredictor
from hpf_core.inference.streams import PredictedFrame
from hpf_core.inference.viewer import page, read_predictions, view_frame, write_page

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
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(first["image"]))))
    # A grey value gives the depth back, to a step of 600 mm / 254.
    fx, _, cx, _ = first["camera"]
    depth = frames[0].depth
    v, u = np.argwhere(image > 0)[len(np.argwhere(image > 0)) // 2]
    assert abs(first["near_mm"] + (255 - image[v, u]) / 254 * first["range_mm"] - depth[2 * v, 2 * u]) < 3
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
    (tmp_path / "bad.jsonl").write_text('{"frame": 1}\n')
    with pytest.raises(DataError, match=r"bad.jsonl:1 is no line"):
        read_predictions(tmp_path / "bad.jsonl", predictor.network.hand)


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_the_page_works_in_a_browser(frames, predictor, tmp_path):
    """A script of the test drives the page: it steps, sorts, switches and draws, and writes down what it sees."""
    views = [view_frame(frame) for frame in frames]
    text = page(views, predictor.network.hand.links, [8.0] * 41, "trial")
    drive = """
    <script>
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
          document.title = "said:" + JSON.stringify(said);
        }, 200);
      }, 200);
    }, 300);
    </script></body>"""
    (tmp_path / "page.html").write_text(text.replace("</body>", drive))
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=4000", "--dump-dom", f"file://{tmp_path / 'page.html'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    (said,) = re.findall(r"<title>said:(.*?)</title>", done.stdout, re.S)
    found = json.loads(said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert found["first"].startswith("</script><b>first")
    assert found["orange"] > 100
    assert found["space"] > 100
    assert (found["second"], found["gone"]) == ("no hand in this frame", 0)
    assert found["spheres"] > 0
    assert found["end"].startswith("second")
    assert found["worst"].startswith("second")
    assert found["theme"] in ("light", "dark")

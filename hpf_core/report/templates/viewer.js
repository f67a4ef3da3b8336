// The 3D view: points, lines and spheres on a canvas, drawn from back to front. Millimetres, x right, y down, z away.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("space-data").textContent);
  const canvas = document.getElementById("space");
  const pen = canvas.getContext("2d");
  const choice = document.getElementById("space-frame");
  const layers = {};
  const clouds = [];
  document.querySelectorAll("[data-layer]").forEach((box) => (layers[box.dataset.layer] = box));
  document.querySelectorAll("[data-cloud]").forEach((box) => (clouds[+box.dataset.cloud] = box));
  let scene, turn, zoom, centre, asked = false;

  function decode(text) { // base64 of little-endian int16, tenths of a millimetre
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const points = new Float32Array(bytes.length / 2);
    for (let k = 0; k < points.length; k++) points[k] = view.getInt16(2 * k, true) / 10;
    return points;
  }

  function choose(number) {
    const frame = data.frames[number];
    frame.decoded = frame.decoded || frame.clouds.map(decode);
    scene = frame;
    centre = [0, 1, 2].map((axis) => {
      const values = frame.truth.concat(frame.after).map((p) => p[axis]);
      return (Math.min(...values) + Math.max(...values)) / 2;
    });
    draw();
  }

  function reset() { // as the camera sees it
    turn = [1, 0, 0, 0, 1, 0, 0, 0, 1];
    zoom = 1;
  }

  function rotate(m, right, down) { // turn the view by angles about the screen's axes
    const a = Math.cos(right), b = Math.sin(right), c = Math.cos(down), d = Math.sin(down);
    const r = [a, 0, -b, b * d, c, a * d, b * c, -d, a * c];
    const out = [];
    for (let i = 0; i < 3; i++) {
      for (let j = 0; j < 3; j++) out.push(r[3 * i] * m[j] + r[3 * i + 1] * m[3 + j] + r[3 * i + 2] * m[6 + j]);
    }
    return out;
  }

  function place(x, y, z, scale, width, height) { // to the screen, with a weak perspective
    x -= centre[0]; y -= centre[1]; z -= centre[2];
    const depth = turn[6] * x + turn[7] * y + turn[8] * z;
    const near = 900 / Math.max(200, 900 + depth);
    return [
      width / 2 + scale * near * (turn[0] * x + turn[1] * y + turn[2] * z),
      height / 2 + scale * near * (turn[3] * x + turn[4] * y + turn[5] * z),
      depth,
      scale * near,
    ];
  }

  function draw() {
    if (!asked) requestAnimationFrame(paint);
    asked = true;
  }

  function paint() {
    asked = false;
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue(name).trim() || "#888";
    const scale = (zoom * Math.min(width, height)) / 260;
    const at = (p) => place(p[0], p[1], p[2], scale, width, height);
    const items = []; // [depth, drawing]
    const shades = ["--quiet", "--other0", "--other4"].map(colour);
    scene.decoded.forEach((points, view) => {
      if (!clouds[view].checked) return;
      for (let k = 0; k < points.length; k += 3) {
        const p = place(points[k], points[k + 1], points[k + 2], scale, width, height);
        items.push([p[2], dot, p, shades[view % 3]]);
      }
    });
    if (layers.spheres.checked) {
      scene.after.forEach((point, k) => {
        const p = at(point);
        // The nearest part of a sphere, so that it hides what is in it.
        items.push([p[2] - data.radii[k], ball, p, data.radii[k] * p[3], colour("--fit")]);
      });
    }
    for (const name of ["before", "after"]) {
      if (!scene[name] || !layers[name] || !layers[name].checked) continue;
      const joints = scene[name].map(at);
      const ink = colour(name === "after" ? "--fit" : "--init");
      // Bones in front of the spheres and the depth around them: they are what is looked at.
      for (const [a, b] of data.links) items.push([(joints[a][2] + joints[b][2]) / 2 - 30, bone, joints[a], joints[b], ink]);
      joints.forEach((p) => items.push([p[2] - 30, knot, p, 3, ink]));
    }
    if (layers.truth.checked) {
      scene.truth.forEach((point, k) => {
        const p = at(point);
        items.push([p[2] - 30, bone, at(scene.joints[k]), p, colour("--ink"), 1.5]);
        items.push([p[2] - 31, knot, p, 5, colour("--truth")]);
      });
    }
    items.sort((a, b) => b[0] - a[0]);
    for (const item of items) item[1](...item.slice(2));
    pen.globalAlpha = 1;
    pen.fillStyle = colour("--ink");
    pen.font = "14px system-ui, sans-serif";
    pen.fillText(scene.title, 12, 22);
  }

  function dot(p, ink) {
    pen.globalAlpha = Math.max(0.25, Math.min(0.9, 0.6 - p[2] / 300));
    pen.fillStyle = ink;
    const side = Math.max(1.6, 1.3 * p[3]);
    pen.fillRect(p[0] - side / 2, p[1] - side / 2, side, side);
  }

  function ball(p, radius, ink) {
    pen.globalAlpha = 0.85;
    pen.fillStyle = ink;
    circle(p, radius);
    const light = pen.createRadialGradient(p[0] - radius / 3, p[1] - radius / 3, radius / 8, p[0], p[1], radius);
    light.addColorStop(0, "rgba(255,255,255,.55)");
    light.addColorStop(0.6, "rgba(255,255,255,0)");
    light.addColorStop(1, "rgba(0,0,0,.3)");
    pen.fillStyle = light;
    circle(p, radius);
  }

  function bone(a, b, ink, thick) {
    pen.globalAlpha = 1;
    pen.strokeStyle = ink;
    pen.lineWidth = thick || 2.5;
    pen.lineCap = "round";
    pen.beginPath();
    pen.moveTo(a[0], a[1]);
    pen.lineTo(b[0], b[1]);
    pen.stroke();
  }

  function knot(p, radius, ink) {
    pen.globalAlpha = 1;
    pen.fillStyle = ink;
    circle(p, radius);
  }

  function circle(p, radius) {
    pen.beginPath();
    pen.arc(p[0], p[1], radius, 0, 2 * Math.PI);
    pen.fill();
  }

  // ------------------------------------------------------------------------------------------ mouse, fingers, keys
  const fingers = new Map();
  let spread = 0;
  const gap = () => {
    const [a, b] = [...fingers.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  };
  const enlarge = (factor) => {
    zoom = Math.max(0.3, Math.min(8, zoom * factor));
    draw();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (fingers.size === 2) spread = gap();
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (fingers.size === 1) {
      turn = rotate(turn, -(event.clientX - last[0]) / 150, -(event.clientY - last[1]) / 150);
      draw();
    } else if (fingers.size === 2) {
      const wide = gap();
      if (spread > 0) enlarge(wide / spread);
      spread = wide;
    }
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    enlarge(Math.exp(-event.deltaY / 600));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
    if (turns[event.key]) {
      turn = rotate(turn, ...turns[event.key]);
      draw();
    } else if (event.key === "+" || event.key === "=") enlarge(1.15);
    else if (event.key === "-") enlarge(1 / 1.15);
    else if (event.key === "0") { reset(); draw(); } else return;
    event.preventDefault();
  });
  document.getElementById("space-reset").addEventListener("click", () => { reset(); draw(); });
  choice.addEventListener("change", () => choose(+choice.value));
  document.querySelectorAll("[data-layer], [data-cloud]").forEach((box) => box.addEventListener("change", draw));
  document.querySelectorAll("[data-show]").forEach((button) => button.addEventListener("click", () => {
    choice.value = button.dataset.show;
    choose(+choice.value);
    canvas.scrollIntoView({ block: "center" });
    canvas.focus({ preventScroll: true });
  }));
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  reset();
  turn = rotate(turn, 0.5, -0.25); // from the side at first, so that depth shows
  choose(+choice.value);
})();

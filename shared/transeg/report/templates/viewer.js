"use strict";
// Three planes of the layers in #payload. Voxels are bytes in RAS, X fastest. Radiological display: the patient's right
// is on the left, anterior or superior up, in sagittal slices anterior on the left.
(async () => {
  const page = JSON.parse(document.getElementById("payload").textContent);
  const [nx, ny, nz] = page.shape, size = page.shape, mm = page.spacing;
  const unpack = async (layer) => {
    const bytes = Uint8Array.from(atob(layer.data), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return { ...layer, voxels: new Uint8Array(await new Response(stream).arrayBuffer()) };
  };
  const layers = await Promise.all(page.layers.map(unpack));
  const images = layers.filter((layer) => layer.kind === "image");
  const labels = layers.find((layer) => layer.kind === "labels");
  const heats = layers.filter((layer) => layer.kind === "probability");
  const grounds = images.map((layer) => ({ name: layer.name, layer }));
  if (page.comparable && images.length > 1)
    grounds.push({ name: "difference", layer: images[0], other: images[1] });

  const HEAT = [[0, 0, 0], [70, 16, 110], [182, 54, 121], [251, 136, 97], [252, 253, 191]];
  const REMOVED = [255, 150, 60], ADDED = [80, 170, 255];
  const heat = (value) => {
    const place = (value / 255) * (HEAT.length - 1), k = Math.min(Math.floor(place), HEAT.length - 2), part = place - k;
    return HEAT[k].map((from, c) => from + (HEAT[k + 1][c] - from) * part);
  };

  // across: axis of the slices; right, down: axes whose index falls to the right and downwards
  const planes = [
    { name: "axial", across: 2, right: 0, down: 1, sides: "RLAP" },
    { name: "coronal", across: 1, right: 0, down: 2, sides: "RLSI" },
    { name: "sagittal", across: 0, right: 1, down: 2, sides: "APSI" },
  ];
  const step = [1, nx, nx * ny];
  const longest = Math.max(...size.map((n, axis) => n * mm[axis])), scale = 380 / longest; // pixels a mm
  const state = { at: middle(), ground: 0, labels: true, heats: new Set() };

  function middle() { // of the segmentation, or of the scan
    const centre = size.map((n) => Math.floor(n / 2));
    if (!labels || !labels.voxels.some((value) => value)) return centre;
    const counts = size.map((n) => new Float64Array(n));
    labels.voxels.forEach((value, index) => {
      if (!value) return;
      counts[0][index % nx]++;
      counts[1][Math.floor(index / nx) % ny]++;
      counts[2][Math.floor(index / (nx * ny))]++;
    });
    return counts.map((count) => count.indexOf(Math.max(...count)));
  }

  const input = (id) => Number(document.getElementById(id).value);

  function colourOf(ground, index, low, high) {
    if (ground.other) {
      const change = (ground.layer.voxels[index] - ground.other.voxels[index]) / 127.5;
      const part = Math.min(1, Math.abs(change));
      return (change > 0 ? REMOVED : ADDED).map((c) => c * part);
    }
    const level = (255 * (ground.layer.voxels[index] - low)) / Math.max(1, high - low);
    return [level, level, level];
  }

  function draw(plane) {
    const { across, right, down } = plane, w = size[right], h = size[down];
    const image = new ImageData(w, h), ground = grounds[state.ground];
    const strength = input("strength") / 100, low = input("low"), high = input("high");
    for (let row = 0; row < h; row++)
      for (let column = 0; column < w; column++) {
        const index = state.at[across] * step[across] + (w - 1 - column) * step[right] + (h - 1 - row) * step[down];
        let colour = colourOf(ground, index, low, high);
        const blend = (over, part) => { colour = colour.map((c, k) => (1 - part) * Math.min(255, Math.max(0, c)) + part * over[k]); };
        for (const layer of state.heats) blend(heat(layer.voxels[index]), layer.voxels[index] ? strength : 0);
        if (state.labels && labels && labels.voxels[index])
          blend(page.colours[(labels.voxels[index] - 1) % page.colours.length], strength);
        image.data.set([...colour, 255], 4 * (row * w + column));
      }
    const small = new OffscreenCanvas(w, h);
    small.getContext("2d").putImageData(image, 0, 0);
    const { canvas } = plane, context = canvas.getContext("2d");
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, canvas.width, canvas.height);  // or the slice before shines through at the smoothed edges
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    annotate(plane, context);
    plane.caption.textContent = `${plane.name}, ${state.at[across] * page.steps[across] + 1} of ${page.voxels[across]}`;
    plane.slider.value = state.at[across];
  }

  function annotate({ canvas, right, down, sides }, context) {
    const x = (size[right] - 0.5 - state.at[right]) * mm[right] * scale;
    const y = (size[down] - 0.5 - state.at[down]) * mm[down] * scale;
    context.strokeStyle = "rgba(138, 184, 255, 0.45)";
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, 0); context.lineTo(x, canvas.height); context.moveTo(0, y); context.lineTo(canvas.width, y);
    context.stroke();
    context.font = "13px system-ui, sans-serif";
    context.textBaseline = "middle";
    const write = (text, left, top, align) => {
      context.textAlign = align;
      context.lineWidth = 3;
      context.strokeStyle = "#000";
      context.strokeText(text, left, top);
      context.fillStyle = "#fff";
      context.fillText(text, left, top);
    };
    if (page.oriented) {
      write(sides[0], 4, canvas.height / 2, "left");
      write(sides[1], canvas.width - 4, canvas.height / 2, "right");
      write(sides[2], canvas.width / 2, 9, "center");
      write(sides[3], canvas.width / 2, canvas.height - 9, "center");
    }
    if (canvas.height < 110) return;  // no room beside the letters
    const bar = [200, 100, 50, 20, 10, 5, 2, 1].find((length) => length * scale <= canvas.width / 3) || 1;
    context.fillStyle = "#fff";
    context.fillRect(8, canvas.height - 12, bar * scale, 3);
    write(bar >= 10 ? `${bar / 10} cm` : `${bar} mm`, 8, canvas.height - 22, "left");
  }

  function redraw() {
    const { layer, other } = grounds[state.ground];
    const value = (level) => (layer.window[0] + (level / 255) * (layer.window[1] - layer.window[0])).toPrecision(4);
    document.getElementById("window").textContent = other ? "" : `${value(input("low"))} to ${value(input("high"))}`;
    planes.forEach(draw);
    key(other);
  }

  function key(difference) {
    const bar = (colours, from, to) =>
      `<span class="bar">${from} <i style="background: linear-gradient(to right, ${colours.map((c) => `rgb(${c})`)})"></i> ${to}</span> `;
    document.getElementById("key").innerHTML =
      (difference ? bar([ADDED, [0, 0, 0], REMOVED], "added by the translation", "removed") : "") +
      [...state.heats].map((layer) => bar(HEAT, `${layer.name} 0`, "1")).join("");
  }

  const choice = (parent, type, text, checked, change) => {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = type;
    box.name = parent;
    box.checked = checked;
    box.addEventListener("input", () => { change(box); redraw(); });
    label.append(box, text);
    document.getElementById(parent).append(label);
  };
  grounds.forEach(({ name }, k) => choice("grounds", "radio", name, k === 0, () => { state.ground = k; }));
  if (labels) choice("overlays", "checkbox", labels.name, true, (box) => { state.labels = box.checked; });
  heats.forEach((layer) => choice("overlays", "checkbox", layer.name, false, (box) => {
    state.heats[box.checked ? "add" : "delete"](layer);
  }));
  for (const id of ["strength", "low", "high"]) document.getElementById(id).addEventListener("input", redraw);

  for (const plane of planes) {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas");
    const slider = document.createElement("input"), caption = document.createElement("figcaption");
    Object.assign(canvas, { width: Math.max(1, Math.round(size[plane.right] * mm[plane.right] * scale)),
      height: Math.max(1, Math.round(size[plane.down] * mm[plane.down] * scale)), id: plane.name });
    Object.assign(slider, { type: "range", min: 0, max: size[plane.across] - 1, ariaLabel: `${plane.name} slice` });
    const go = (axis, index) => { state.at[axis] = Math.min(size[axis] - 1, Math.max(0, index)); };
    slider.addEventListener("input", () => { go(plane.across, Number(slider.value)); redraw(); });
    canvas.addEventListener("click", (event) => {
      const part = [event.offsetX / canvas.clientWidth, event.offsetY / canvas.clientHeight];
      go(plane.right, size[plane.right] - 1 - Math.floor(part[0] * size[plane.right]));
      go(plane.down, size[plane.down] - 1 - Math.floor(part[1] * size[plane.down]));
      redraw();
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      go(plane.across, state.at[plane.across] + Math.sign(event.deltaY));
      redraw();
    }, { passive: false });
    Object.assign(plane, { canvas, slider, caption });
    figure.append(canvas, slider, caption);
    document.getElementById("planes").append(figure);
  }
  document.getElementById("orientation").textContent = page.oriented
    ? "Radiological display: the patient's right is on the left." + (page.oblique < 10 ? "" :
      ` The slices are oblique: ${page.oblique} degrees from the axes of the body; planes and letters are the nearest.`)
    : "The files do not say where right and left are; they are taken to be in radiological display.";
  redraw();
  document.body.dataset.ready = "true";
})();

// Maps of a layer: one large, with a window on it; all of them small, to choose from.

/** A map as dots of whole pixels, with boxes over it. */
function mapFigure({values, height, width, scale, room = 200, label = ""}) {
  const zoom = Math.max(1, Math.floor(room / Math.max(height, width)));
  const canvas = put(el("canvas", {role: "img", "aria-label": label}), picture(values, height, width, scale));
  canvas.style.width = `${zoom * width}px`;
  canvas.style.height = `${zoom * height}px`;
  const root = el("span", {class: "map"}, canvas), box = el("i", {class: "box", hidden: true});
  root.append(box);
  /** Light up positions [top, left, bottom, right]. */
  const light = found => {
    box.hidden = !found;
    if (!found) return;
    const [top, left, bottom, right] = found;
    Object.assign(box.style, {
      left: `${100 * left / width}%`, top: `${100 * top / height}%`,
      width: `${100 * (right - left + 1) / width}%`, height: `${100 * (bottom - top + 1) / height}%`,
    });
  };
  return {root, canvas, light, height, width};
}

/** A map whose pixels can be pointed at, by a pointer or by arrow keys. */
function pointed(figure, name, onmove) {
  const {root, canvas, height, width} = figure;
  let at = [0, 0];
  root.tabIndex = 0;
  root.setAttribute("role", "application");
  root.setAttribute("aria-label", `${name}; arrow keys move over its ${height} by ${width} pixels`);
  const move = (y, x) => {
    at = [Math.min(height - 1, Math.max(0, y)), Math.min(width - 1, Math.max(0, x))];
    onmove(...at);
  };
  const here = event => {
    const {left, top, width: w, height: h} = canvas.getBoundingClientRect();
    move(Math.floor((event.clientY - top) / h * height), Math.floor((event.clientX - left) / w * width));
  };
  root.addEventListener("pointermove", event => { if (event.pointerType === "mouse") here(event); });
  root.addEventListener("pointerdown", here);
  root.addEventListener("keydown", event => {
    const by = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
    if (by) { event.preventDefault(); move(at[0] + by[0], at[1] + by[1]); }
  });
  return {...figure, set: (y, x) => { at = [y, x]; }};
}

const MOST_MAPS = 256, MOST_UNITS = 96;

/** All maps of a layer as buttons, or the numbers of a vector as bars. */
function channels({shape, values}, {names, chosen, onpick, scale}) {
  return shape.length === 3 ? smallMaps(...arguments) : units(...arguments);
}

function smallMaps({shape: [count, height, width], values}, {chosen, onpick, scale}) {
  const box = el("div", {class: "maps", role: "group", "aria-label": "Maps of the layer"}), size = height * width;
  const zoom = Math.max(1, Math.floor(60 / Math.max(height, width)));
  for (let k = 0; k < Math.min(count, MOST_MAPS); k++) {
    const canvas = put(el("canvas", {"aria-hidden": "true"}), picture(values.subarray(k * size, (k + 1) * size), height, width, scale));
    canvas.style.width = `${zoom * width}px`;
    canvas.style.height = `${zoom * height}px`;
    box.append(el("button", {type: "button", "aria-pressed": String(k === chosen), "aria-label": String(k), title: String(k), onclick: () => onpick(k)}, canvas));
  }
  roving(box, "button").settle();
  return box;
}

function units({values}, {names, colours, chosen, onpick}) {
  const box = el("div", {class: "units", role: "group", "aria-label": "Numbers of the layer"});
  const shown = Math.min(values.length, MOST_UNITS), most = Math.max(...Array.from(values.subarray(0, shown), Math.abs)) || 1;
  for (let k = 0; k < shown; k++) {
    const part = 50 * Math.abs(values[k]) / most, left = values[k] < 0 ? 50 - part : 50;
    const bar = el("i", {}, el("b", {style: `left:${left}%;width:${part}%${colours ? `;--colour:${colours(k)}` : ""}`}));
    box.append(el("button", {type: "button", "aria-pressed": String(k === chosen), onclick: () => onpick(k)},
      el("span", {}, names(k)), bar, el("span", {class: "num"}, short(values[k]))));
  }
  roving(box, "button").settle();
  if (values.length > shown) return el("div", {}, box, el("p", {class: "faint"}, `The first ${shown} of ${values.length.toLocaleString("en")}.`));
  return box;
}

/** Weights (h, w) of one kernel. */
function kernelPicture(weights, height, width, most, room = 84) {
  return mapFigure({values: weights, height, width, scale: {map: "signed", low: -most, high: most}, room, label: `${height} by ${width} weights`});
}

/** All kernels of a convolution on one canvas: a column a filter, a row an input channel. */
function kernelSheet({shape: [filters, inputs, height, width], values}, mostRows = 48, mostColumns = 64) {
  const rows = Math.min(inputs, mostRows), columns = Math.min(filters, mostColumns);
  const most = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0) || 1, colours = table("signed");
  const image = new ImageData(columns * (width + 1) - 1, rows * (height + 1) - 1);
  for (let f = 0; f < columns; f++) for (let c = 0; c < rows; c++) for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const value = values[((f * inputs + c) * height + y) * width + x];
    const at = (c * (height + 1) + y) * image.width + f * (width + 1) + x;
    image.data.set([...colours[Math.round(127.5 + 127.5 * value / most)], 255], 4 * at);
  }
  const canvas = put(el("canvas", {role: "img", "aria-label": `Weights of ${columns} filters (columns) for ${rows} input channels (rows)`}), image);
  const zoom = Math.max(2, Math.min(12, Math.floor(760 / image.width)));
  canvas.style.width = `${zoom * image.width}px`;
  return {canvas, scale: {map: "signed", low: -most, high: most}, rows, columns};
}

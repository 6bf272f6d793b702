// What all views share: elements, numbers, colours, tiles on a canvas. No view knows another one.
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** An element with its attributes; those that begin with "on" are listeners. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

/** Parts of the page's numbers are read when a view asks for them, and once. */
const read = (() => {
  const known = new Map();
  return id => {
    if (!known.has(id)) {
      const found = document.getElementById(`numbers-${id}`);
      known.set(id, found ? JSON.parse(found.textContent) : null);
    }
    return known.get(id);
  };
})();

const ARRAYS = {
  uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array,
  uint32: Uint32Array, int32: Int32Array, float32: Float32Array,
};

/** An array as pipeline/page/arrays.py packs it. */
function unpacked({type, shape, data}) {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return {shape, values: new ARRAYS[type](bytes.buffer)};
}

const percent = share => `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)}%`;

/** A number in few letters: as many digits as tell it apart. */
function short(value, digits = 3) {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-4) return value.toExponential(1).replace("-", "−").replace("e+", "e");
  return value.toFixed(Math.max(0, digits - 1 - Math.floor(Math.log10(size)))).replace("-", "−");
}

const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;

// Viridis (Smith and van der Walt 2015, CC0) and a diverging map, at even steps; see pipeline/page.
const MAPS = {{ colour_maps | tojson }};

/** Colour [r, g, b] of a share from 0 to 1. */
function colour(map, share) {
  const steps = MAPS[map], at = Math.min(1, Math.max(0, share)) * (steps.length - 1);
  const low = Math.floor(at), part = at - low, high = Math.min(low + 1, steps.length - 1);
  return [0, 1, 2].map(i => Math.round(steps[low][i] + part * (steps[high][i] - steps[low][i])));
}

const TABLES = {};
/** 256 colours of a map. */
function table(map) {
  return (TABLES[map] ??= Array.from({length: 256}, (_, i) => colour(map, i / 255)));
}

/** How values are coloured: from zero up, or both ways from zero. */
function scaleOf(values, signed = null) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  if (signed ?? low < 0) {
    const most = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return {map: "signed", low: -most, high: most};
  }
  return {map: "amount", low: 0, high: high || 1};
}

/** A map (h, w) as a picture of w x h dots. */
function picture(values, height, width, scale) {
  const image = new ImageData(width, height), colours = table(scale.map);
  const factor = 255 / (scale.high - scale.low);
  for (let i = 0; i < height * width; i++) {
    const level = Math.min(255, Math.max(0, Math.round((values[i] - scale.low) * factor)));
    const [r, g, b] = colours[level];
    image.data.set([r, g, b, 255], 4 * i);
  }
  return image;
}

/** Put dots on a canvas, each of them one pixel of it: CSS makes them larger. */
function put(canvas, image) {
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** A colour bar with its ends. */
function legend(scale) {
  const bar = el("canvas", {class: "bar", width: 96, height: 1, "aria-hidden": "true"});
  const image = new ImageData(96, 1);
  for (let i = 0; i < 96; i++) image.data.set([...colour(scale.map, i / 95), 255], 4 * i);
  bar.getContext("2d").putImageData(image, 0, 0);
  return el("span", {class: "legend"}, short(scale.low, 2), bar, short(scale.high, 2));
}

// ---- tiles ----

const album = (() => {
  let made = null;
  return () => {
    if (made) return made;
    const found = read("album");
    if (!found) return null;
    const {shape, values} = unpacked(found.pixels);
    const [, height, width, channels] = shape;
    made = {...found, height, width, channels, values, classes: found.classes ?? []};
    return made;
  };
})();

/** Raw pixels (C, H, W) of a tile. */
function raw(index) {
  const {values, height, width, channels} = album();
  const out = new Float32Array(channels * height * width), size = height * width;
  const start = index * size * channels;
  for (let i = 0; i < size; i++)
    for (let c = 0; c < channels; c++) out[c * size + i] = values[start + i * channels + c];
  return out;
}

/** A tile as a picture of three bands, or of one in grey. */
function look(index, bands) {
  const {values, height, width, channels, low, high} = album();
  const image = new ImageData(width, height), start = index * height * width * channels;
  for (let i = 0; i < height * width; i++) {
    const dot = [0, 1, 2].map(k => {
      const band = bands[Math.min(k, bands.length - 1)];
      return 255 * (values[start + i * channels + band] - low[band]) / (high[band] - low[band]);
    });
    image.data.set([...dot, 255], 4 * i);
  }
  return image;
}

/** A canvas with a tile, in natural colour unless other bands are named. */
function thumbnail(index, bands = album().natural, attributes = {}) {
  const canvas = el("canvas", {class: "tile", "aria-hidden": "true", ...attributes});
  return put(canvas, look(index, bands));
}

const classColour = label => read("facts").colours[label] ?? "#888888";
const className = label => read("facts").classes[label] ?? "";
const swatch = label => el("span", {class: "swatch", style: `background:${classColour(label)}`});

/** Let arrow keys move among the buttons of a box, of which one takes the focus. */
function roving(box, selector) {
  const all = () => $$(selector, box);
  const settle = one => all().forEach(item => { item.tabIndex = item === one ? 0 : -1; });
  box.addEventListener("keydown", event => {
    const items = all(), at = items.indexOf(document.activeElement);
    if (at < 0) return;
    const across = Math.max(1, items.filter(i => i.offsetTop === items[0].offsetTop).length);
    const step = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across}[event.key];
    let to = event.key === "Home" ? 0 : event.key === "End" ? items.length - 1 : at + (step ?? 0);
    if (step === undefined && !["Home", "End"].includes(event.key)) return;
    event.preventDefault();
    to = Math.min(items.length - 1, Math.max(0, to));
    settle(items[to]);
    items[to].focus();
  });
  box.addEventListener("focusin", event => {
    const one = event.target.closest(selector);
    if (one) settle(one);
  });
  return {settle: () => settle(all().find(i => i.getAttribute("aria-pressed") === "true") ?? all()[0])};
}

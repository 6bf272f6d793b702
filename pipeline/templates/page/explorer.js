// A tile on its way: what is chosen, and the parts of the view that follow from it.

const now = {tile: 0, step: 0, channel: 0, y: 0, x: 0, bands: "natural", kind: "all"};
const parts = {};
const dims = shape => shape.length === 3 ? `${shape[1]} × ${shape[2]} × ${shape[0]}` : `${shape[0]}`;
const isMap = step => step.shape.length === 3;
const stepOf = name => engine().steps.findIndex(step => step.name === name && !step.inner);

/** Name of an output of a step: a class, a band, a filter. */
function channelName(index, channel) {
  const {steps} = engine(), {bands, classes} = {...album(), classes: read("facts").classes};
  if (index < 0) return bands[channel];
  const step = steps[index];
  const last = index === steps.length - 1;
  if (last && classes.length === step.shape[0] && !isMap(step)) return classes[channel];
  if (last && engine().draws && channel < bands.length) return bands[channel];
  if (["conv", "transposed"].includes(step.op) || step.was === "conv") return `filter ${channel}`;
  if (["normalize", "indices", "same", "affine"].includes(step.op) && step.inputs[0] < 0 && channel < bands.length) return bands[channel];
  return isMap(step) ? `channel ${channel}` : `unit ${channel}`;
}

OPENERS.explorer = (options = {}) => {
  if (!engine() || !album()) return;
  const box = $("#walk"), first = !parts.rail;
  if (first) {
    const {steps} = engine();
    now.tile = walkable()[0];
    now.step = Math.max(0, steps.findIndex(step => step.op === "conv"));
    parts.pick = el("div", {class: "pick"});
    parts.rail = el("ol", {class: "rail"});
    parts.stage = el("div", {class: "stage"});
    box.replaceChildren(el("div", {class: "walk"}, parts.pick, el("div", {}, parts.rail, parts.stage)));
    drawRail();
  }
  const old = {...now};
  if (options.tile !== undefined && walkable().includes(options.tile)) now.tile = options.tile;
  if (options.step !== undefined) now.step = options.step;
  if (options.channel !== undefined) now.channel = options.channel;
  if (first || old.tile !== now.tile) { now.kind = "all"; drawPick(); }
  choose({}, true);
};

/** Take over a choice and draw what it changes. */
function choose(change, fresh = false) {
  const {steps} = engine(), old = {...now};
  Object.assign(now, change);
  const {shape, values} = outputs(now.tile)[now.step];
  now.channel = Math.min(now.channel, shape[0] - 1);
  const same = !fresh && old.step === now.step && change.channel === undefined && change.tile === undefined;
  if (isMap(steps[now.step])) {
    const before = steps[old.step].shape;
    const kept = !fresh && before.length === 3 && before[1] === shape[1] && before[2] === shape[2];
    if (!same && !kept) [now.y, now.x] = strongest(values, shape, now.channel);
  } else [now.y, now.x] = [0, 0];
  if (change.tile !== undefined || fresh) markTile();
  for (const button of $$("button", parts.rail))
    button.setAttribute("aria-pressed", String(Number(button.dataset.step) === now.step));
  const here = $('[aria-pressed="true"]', parts.rail);
  if (here) parts.rail.scrollTop = here.offsetTop - parts.rail.clientHeight / 2;
  const back = focusIn(parts.stage);
  drawStage();
  back();
}

/** The stage is drawn anew: what brings the focus back to where it was. */
function focusIn(box) {
  const held = document.activeElement;
  if (!box.contains(held)) return () => {};
  const wanted = held.id ? `#${held.id}` : held.closest(".maps, .units") ? '.maps [aria-pressed="true"], .units [aria-pressed="true"]' : null;
  return () => (wanted ? $(wanted, box) : $('[aria-pressed="true"]', parts.rail))?.focus({preventScroll: true});
}

function strongest(values, [, height, width], channel) {
  let best = 0, at = 0;
  for (let i = 0; i < height * width; i++) {
    const size = Math.abs(values[channel * height * width + i]);
    if (size > best) { best = size; at = i; }
  }
  return [Math.floor(at / width), at % width];
}

// ---- the tile ----

function drawPick() {
  const {tiles, bands} = album(), classes = read("facts").classes;
  const kinds = [["all", "all tiles"], ...(tiles.some(t => t.p && t.said !== t.label) ? [["wrong", "wrong ones"]] : []), ...classes.map((name, k) => [String(k), name])];
  const list = el("div", {class: "tiles small", role: "group", "aria-label": "Tiles"});
  const fill = () => {
    const fits = i => now.kind === "all" || (now.kind === "wrong" ? tiles[i].p && tiles[i].said !== tiles[i].label : tiles[i].label === Number(now.kind));
    const mine = walkable().filter(fits);
    list.replaceChildren(...mine.map(i => el("button", {
      type: "button", "data-tile": i, "aria-pressed": String(i === now.tile), "aria-label": `${tiles[i].id} ${className(tiles[i].label)}`, title: tiles[i].id,
      style: classes.length ? `--colour:${classColour(tiles[i].label)}` : "", onclick: () => choose({tile: i}),
    }, thumbnail(i))));
    roving(list, "button").settle();
  };
  const option = ([value, text]) => el("option", {value, selected: value === now.kind}, text);
  const filter = el("select", {id: "walk-kind", onchange: event => { now.kind = event.target.value; fill(); }}, ...kinds.map(option));
  const looks = [["natural", "natural colour"], ["false", "false colour"], ...bands.map((band, k) => [String(k), band])];
  const view = el("select", {id: "walk-bands", onchange: event => { now.bands = event.target.value; drawTile(); lightUp(); }}, ...looks.map(option));
  parts.tile = el("div");
  parts.about = el("div", {"aria-live": "polite"});
  parts.pick.replaceChildren(
    parts.tile, el("div", {class: "row"}, el("label", {for: "walk-bands"}, "shown in"), view), parts.about,
    el("div", {class: "row"}, el("label", {for: "walk-kind"}, "choose from"), filter), list);
  fill();
  markTile();
}

function drawTile() {
  const {height, width, natural, false: unnatural} = album();
  const bands = now.bands === "natural" ? natural : now.bands === "false" ? unnatural : [Number(now.bands)];
  const figure = mapFigure({values: new Float32Array(height * width), height, width, scale: {map: "amount", low: 0, high: 1}, room: 230, label: "The tile"});
  put(figure.canvas, look(now.tile, bands));
  parts.tileFigure = figure;
  parts.tile.replaceChildren(figure.root);
}

function markTile() {
  const tile = album().tiles[now.tile], {steps, temperature, draws} = engine();
  drawTile();
  const answer = outputs(now.tile)[steps.length - 1], classes = read("facts").classes;
  const told = classes.length && !draws && answer.shape.length === 1
    ? [el("h4", {}, "What the network says"), shares(softmax(answer.values, temperature), tile.label)] : [];
  parts.about.replaceChildren(el("p", {class: "faint"}, tile.id), ...told);
  for (const button of $$("button[data-tile]", parts.pick))
    button.setAttribute("aria-pressed", String(Number(button.dataset.tile) === now.tile));
}

// ---- the layers ----

function drawRail() {
  parts.rail.replaceChildren(...engine().steps.map((step, i) => step.inner ? null : el("li", {},
    el("button", {type: "button", class: `kind-${step.kind}`, "data-step": i, "aria-pressed": "false", onclick: () => choose({step: i})},
      step.name, el("small", {}, `${step.type.split(" ")[0]} ${dims(step.shape)}`)))).filter(Boolean));
  roving(parts.rail, "button");
}

/** Scale of a map: of all maps of its layer together, so that they can be compared. */
const scales = (index, found) => (found.scale ??= scaleOf(found.values));

function drawStage() {
  const {steps} = engine(), step = steps[now.step], all = outputs(now.tile), output = all[now.step];
  const scale = scales(now.step, output), name = channelName(now.step, now.channel);
  const number = el("input", {type: "number", id: "walk-channel", min: 0, max: step.shape[0] - 1, value: now.channel, style: "width:5rem",
    onchange: event => {
      const wanted = Math.min(step.shape[0] - 1, Math.max(0, Math.floor(Number(event.target.value)) || 0));
      if (wanted !== now.channel) choose({channel: wanted});  // a field that goes away tells of itself once more
    }});
  const input = step.inputs.map(k => k < 0 ? [album().channels, album().height, album().width] : steps[k].shape);
  parts.bench = el("div", {class: "bench"});
  parts.result = el("div", {class: "result"});
  parts.total = el("p", {class: "total", "aria-live": "polite"});
  parts.next = el("div");
  const list = channels(output, {
    chosen: now.channel, scale, onpick: channel => choose({channel}), names: k => channelName(now.step, k),
    colours: now.step === steps.length - 1 && read("facts").classes.length === step.shape[0] ? classColour : null,
  });
  parts.stage.replaceChildren(
    el("h3", {}, step.name, el("small", {}, `  ${step.type}: ${input.map(dims).join(" and ")} → ${dims(step.shape)}`)),
    el("p", {}, ...lesson(step)),
    el("div", {class: "row"}, el("label", {for: "walk-channel"}, isMap(step) ? "map" : "number"), number,
      el("span", {class: "faint"}, `of ${step.shape[0]}: ${name}`), isMap(step) ? slider() : null, legend(scale)),
    list, el("div", {class: "card workbench"}, parts.bench, parts.result));
  parts.figures = BENCHES[step.op] ? BENCHES[step.op](step, all) : plainBench(step, all);
  parts.output = isMap(step) ? pointedOutput(step, output, scale, name) : null;
  if (parts.output) parts.result.append(el("h4", {}, `→ ${name}`), parts.output.root);
  parts.result.append(parts.total, parts.next);
  drawNext(step);
  lightUp();
}

function pointedOutput(step, {values, shape: [, height, width]}, scale, name) {
  const own = values.subarray(now.channel * height * width, (now.channel + 1) * height * width);
  const figure = pointed(mapFigure({values: own, height, width, scale, room: 230, label: name}), `${name} of ${step.name}`, (y, x) => {
    now.y = y;
    now.x = x;
    lightUp();
  });
  figure.set(now.y, now.x);
  return figure;
}

/** A button that slides the window over the map, place by place. */
function slider() {
  const button = el("button", {type: "button"}, "Slide the window");
  button.addEventListener("click", () => {
    if (parts.timer) return stopSliding(button);
    const [, height, width] = engine().steps[now.step].shape;
    button.textContent = "Stop";
    [now.y, now.x] = [0, -1];
    parts.timer = setInterval(() => {
      if (!button.isConnected) return stopSliding(button);
      if (++now.x >= width) { now.x = 0; now.y++; }
      if (now.y >= height) { now.y = height - 1; now.x = width - 1; return stopSliding(button); }
      parts.output.set(now.y, now.x);
      lightUp();
    }, 160);
  });
  return button;
}

function stopSliding(button) {
  clearInterval(parts.timer);
  parts.timer = null;
  button.textContent = "Slide the window";
}

/** Maps that this one becomes, as long as each layer looks at one map at a time. */
function drawNext(step) {
  const {steps} = engine(), all = outputs(now.tile), shown = [];
  const alone = ["affine", "activation", "maxpool", "avgpool", "same", "normalize"];
  for (let i = now.step + 1; i < steps.length; i++) {
    const next = steps[i];
    if (!alone.includes(next.op) || next.inputs[0] !== i - 1 || !isMap(next)) break;
    const [, height, width] = next.shape, size = height * width;
    const values = all[i].values.subarray(now.channel * size, (now.channel + 1) * size);
    const figure = mapFigure({values, height, width, scale: scales(i, all[i]), room: 112, label: `${next.name}, channel ${now.channel}`});
    shown.push(el("button", {type: "button", onclick: () => choose({step: i})}, figure.root, el("figcaption", {}, next.name)));
  }
  if (shown.length && isMap(step)) parts.next.replaceChildren(el("h4", {}, `What becomes of ${channelName(now.step, now.channel)}`), el("div", {class: "row"}, ...shown));
}

// ---- where the cursor is ----

function lightUp() {
  const {steps} = engine(), step = steps[now.step], all = outputs(now.tile);
  const seen = sees(now.step, now.y, now.x);
  parts.tileFigure.light(seen.box);
  parts.output?.light([now.y, now.x, now.y, now.x]);
  parts.total.replaceChildren(...parts.figures.light(step, all));
}

/** Pixels of the tile from one position of a step's output to the next. */
function tileStride(index) {
  const [, height, width] = engine().steps[index].shape;
  if (height < 2) return null;
  const y = Math.min(height - 2, Math.floor(height / 2));
  return sees(index, y + 1, 0).full[0] - sees(index, y, 0).full[0];
}

const by = ([a, b]) => a === b ? `${a} × ${a}` : `${a} × ${b}`;
const pixels = n => `${n} ${n === 1 ? "pixel" : "pixels"}`;

/** What a layer does, in words and in its own numbers. */
function lesson(step) {
  const {steps} = engine(), [k] = step.inputs;
  const shape = k < 0 ? [album().channels, album().height, album().width] : steps[k].shape;
  const middle = isMap(step) ? sees(now.step, Math.floor(step.shape[1] / 2), Math.floor(step.shape[2] / 2)).full : null;
  const span = middle ? ` It sees ${by([middle[2] - middle[0] + 1, middle[3] - middle[1] + 1])} pixels of the tile.` : "";
  if (["conv", "maxpool", "avgpool"].includes(step.op)) {
    const {kernel, stride, padding: [pad], dilation: [gap]} = step, reach = gap * (kernel[0] - 1) + 1;
    const far = tileStride(now.step), exact = (shape[1] + 2 * pad - reach) / stride[0] + 1;
    const sum = `(${shape[1]} + 2 × ${pad} − ${reach}) / ${stride[0]} + 1 = ${Number.isInteger(exact) ? exact : `${exact.toFixed(2)}, so ${step.shape[1]}`} rows.`;
    const what = {
      conv: `A filter has ${by(kernel)} weights for each of ${step.arrays.weight?.shape[1]} input channels. It slides over them, and in each place all products of weight and value are added up.`,
      maxpool: `A window of ${by(kernel)} slides over each map by itself; the largest value in it stays.`,
      avgpool: `A window of ${by(kernel)} slides over each map by itself; the mean of what is in it stays.`,
    }[step.op];
    const how = far === null ? "" : ` Stride ${stride[0]}: a step here moves the window by ${pixels(stride[0])} of its input, which is ${pixels(far)} of the tile.`;
    const padded = pad ? ` Padding ${pad}: the window reaches ${pixels(pad)} beyond the edge, where there are zeros.` : "";
    return [what + how + padded + span, el("br"), el("span", {class: "faint num"}, `(input + 2 × padding − window) / stride + 1: ${sum}`)];
  }
  const texts = {
    normalize: "From each band the mean of the training tiles is taken, and what is left is divided by a deviation: all bands come to numbers near 0.",
    affine: "Batch normalization, as it is after training: each map is scaled and shifted by two numbers of its own.",
    activation: `${step.function} is applied to each number by itself; it is what makes the network more than one large sum.`,
    same: "Passes everything on: what it does, it does in training alone.",
    flatten: "Lays all maps out as one row of numbers, map by map; their places are told by their order from here on.",
    mean: "One number a map: the mean over all its places. Where something was found no longer matters.",
    most: "One number a map: the largest of all its places.",
    linear: "Each output adds up all inputs, each times a weight of its own.",
    add: "The shortcut: what went into the block is added to what came out of it.",
    concat: "Maps of several branches, one behind the other.",
    nearest: "Each number is repeated: the map grows, and no detail comes in.",
    transposed: "A convolution turned around: each input number lays its weights, times itself, over the output.",
    indices: "Adds maps of normalized differences of two bands, (a − b) / (a + b).",
    stored: "Its outputs were computed beforehand and came with the page: the script does not know this kind of layer, or its weights are too many.",
  };
  return [(texts[step.op] ?? "") + span];
}

// ---- what is computed, layer by layer ----

const inputOf = (step, all, k = 0) => all[step.inputs[k]];
const own = ({values, shape: [, height, width]}, channel) => values.subarray(channel * height * width, (channel + 1) * height * width);
const tone = value => value < 0 ? "#2166ac" : "#b2182b";

function cell(text, detail, value, most, classes = "") {
  return el("td", {class: classes, style: `--tone:${tone(value)};--share:${most ? Math.min(1, Math.abs(value) / most).toFixed(3) : 0}`},
    text, detail ? el("small", {}, detail) : null);
}

/** Input channels that are shown: all of few, else those with the strongest kernels. */
function shownChannels(step) {
  const {weight: {shape: [, count, kh, kw], values}} = step.arrays, size = kh * kw;
  const norm = c => values.subarray((now.channel * count + c) * size, (now.channel * count + c + 1) * size).reduce((total, w) => total + w * w, 0);
  const all = Array.from({length: count}, (_, c) => c);
  return count <= 4 ? all : all.sort((a, b) => norm(b) - norm(a)).slice(0, 3).sort((a, b) => a - b);
}

const BENCHES = {
  conv(step, all) {
    const input = inputOf(step, all), [, height, width] = input.shape, [kh, kw] = step.kernel;
    const {weight} = step.arrays, count = weight.shape[1], size = kh * kw;
    const first = Math.floor(now.channel / (step.shape[0] / step.groups)) * count;
    const start = now.channel * count * size, shown = shownChannels(step);
    const most = weight.values.subarray(start, start + count * size).reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    const scale = scales(step.inputs[0], input), box = el("div", {class: "sums"});
    const rows = shown.map(c => {
      const figure = mapFigure({values: own(input, first + c), height, width, scale, room: 150, label: channelName(step.inputs[0], first + c)});
      const kernel = kernelPicture(weight.values.subarray(start + c * size, start + (c + 1) * size), kh, kw, most);
      const products = el("table", {class: "cells", "aria-label": `Products of ${channelName(step.inputs[0], first + c)}`}), sum = el("b", {class: "num"});
      box.append(el("div", {class: "sum"}, el("h4", {}, channelName(step.inputs[0], first + c)), figure.root,
        el("span", {class: "sign", "aria-hidden": "true"}, "×"), kernel.root, el("span", {class: "sign", "aria-hidden": "true"}, "="), products, el("span", {class: "num"}, "sum ", sum)));
      return {c, figure, products, sum};
    });
    parts.bench.append(box);
    const light = () => {
      const top = now.y * step.stride[0] - step.padding[0], left = now.x * step.stride[1] - step.padding[1];
      const value = (c, ky, kx) => {
        const y = top + ky * step.dilation[0], x = left + kx * step.dilation[1];
        return y < 0 || x < 0 || y >= height || x >= width ? null : input.values[((first + c) * height + y) * width + x];
      };
      const product = (c, ky, kx) => (value(c, ky, kx) ?? 0) * weight.values[start + (c * kh + ky) * kw + kx];
      const sums = Array.from({length: count}, (_, c) => {
        let total = 0;
        for (let ky = 0; ky < kh; ky++) for (let kx = 0; kx < kw; kx++) total += product(c, ky, kx);
        return total;
      });
      const largest = Math.max(...rows.flatMap(({c}) => Array.from({length: size}, (_, i) => Math.abs(product(c, Math.floor(i / kw), i % kw)))));
      for (const {c, figure, products, sum} of rows) {
        figure.light([top, left, top + step.dilation[0] * (kh - 1), left + step.dilation[1] * (kw - 1)]);
        products.replaceChildren(el("tbody", {}, ...Array.from({length: kh}, (_, ky) => el("tr", {}, ...Array.from({length: kw}, (_, kx) => {
          const v = value(c, ky, kx), w = weight.values[start + (c * kh + ky) * kw + kx];
          const detail = kw > 5 ? "" : `${v === null ? "0" : short(v, 2)} × ${short(w, 2)}`;
          return cell(kw > 7 ? "" : short(product(c, ky, kx), 2), detail, product(c, ky, kx), largest, v === null ? "out" : "");
        })))));
        sum.textContent = short(sums[c]);
      }
      const rest = sums.reduce((total, s, c) => shown.includes(c) ? total : total + s, 0), bias = step.arrays.bias?.values[now.channel];
      const terms = [...shown.map(c => short(sums[c])), ...(count > shown.length ? [`${short(rest)} of the other ${count - shown.length} channels`] : []), ...(bias === undefined ? [] : [`bias ${short(bias)}`])];
      return [`${terms.join(" + ").replaceAll("+ −", "− ")} = `, el("b", {}, short(valueHere(all), 5)), ` at row ${now.y}, column ${now.x}`];
    };
    return {light};
  },
  maxpool: (step, all) => windowBench(step, all, found => Math.max(...found), "the largest"),
  avgpool: (step, all) => windowBench(step, all, null, "the mean"),
  linear(step, all) {
    const input = inputOf(step, all), {steps} = engine(), {weight: {values, shape: [, count]}, bias} = step.arrays;
    const products = Array.from({length: count}, (_, i) => values[now.channel * count + i] * input.values[i]);
    const before = step.inputs[0] < 0 ? null : steps[step.inputs[0]];
    if (before?.op === "flatten" && all[before.inputs[0]].shape.length === 3) {
      const [channelsIn, height, width] = all[before.inputs[0]].shape, sums = new Float32Array(height * width);
      for (let c = 0; c < channelsIn; c++) for (let i = 0; i < sums.length; i++) sums[i] += products[c * height * width + i];
      const scale = scaleOf(sums, true), figure = mapFigure({values: sums, height, width, scale, room: 170, label: "Products by place, summed over maps"});
      parts.bench.append(el("figure", {}, el("h4", {}, "products by place, maps together"), figure.root, el("figcaption", {}, legend(scale))));
    }
    const ranked = products.map((p, i) => i).sort((a, b) => Math.abs(products[b]) - Math.abs(products[a])).slice(0, 9);
    const most = Math.abs(products[ranked[0]]) || 1, name = i => before ? channelName(step.inputs[0], i) : `value ${i}`;
    const lines = ranked.map(i => el("tr", {}, el("th", {scope: "row"}, name(i)), el("td", {}, short(input.values[i])), el("td", {}, `× ${short(values[now.channel * count + i])}`), cell(short(products[i]), "", products[i], most)));
    parts.bench.append(el("figure", {}, el("h4", {}, `the largest ${ranked.length} of ${count.toLocaleString("en")} products`), el("table", {class: "cells"}, el("tbody", {}, ...lines))));
    const rest = products.reduce((a, b) => a + b, 0) - ranked.reduce((total, i) => total + products[i], 0);
    return {light: () => [`${short(ranked.reduce((t, i) => t + products[i], 0))} + ${short(rest)} of all others${bias ? ` + bias ${short(bias.values[now.channel])}` : ""} = `.replaceAll("+ −", "− "), el("b", {}, short(all[now.step].values[now.channel * (isMap(step) ? step.shape[1] * step.shape[2] : 1)], 5)), isMap(step) ? " at row 0, column 0" : ""]};
  },
  activation(step, all) {
    const input = inputOf(step, all), apply = FUNCTIONS[step.function](step);
    const curve = functionPicture(apply, scales(step.inputs[0], input));
    const figure = oneInput(step, all);
    parts.bench.append(curve.root);
    return {light: () => {
      const value = isMap(step) ? input.values[(now.channel * step.shape[1] + now.y) * step.shape[2] + now.x] : input.values[now.channel];
      figure?.light([now.y, now.x, now.y, now.x]);
      curve.mark(value);
      return [`${step.function}(${short(value, 4)}) = `, el("b", {}, short(apply(value), 5)), where(step)];
    }};
  },
  affine(step, all) {
    const input = inputOf(step, all), figure = oneInput(step, all);
    const {scale, shift} = step.arrays;
    return {light: () => {
      figure?.light([now.y, now.x, now.y, now.x]);
      const value = input.values[isMap(step) ? (now.channel * step.shape[1] + now.y) * step.shape[2] + now.x : now.channel];
      return [`${short(value, 4)} × ${short(scale.values[now.channel])} + ${short(shift.values[now.channel])} = `.replace("+ −", "− "), el("b", {}, short(valueHere(all), 5)), where(step)];
    }};
  },
  normalize(step, all) {
    const input = inputOf(step, all), figure = oneInput(step, all), {mean, deviation} = step.arrays;
    return {light: () => {
      figure?.light([now.y, now.x, now.y, now.x]);
      const value = input.values[(now.channel * step.shape[1] + now.y) * step.shape[2] + now.x];
      return [`(${short(value, 4)} − ${short(mean.values[now.channel], 4)}) / ${short(deviation.values[now.channel], 4)} = `, el("b", {}, short(valueHere(all), 5)), where(step)];
    }};
  },
  mean: (step, all) => wholeBench(step, all, "the mean"),
  most: (step, all) => wholeBench(step, all, "the largest"),
  add(step, all) {
    const figures = step.inputs.map((k, i) => {
      const {shape: [, height, width]} = all[k];
      const figure = isMap(step) ? mapFigure({values: own(all[k], now.channel), height, width, scale: scales(k, all[k]), room: 170, label: nameOf(k)}) : null;
      if (i) parts.bench.append(el("span", {class: "sign", "aria-hidden": "true"}, "+"));
      parts.bench.append(el("figure", {}, el("h4", {}, nameOf(k)), figure?.root));
      return figure;
    });
    return {light: () => {
      figures.forEach(figure => figure?.light([now.y, now.x, now.y, now.x]));
      const at = isMap(step) ? (now.channel * step.shape[1] + now.y) * step.shape[2] + now.x : now.channel;
      return [`${step.inputs.map(k => short(all[k].values[at], 4)).join(" + ")} = `.replaceAll("+ −", "− "), el("b", {}, short(valueHere(all), 5)), where(step)];
    }};
  },
  concat(step, all) {
    let at = now.channel, k = 0;
    while (at >= all[step.inputs[k]].shape[0]) at -= all[step.inputs[k++]].shape[0];
    const from = step.inputs[k];
    parts.bench.append(el("p", {}, `Comes from ${nameOf(from)}: ${channelName(from, at)}.`));
    return {light: () => [el("b", {}, short(valueHere(all), 5)), where(step)]};
  },
};

const nameOf = index => index < 0 ? "the tile" : engine().steps[index].name;
const where = step => isMap(step) ? ` at row ${now.y}, column ${now.x}` : "";

function valueHere(all) {
  const {shape, values} = all[now.step];
  return values[shape.length === 3 ? (now.channel * shape[1] + now.y) * shape[2] + now.x : now.channel];
}

/** The one map that a layer that looks at each map by itself gets. */
function oneInput(step, all) {
  const input = inputOf(step, all);
  if (input.shape.length < 3 || input.shape[0] <= now.channel) return null;
  const [, height, width] = input.shape, name = nameOf(step.inputs[0]);
  const figure = mapFigure({values: own(input, now.channel), height, width, scale: scales(step.inputs[0], input), room: 200, label: name});
  parts.bench.append(el("figure", {}, el("h4", {}, `${name}, ${channelName(step.inputs[0], now.channel)}`), figure.root));
  return figure;
}

function windowBench(step, all, best, word) {
  const input = inputOf(step, all), figure = oneInput(step, all), products = el("table", {class: "cells", "aria-label": "Values under the window"});
  const [kh, kw] = step.kernel, scale = scales(step.inputs[0], input), most = Math.max(Math.abs(scale.low), scale.high);
  parts.bench.append(products);
  return {light: () => {
    const top = now.y * step.stride[0] - step.padding[0], left = now.x * step.stride[1] - step.padding[1];
    figure?.light([top, left, top + step.dilation[0] * (kh - 1), left + step.dilation[1] * (kw - 1)]);
    const {found, places} = underWindow(input, step, now.channel, now.y, now.x);
    const at = best ? found.indexOf(best(found)) : -1;
    products.replaceChildren(el("tbody", {}, ...Array.from({length: kh}, (_, ky) => el("tr", {}, ...Array.from({length: kw}, (_, kx) => {
      const y = top + ky * step.dilation[0], x = left + kx * step.dilation[1], i = places.findIndex(([a, b]) => a === y && b === x);
      return i < 0 ? cell("", "", 0, 0, "out") : cell(short(found[i]), "", found[i], most, i === at ? "largest" : "");
    })))));
    return [`${word} of ${found.length} values is `, el("b", {}, short(valueHere(all), 5)), where(step)];
  }};
}

function wholeBench(step, all, word) {
  const input = inputOf(step, all);
  oneInput(step, all)?.light([0, 0, input.shape[1] - 1, input.shape[2] - 1]);
  return {light: () => [`${word} of ${input.shape[1] * input.shape[2]} values is `, el("b", {}, short(valueHere(all), 5))]};
}

function plainBench(step, all) {
  const figure = oneInput(step, all), alike = isMap(step) && inputOf(step, all).shape[1] === step.shape[1];
  return {light: () => {
    if (isMap(step) && inputOf(step, all).shape.length === 3 && step.op !== "stored") {
      figure?.light(alike ? [now.y, now.x, now.y, now.x] : towards(step, [now.y, now.x, now.y, now.x], inputOf(step, all).shape));
    }
    return [el("b", {}, short(valueHere(all), 5)), where(step)];
  }};
}

/** The curve of an activation, with where the value lies on it. */
function functionPicture(apply, {low, high}) {
  const most = Math.max(Math.abs(low), Math.abs(high)), left = -most, span = 2 * most;
  const points = Array.from({length: 81}, (_, i) => [left + span * i / 80, apply(left + span * i / 80)]);
  const bottom = Math.min(...points.map(p => p[1])), top = Math.max(...points.map(p => p[1])) || 1;
  const at = (x, y) => [10 + 160 * (x - left) / span, 90 - 80 * (y - bottom) / ((top - bottom) || 1)];
  const mark = drawn("circle", {r: 5});
  const [zero] = at(0, 0), [, level] = at(0, 0);
  const root = drawn("svg", {class: "function", viewBox: "0 0 180 100", role: "img", "aria-label": "The function"},
    drawn("line", {x1: zero, x2: zero, y1: 5, y2: 95}), drawn("line", {x1: 5, x2: 175, y1: level, y2: level}),
    drawn("path", {d: `M${points.map(p => at(...p).map(v => v.toFixed(1)).join(" ")).join("L")}`}), mark);
  return {root: el("figure", {}, el("h4", {}, "what it does to a number"), root), mark: value => {
    const [x, y] = at(value, apply(value));
    mark.setAttribute("cx", x);
    mark.setAttribute("cy", y);
  }};
}

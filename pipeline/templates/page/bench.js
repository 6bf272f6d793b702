// The workbench: what a layer does in words, and how the value that is pointed at comes about.

const by = ([a, b]) => a === b ? `${a} × ${a}` : `${a} × ${b}`;
const pixels = n => `${n} ${n === 1 ? "pixel" : "pixels"}`;

/** What a layer does, in words and in its own numbers. */
function lesson(step) {
  const {steps} = engine(), [k] = step.inputs;
  const shape = k < 0 ? [album().channels, album().height, album().width] : steps[k].shape;
  const middle = isMap(step) && !hidden(now.step) ? sees(now.step, Math.floor(step.shape[1] / 2), Math.floor(step.shape[2] / 2)).full : null;
  const span = middle ? ` It sees ${by([middle[2] - middle[0] + 1, middle[3] - middle[1] + 1])} pixels of the tile.` : "";
  if (["conv", "maxpool", "avgpool"].includes(step.op)) {
    const {kernel, stride, padding: [pad], dilation: [gap]} = step, reach = gap * (kernel[0] - 1) + 1;
    const far = tileStride(now.step), exact = (shape[1] + 2 * pad - reach) / stride[0] + 1;
    const told = [Math.floor(exact), Math.ceil(exact)].includes(step.shape[1]);  // not where one side is padded more
    const sum = `(${shape[1]} + 2 × ${pad} − ${reach}) / ${stride[0]} + 1 = ${Number.isInteger(exact) ? exact : `${exact.toFixed(2)}, so ${step.shape[1]}`} rows.`;
    const what = {
      conv: `A filter has ${by(kernel)} weights for each of ${step.arrays.weight?.shape[1]} input channels. It slides over them, and in each place all products of weight and value are added up.`,
      maxpool: `A window of ${by(kernel)} slides over each map by itself; the largest value in it stays.`,
      avgpool: `A window of ${by(kernel)} slides over each map by itself; the mean of what is in it stays.`,
    }[step.op];
    const how = far === null ? "" : ` Stride ${stride[0]}: a step here moves the window by ${pixels(stride[0])} of its input, which is ${pixels(far)} of the tile.`;
    const beyond = step.op === "conv" || step.padded ? "where there are zeros" : "where nothing counts";
    const padded = pad ? ` Padding ${pad}: the window reaches ${pixels(pad)} beyond the edge, ${beyond}.` : "";
    const formula = el("span", {class: "faint num"}, `(input + 2 × padding − window) / stride + 1: ${sum}`);
    return [what + how + padded + span, ...(told ? [el("br"), formula] : [])];
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
    const {found, places, count} = underWindow(input, step, now.channel, now.y, now.x);
    const at = best ? found.indexOf(best(found)) : -1;
    products.replaceChildren(el("tbody", {}, ...Array.from({length: kh}, (_, ky) => el("tr", {}, ...Array.from({length: kw}, (_, kx) => {
      const y = top + ky * step.dilation[0], x = left + kx * step.dilation[1], i = places.findIndex(([a, b]) => a === y && b === x);
      return i < 0 ? cell("", "", 0, 0, "out") : cell(short(found[i]), "", found[i], most, i === at ? "largest" : "");
    })))));
    const zeros = step.padded ? count - found.length : 0;
    return [`${word} of ${found.length + zeros} values${zeros ? `, ${zeros} of them zeros beyond the edge,` : ""} is `, el("b", {}, short(valueHere(all), 5)), where(step)];
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

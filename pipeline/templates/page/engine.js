// A network, computed here from the weights that the page carries, layer by layer as PyTorch does.
// A map is {shape: [C, H, W], values}, a vector {shape: [F], values}.

const engine = (() => {
  let made = null;
  return () => {
    if (made) return made;
    const found = read("program");
    if (!found || !found.steps) return null;
    const all = unpacked(found.weights).values;
    const steps = found.steps.map(step => ({
      ...step,
      arrays: Object.fromEntries(Object.entries(step.arrays).map(([name, [start, shape]]) => {
        const size = shape.reduce((product, side) => product * side, 1);
        return [name, {shape, values: all.subarray(start, start + size)}];
      })),
    }));
    made = {...found, steps};
    return made;
  };
})();

const OPS = {
  normalize({values}, {arrays: {mean, deviation}, shape: [channels, height, width]}) {
    const out = new Float32Array(values.length), size = height * width;
    for (let i = 0; i < out.length; i++) {
      const c = Math.floor(i / size);
      out[i] = (values[i] - mean.values[c]) / deviation.values[c];
    }
    return out;
  },
  affine({values}, {arrays: {scale, shift}, shape: [, height, width]}) {
    const out = new Float32Array(values.length), size = height * width;
    for (let i = 0; i < out.length; i++) {
      const c = Math.floor(i / size);
      out[i] = values[i] * scale.values[c] + shift.values[c];
    }
    return out;
  },
  indices({values, shape: [channels, height, width]}, {over, under}) {
    const size = height * width, out = new Float32Array(values.length + over.length * size);
    out.set(values);
    over.forEach((first, k) => {
      for (let i = 0; i < size; i++) {
        const a = values[first * size + i], b = values[under[k] * size + i];
        const ratio = a + b === 0 ? 0 : (a - b) / (a + b);
        out[(channels + k) * size + i] = Math.min(1, Math.max(-1, ratio));
      }
    });
    return out;
  },
  conv({values, shape: [channels, height, width]}, step) {
    const {kernel: [kh, kw], stride: [sy, sx], padding: [py, px], dilation: [dy, dx], groups} = step;
    const [filters, rows, columns] = step.shape, weight = step.arrays.weight.values;
    const own = channels / groups, each = filters / groups, size = height * width;
    const out = new Float32Array(filters * rows * columns), sums = new Float64Array(rows * columns);
    for (let f = 0; f < filters; f++) {
      sums.fill(step.arrays.bias ? step.arrays.bias.values[f] : 0);
      const first = Math.floor(f / each) * own;
      for (let c = 0; c < own; c++) for (let ky = 0; ky < kh; ky++) for (let kx = 0; kx < kw; kx++) {
        const w = weight[((f * own + c) * kh + ky) * kw + kx];
        const x0 = Math.max(0, Math.ceil((px - kx * dx) / sx));
        const x1 = Math.min(columns, Math.floor((width - 1 + px - kx * dx) / sx) + 1);
        for (let y = 0; y < rows; y++) {
          const iy = y * sy - py + ky * dy;
          if (iy < 0 || iy >= height) continue;
          const from = (first + c) * size + iy * width - px + kx * dx, to = y * columns;
          for (let x = x0; x < x1; x++) sums[to + x] += w * values[from + x * sx];
        }
      }
      out.set(sums, f * rows * columns);
    }
    return out;
  },
  transposed({values, shape: [channels, height, width]}, step) {
    const {kernel: [kh, kw], stride: [sy, sx], padding: [py, px], dilation: [dy, dx], groups} = step;
    const [filters, rows, columns] = step.shape, weight = step.arrays.weight.values;
    const own = channels / groups, each = filters / groups;
    const sums = new Float64Array(filters * rows * columns);
    for (let c = 0; c < channels; c++) for (let f = 0; f < each; f++) {
      const target = (Math.floor(c / own) * each + f) * rows * columns;
      for (let ky = 0; ky < kh; ky++) for (let kx = 0; kx < kw; kx++) {
        const w = weight[((c * each + f) * kh + ky) * kw + kx];
        for (let y = 0; y < height; y++) {
          const oy = y * sy - py + ky * dy;
          if (oy < 0 || oy >= rows) continue;
          for (let x = 0; x < width; x++) {
            const ox = x * sx - px + kx * dx;
            if (ox >= 0 && ox < columns)
              sums[target + oy * columns + ox] += w * values[(c * height + y) * width + x];
          }
        }
      }
    }
    const bias = step.arrays.bias?.values, out = new Float32Array(sums.length);
    for (let i = 0; i < out.length; i++)
      out[i] = sums[i] + (bias ? bias[Math.floor(i / (rows * columns))] : 0);
    return out;
  },
  maxpool: (input, step) => pooled(input, step, (found, count) => Math.max(...found)),
  avgpool(input, step) {
    const sum = found => found.reduce((total, value) => total + value, 0);
    return pooled(input, step, (found, count) => sum(found) / (step.padded ? count : found.length));
  },
  mean({values, shape: [channels, height, width]}) {
    const size = height * width;
    return Float32Array.from({length: channels}, (_, c) => {
      let total = 0;
      for (let i = 0; i < size; i++) total += values[c * size + i];
      return total / size;
    });
  },
  most({values, shape: [channels, height, width]}) {
    const size = height * width;
    return Float32Array.from({length: channels}, (_, c) =>
      values.subarray(c * size, (c + 1) * size).reduce((a, b) => Math.max(a, b)));
  },
  linear({values}, step) {
    const {weight: {values: weight, shape: [outputs, inputs]}, bias} = step.arrays;
    return Float32Array.from({length: outputs}, (_, f) => {
      let total = bias ? bias.values[f] : 0;
      for (let i = 0; i < inputs; i++) total += weight[f * inputs + i] * values[i];
      return total;
    });
  },
  nearest({values, shape: [channels, height, width]}, {shape: [, rows, columns]}) {
    const out = new Float32Array(channels * rows * columns);
    for (let c = 0; c < channels; c++) for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
      const from = Math.floor(y * height / rows) * width + Math.floor(x * width / columns);
      out[(c * rows + y) * columns + x] = values[c * height * width + from];
    }
    return out;
  },
  activation: ({values}, step) => values.map(FUNCTIONS[step.function](step)),
  same: ({values}) => values,
  flatten: ({values}) => values,
};

const sigmoid = x => 1 / (1 + Math.exp(-x));
const softplus = x => x > 20 ? x : Math.log1p(Math.exp(x));
// Abramowitz and Stegun 1964, 7.1.26: off by 1.5e-7 at most.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const poly = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - poly * Math.exp(-x * x));
}
const FUNCTIONS = {
  ReLU: () => x => Math.max(0, x),
  ReLU6: () => x => Math.min(6, Math.max(0, x)),
  LeakyReLU: ({slope}) => x => x < 0 ? slope * x : x,
  ELU: ({slope}) => x => x < 0 ? slope * Math.expm1(x) : x,
  GELU: ({tanh}) => x => tanh
    ? 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
    : 0.5 * x * (1 + erf(x / Math.SQRT2)),
  SiLU: () => x => x * sigmoid(x),
  Mish: () => x => x * Math.tanh(softplus(x)),
  Softplus: () => softplus,
  Tanh: () => Math.tanh,
  Sigmoid: () => sigmoid,
  Hardswish: () => x => x * Math.min(6, Math.max(0, x + 3)) / 6,
};

/** Values under a window of a pooling, and how many places it has with the padding. */
function underWindow({values, shape: [, height, width]}, step, c, y, x) {
  const {kernel: [kh, kw], stride: [sy, sx], padding: [py, px], dilation: [dy, dx]} = step;
  const found = [], places = [];
  let count = 0;
  for (let ky = 0; ky < kh; ky++) for (let kx = 0; kx < kw; kx++) {
    const iy = y * sy - py + ky * dy, ix = x * sx - px + kx * dx;
    // What ceil_mode adds beyond the padding counts for nothing.
    if (iy < height + py && ix < width + px) count++;
    if (iy < 0 || iy >= height || ix < 0 || ix >= width) continue;
    found.push(values[(c * height + iy) * width + ix]);
    places.push([iy, ix]);
  }
  return {found, places, count};
}

function pooled(input, step, join) {
  const [channels, rows, columns] = step.shape, out = new Float32Array(channels * rows * columns);
  for (let c = 0; c < channels; c++) for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
    const {found, count} = underWindow(input, step, c, y, x);
    out[(c * rows + y) * columns + x] = join(found, count);
  }
  return out;
}

function joined(inputs, step) {
  if (step.op === "concat") {
    const out = new Float32Array(inputs.reduce((total, {values}) => total + values.length, 0));
    let at = 0;
    for (const {values} of inputs) { out.set(values, at); at += values.length; }
    return out;
  }
  return inputs[0].values.map((value, i) =>
    inputs.slice(1).reduce((total, {values}) => total + values[i], value));
}

/** What a stored layer puts out for a tile: levels of 16 bits. */
function stored(index, tile) {
  const {stored: {tiles, layers}} = engine();
  const at = tiles.indexOf(tile), {low, step, levels} = layers[index];
  const {values} = layers[index].open ??= unpacked(levels);
  const size = values.length / tiles.length;
  return Float32Array.from(values.subarray(at * size, (at + 1) * size), v => low[at] + step[at] * v);
}

/** Outputs of every step for a tile of the album; of the last few tiles they are kept. */
const outputs = (() => {
  const kept = new Map();
  return tile => {
    if (kept.has(tile)) return kept.get(tile);
    const {steps} = engine(), {channels, height, width} = album();
    const found = [];
    found[-1] = {shape: [channels, height, width], values: raw(tile)};
    steps.forEach((step, i) => {
      const inputs = step.inputs.map(k => found[k]);
      const values = step.op === "stored" ? stored(i, tile)
        : step.op === "add" || step.op === "concat" ? joined(inputs, step)
        : OPS[step.op](inputs[0], step);
      found[i] = {shape: step.shape, values};
    });
    kept.set(tile, found);
    if (kept.size > 8) kept.delete(kept.keys().next().value);
    return found;
  };
})();

/** Tiles that the network can be walked with: all, unless some of its layers are stored. */
function walkable() {
  const {stored: {tiles}, steps} = engine();
  return steps.some(step => step.op === "stored") ? tiles : album().tiles.map((_, i) => i);
}

/** Probabilities from logits, with the temperature that training fitted. */
function softmax(values, temperature = 1) {
  const most = values.reduce((a, b) => Math.max(a, b));
  const parts = Array.from(values, v => Math.exp((v - most) / temperature));
  const total = parts.reduce((a, b) => a + b);
  return parts.map(part => part / total);
}

/** Positions [top, left, bottom, right] of a step's input that one of its output's sees. */
function towards(step, [top, left, bottom, right], [, height, width]) {
  const whole = [0, 0, height - 1, width - 1];
  if (["conv", "maxpool", "avgpool"].includes(step.op)) {
    const {kernel, stride, padding, dilation} = step;
    return [
      top * stride[0] - padding[0], left * stride[1] - padding[1],
      bottom * stride[0] - padding[0] + dilation[0] * (kernel[0] - 1),
      right * stride[1] - padding[1] + dilation[1] * (kernel[1] - 1),
    ];
  }
  if (step.op === "transposed") {
    const {kernel, stride, padding, dilation} = step;
    const first = (at, k) => Math.ceil((at + padding[k] - dilation[k] * (kernel[k] - 1)) / stride[k]);
    const last = (at, k) => Math.floor((at + padding[k]) / stride[k]);
    return [first(top, 0), first(left, 1), last(bottom, 0), last(right, 1)];
  }
  if (step.op === "nearest") {
    const [, rows, columns] = step.shape, down = height / rows, across = width / columns;
    return [top * down, left * across, bottom * down, right * across].map(Math.floor);
  }
  const alike = step.shape.length === 3 && step.shape[1] === height && step.shape[2] === width;
  return alike && step.op !== "stored" ? [top, left, bottom, right] : whole;
}

/** Pixels of the tile that a position of a step's output sees, cut at the tile's edge. */
function sees(index, y, x) {
  const {steps} = engine(), {height, width} = album();
  const boxes = new Map([[index, [y, x, y, x]]]);
  const shapeOf = k => k < 0 ? [0, height, width] : steps[k].shape;
  const join = (k, box) => {  // null: all there is
    const old = boxes.get(k);
    if (old === undefined) boxes.set(k, box);
    else boxes.set(k, old && box && [
      Math.min(old[0], box[0]), Math.min(old[1], box[1]), Math.max(old[2], box[2]), Math.max(old[3], box[3]),
    ]);
  };
  for (let i = index; i >= 0; i--) {
    if (!boxes.has(i)) continue;
    const box = boxes.get(i), step = steps[i];
    for (const k of step.inputs) {
      const shape = shapeOf(k);
      if (shape.length < 3) join(k, null);
      else join(k, box === null || step.shape.length < 3
        ? [0, 0, shape[1] - 1, shape[2] - 1] : towards(step, box, shape));
    }
  }
  const box = boxes.get(-1) ?? [0, 0, height - 1, width - 1];
  return {
    box: [Math.max(0, box[0]), Math.max(0, box[1]), Math.min(height - 1, box[2]), Math.min(width - 1, box[3])],
    full: box,
  };
}

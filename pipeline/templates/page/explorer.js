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

/** Whether a step lies behind one whose windows the page does not know. */
function hidden(index) {
  const step = engine().steps[index];
  return index >= 0 && (step.op === "stored" || step.inputs.some(hidden));
}

/** Pixels of the tile from one position of a step's output to the next. */
function tileStride(index) {
  const [, height, width] = engine().steps[index].shape;
  if (height < 2 || hidden(index)) return null;
  const y = Math.min(height - 2, Math.floor(height / 2));
  return sees(index, y + 1, 0).full[0] - sees(index, y, 0).full[0];
}

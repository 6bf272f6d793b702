// The diagram and the table of the layers: each opens what the layer learned and what it answers.

OPENERS.network = () => {
  const box = $("#layer"), diagram = $(".diagram svg");
  if (!box || !$("table.layers")) return;
  const rows = new Map($$("table.layers tr[data-layer]").map(row => [row.dataset.layer, row]));
  const boxes = diagram ? $$("[data-layer]", diagram).filter(shape => rows.has(shape.dataset.layer)) : [];
  if (boxes.length) diagram.setAttribute("role", "group");

  const open = name => {
    for (const shape of boxes) shape.setAttribute("aria-pressed", String(shape.dataset.layer === name));
    box.replaceChildren(...layerCard(name, rows.get(name)));
    box.scrollTop = 0;
  };
  for (const shape of boxes) {
    const name = shape.dataset.layer;
    shape.setAttribute("role", "button");
    shape.setAttribute("tabindex", "0");
    shape.setAttribute("aria-pressed", "false");
    shape.setAttribute("aria-label", name);
    shape.addEventListener("click", () => open(name));
    shape.addEventListener("keydown", event => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(name); }
    });
  }
  for (const [name, row] of rows) {
    const head = $("th", row), text = head.textContent, indent = text.length - text.trimStart().length;
    head.replaceChildren(" ".repeat(indent), el("button", {type: "button", onclick: () => {
      open(name);
      box.scrollIntoView({block: "nearest"});
    }}, text.trim()));
  }
  const first = engine()?.steps.find(step => step.op === "conv")?.name;
  open(rows.has(first) ? first : [...rows.keys()][0]);
};

/** A layer's row of the table, its weights, and its answers to the tile that is chosen. */
function layerCard(name, row) {
  const headings = $$("thead th", row.closest("table")).map(cell => cell.textContent);
  const facts = [...row.cells].slice(1).flatMap((cell, i) => cell.textContent ? [el("dt", {}, headings[i + 1]), el("dd", {}, cell.textContent)] : []);
  const out = [el("h3", {}, name), el("dl", {class: "facts tight"}, ...facts)];
  const index = engine() ? stepOf(name) : -1;
  if (index < 0) return out;
  const step = engine().steps[index], {weight} = step.arrays;
  if (weight?.shape.length === 4) {
    const sheet = kernelSheet(weight), [filters, inputs] = weight.shape;
    const rest = sheet.rows < inputs || sheet.columns < filters ? `, the first ${sheet.columns} and ${sheet.rows}` : "";
    out.push(el("h4", {}, `Weights: a column a filter, a row an input channel${rest}`), el("div", {class: "layers-holds", tabindex: 0, role: "region", "aria-label": `Weights of ${name}`}, sheet.canvas), legend(sheet.scale));
  } else if (weight) {
    const scale = scaleOf(weight.values, true), canvas = put(el("canvas", {role: "img", "aria-label": `Weights of ${name}`, style: "max-width:100%;width:100%;min-height:3rem"}), picture(weight.values, ...weight.shape, scale));
    out.push(el("h4", {}, "Weights: a row an output, a column an input"), canvas, legend(scale));
  } else if (step.op === "stored") out.push(el("p", {class: "faint"}, "Its weights are not in this page."));
  if (!album() || !walkable().length) return out;
  const tile = parts.rail ? now.tile : walkable()[0], found = outputs(tile)[index], scale = scales(index, found);
  const pick = channel => { go("explorer", {tile, step: index, channel}); top(); };
  out.push(
    el("h4", {}, `Answers to ${album().tiles[tile].id}${read("facts").classes.length ? `, ${className(album().tiles[tile].label)}` : ""}`),
    channels(found, {names: k => channelName(index, k), chosen: -1, onpick: pick, scale}), legend(scale),
    el("p", {}, el("button", {type: "button", onclick: () => pick(0)}, "See how it is computed")));
  return out;
}

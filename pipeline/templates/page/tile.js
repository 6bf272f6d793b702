// All that is known of one tile.

const SVG = el("div");
SVG.innerHTML = "<svg></svg>";
function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG.firstChild.namespaceURI, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Bars of probabilities, in the classes' own colours. */
function shares(values, label) {
  const box = el("div", {class: "shares"});
  values.forEach((share, k) => box.append(
    el("span", {class: k === label ? "true" : ""}, swatch(k), className(k), k === label ? " (true)" : ""),
    el("i", {}, el("b", {style: `width:${(100 * share).toFixed(2)}%;--colour:${classColour(k)}`})),
    el("span", {class: "num"}, percent(share))));
  return box;
}

/** A scene from the store's own tiles, with windows marked on it. */
function ground(source, marks, onpick = null) {
  const {rows, columns, picture: address} = read("grounds")[source];
  const svg = drawn("svg", {viewBox: `0 0 ${columns} ${rows}`, "aria-hidden": "true"});
  for (const index of marks) {
    const [y, x, height, width] = album().tiles[index].window;
    const pair = drawn("g", {}, ...["outer", "inner"].map(name => drawn("rect", {class: name, x, y, width, height})));
    if (onpick) {
      pair.style.cursor = "pointer";
      pair.addEventListener("click", () => onpick(index));
    }
    svg.append(pair);
  }
  const told = `${source} as far as tiles cover it, ${marks.length} marked`;
  return el("figure", {class: "ground"},
    el("div", {}, el("img", {src: address, alt: told, width: columns, height: rows}), svg),
    el("figcaption", {}, source));
}

function lookFigure(canvas, caption) {
  return el("figure", {}, canvas, el("figcaption", {}, caption));
}

/** What made the network say so: a map for each method, of the class it is asked for. */
function attributions(index) {
  const found = read("attributions");
  if (!found) return [];
  found.open ??= unpacked(found.maps);
  const [, methods, height, width] = found.maps.shape, size = height * width, out = [];
  found.of.forEach(([tile, label], row) => {
    if (tile !== index) return;
    const pictures = found.methods.map(({title, signed}, m) => {
      const start = (row * methods + m) * size;
      const values = found.open.values.subarray(start, start + size);
      const canvas = put(el("canvas", {role: "img", "aria-label": `${title} for ${className(label)}`}), picture(values, height, width, scaleOf(values, signed)));
      return lookFigure(canvas, title);
    });
    out.push(el("div", {}, el("h4", {}, "What spoke for ", swatch(label), className(label)), el("div", {class: "looks"}, ...pictures)));
  });
  return out.length ? [el("div", {class: "reasons"}, ...out), el("p", {class: "faint"}, found.text)] : [];
}

function place(tile) {
  const [row, column, height, width] = tile.window;
  const facts = [
    ["tile", tile.id], ["split", tile.split], ["scene", tile.source],
    ["window", `row ${row}, column ${column}, ${height} × ${width} pixels`],
  ];
  if (tile.bounds) {
    const [left, bottom, right, top] = tile.bounds.map(v => Math.abs(v) < 1000 ? v.toFixed(6) : v.toFixed(1));
    facts.push(["west to east", `${left} to ${right}`], ["south to north", `${bottom} to ${top}`]);
  }
  if (tile.crs) facts.push(["CRS", tile.crs]);
  if (tile.purity !== undefined) facts.push(["covered by its class", percent(tile.purity)]);
  return el("dl", {class: "facts"}, ...facts.flatMap(([term, text]) => [el("dt", {}, term), el("dd", {}, text)]));
}

/** A card about a tile of the album. */
function aboutTile(index) {
  const {tiles, natural, false: unnatural} = album(), tile = tiles[index];
  const classes = read("facts").classes;
  const said = tile.said === undefined ? null
    : tile.said === tile.label ? `${className(tile.label)}, as it is`
    : `${className(tile.label)}, taken for ${className(tile.said)}`;
  const left = el("div", {},
    el("h4", {}, "As the sensor saw it"),
    el("div", {class: "looks"},
      lookFigure(thumbnail(index, natural), "natural colour"),
      lookFigure(thumbnail(index, unnatural), "false colour")),
    ...attributions(index));
  const right = el("div", {});
  if (tile.p) right.append(el("h4", {}, "Probabilities, as measured"), shares(tile.p, classes.length ? tile.label : -1));
  right.append(el("h4", {}, "Where it lies"), place(tile));
  if (engine() && walkable().includes(index))
    right.append(el("p", {}, el("button", {type: "button", onclick: () => { go("explorer", {tile: index}); top(); }}, "Walk it through the network")));
  const where = read("grounds")?.[tile.source] ? el("div", {}, el("h4", {}, "In its scene"), ground(tile.source, [index])) : null;
  return el("article", {class: "card"}, el("h3", {}, said ? `${tile.id}: ${said}` : tile.id),
    el("div", {class: where ? "about whole" : "about"}, left, right, where));
}

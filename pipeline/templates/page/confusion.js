// The confusion matrix: a cell opens its tiles, a tile all that is known of it.

function tileButton(index, caption, onpick, extra = {}) {
  return el("button", {type: "button", "aria-pressed": "false", "data-tile": index, title: album().tiles[index].id, onclick: () => onpick(index), ...extra},
    thumbnail(index), caption);
}

OPENERS.confusion = () => {
  if (!album()) return;
  const {tiles} = album(), box = $("#cell"), about = $("#about-tile");
  const cells = $$("#confusion table.confusion td[data-true]");

  const pick = index => {
    for (const button of $$("button[data-tile]", box)) button.setAttribute("aria-pressed", String(Number(button.dataset.tile) === index));
    about.replaceChildren(aboutTile(index));
  };

  const open = cell => {
    const actual = Number(cell.dataset.true), said = Number(cell.dataset.said);
    for (const other of cells) $("button", other)?.setAttribute("aria-pressed", String(other === cell));
    const right = actual === said, count = Number(cell.dataset.count);
    const mine = tiles.map((tile, i) => i).filter(i => tiles[i].label === actual && tiles[i].said === said);
    mine.sort((a, b) => (right ? 1 : -1) * (tiles[a].p[said] - tiles[b].p[said]));
    const title = right ? `${className(actual)}, recognised` : `${className(actual)} taken for ${className(said)}`;
    const number = `${count.toLocaleString("en")} ${count === 1 ? "tile" : "tiles"}`;
    const note = !mine.length ? "None of them is in this page, which has room for some only."
      : right ? `${mine.length === count ? "All of them" : `${mine.length} of them`}, the least sure first.`
      : `${mine.length === count ? "All of them" : `${mine.length} of them`}, those that the network was surest of first.`;
    const list = el("ul", {class: "tiles"}, ...mine.map(i => el("li", {}, tileButton(i, el("span", {}, swatch(said), percent(tiles[i].p[said])), pick))));
    const places = new Map();
    for (const i of mine) places.set(tiles[i].source, [...(places.get(tiles[i].source) ?? []), i]);
    const grounds = [...places].filter(([source]) => read("grounds")?.[source])
      .sort((a, b) => b[1].length - a[1].length).map(([source, marks]) => ground(source, marks, pick));
    box.replaceChildren(
      el("h2", {}, `${title}: ${number}`), el("p", {class: "faint"}, note), list,
      ...(grounds.length ? [el("h3", {}, "Where they lie"), el("div", {class: "grounds"}, ...grounds)] : []));
    about.replaceChildren();
    if (mine.length) pick(mine[0]);
    roving(list, "button").settle();
  };

  let worst = null;  // the commonest mistake is open at first
  for (const cell of cells) {
    const inner = $("span", cell), count = Number(inner.firstChild.textContent.replaceAll(",", ""));
    cell.dataset.count = count;
    if (!count) continue;
    const title = `${className(Number(cell.dataset.true))} taken for ${className(Number(cell.dataset.said))}`;
    inner.replaceWith(el("button", {type: "button", "aria-pressed": "false", title, onclick: () => open(cell)}, ...inner.childNodes));
    const rank = (cell.dataset.true === cell.dataset.said ? 0 : 1e9) + count;
    if (!worst || rank > worst.rank) worst = {cell, rank};
  }
  if (worst) open(worst.cell);
};

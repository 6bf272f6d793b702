// Views as tabs: without this script they follow one another, all of them open.
const OPENERS = {};
const opened = new Set();

/** Show a view, and what is in it: openers of heavy ones run when they are first seen. */
function go(key, options = {}) {
  const view = document.getElementById(key);
  if (!view?.classList.contains("view")) return;
  for (const other of $$(".view")) other.hidden = other !== view;
  for (const tab of $$(".tabs a")) {
    const chosen = tab.id === `tab-${key}`;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    const strip = tab.closest(".width");  // of a narrow screen: the page itself stays where it is
    if (chosen) strip.scrollLeft = tab.offsetLeft - (strip.clientWidth - tab.offsetWidth) / 2;
  }
  if (!opened.has(key) || Object.keys(options).length) {
    opened.add(key);
    OPENERS[key]?.(options);
  }
  // In a frame without an origin of its own, as MLflow's, there is no history to write.
  try { history.replaceState(null, "", `#${key}`); } catch { /* the view is shown all the same */ }
}

/** To the top of a view, with the tabs still in sight. */
function top() {
  const bar = $(".bar-of-views");
  if (scrollY > bar.offsetTop) scrollTo(0, $("main").offsetTop - bar.offsetHeight);
}

/** Follow an address inside the page: a view, or something in one. */
function follow(hash) {
  const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
  const view = target && target.closest(".view");
  if (!view) return false;
  go(view.id);
  if (target !== view) target.scrollIntoView();
  else top();
  return true;
}

function start() {
  document.documentElement.classList.add("scripted");
  const list = $(".tabs"), tabs = $$("a", list);
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", "Views");
  for (const tab of tabs) {
    const key = tab.id.slice(4);
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", key);
    document.getElementById(key).setAttribute("role", "tabpanel");
  }
  list.addEventListener("keydown", event => {
    const at = tabs.indexOf(document.activeElement);
    const to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1}[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const tab = tabs[(to + tabs.length) % tabs.length];
    go(tab.id.slice(4));
    tab.focus();
  });
  document.addEventListener("click", event => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();  // in MLflow's frame an address of its own would lead elsewhere
    follow(link.getAttribute("href"));
  });
  addEventListener("hashchange", () => follow(location.hash));
  if (!follow(location.hash)) go(tabs[0].id.slice(4));
  // What tests and the curious may ask for.
  window.quadband = {go, album, engine: () => engine()?.steps, outputs, sees, walkable, state: () => ({...now})};
}

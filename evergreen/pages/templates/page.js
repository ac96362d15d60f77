(() => {
  "use strict";
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const config = { displayModeBar: false, displaylogo: false, responsive: true };
  const drawn = new Map();

  // A colour is the name of a style rule, so that one figure serves light, dark and paper.
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name.slice(1)}`).trim() || "transparent";
  const painted = (value, key) => {
    if (Array.isArray(value)) return typeof value[0] === "object" ? value.map((each) => painted(each, key)) : value;
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, painted(each, name)]));
    return typeof value === "string" && /color$/i.test(key) && value.startsWith("@") ? colour(value) : value;
  };

  // Nothing of plotly.js is read before somebody explores a plot.
  const unpack = async () => {
    const packed = atob(document.getElementById("plotly").textContent);
    const bytes = new Uint8Array(packed.length);
    for (let place = 0; place < packed.length; place++) bytes[place] = packed.charCodeAt(place);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const code = document.createElement("script");
    code.textContent = await new Response(stream).text();
    document.head.append(code);
  };
  let loading;
  const plotly = () => (loading ??= unpack());

  const figureOf = (place) => JSON.parse(document.querySelector(`script[data-for="${place.id}"]`).textContent);
  const draw = async (place) => {
    place.setAttribute("aria-busy", "true");
    await plotly();
    place.removeAttribute("aria-busy");
    if (!drawn.has(place)) return;
    const figure = painted(figureOf(place), "");
    if (place.clientWidth < 500) {
      // A finger that scrolls the page must not zoom the plot.
      figure.layout.dragmode = false;
    }
    const { range } = drawn.get(place);
    if (range) figure.layout.xaxis.range = range;
    const live = place.querySelector(".live") ?? document.createElement("div");
    live.className = "live";
    place.append(live);
    place.classList.add("explored");
    return Plotly.react(live, figure.data, figure.layout, config);
  };

  const places = [...document.querySelectorAll("[data-figure]")];
  const explore = (place, range) => {
    drawn.set(place, { range });
    document.querySelector(`[data-explore="${place.id}"]`).setAttribute("aria-pressed", "true");
    return draw(place);
  };
  const leave = (place) => {
    drawn.delete(place);
    document.querySelector(`[data-explore="${place.id}"]`).setAttribute("aria-pressed", "false");
    place.classList.remove("explored");
    const live = place.querySelector(".live");
    if (live) Plotly.purge(live);
    live?.remove();
  };
  const able = "DecompressionStream" in window;
  if (able)
    for (const place of places) {
      const button = document.querySelector(`[data-explore="${place.id}"]`);
      button.hidden = false;
      button.addEventListener("click", () => (drawn.has(place) ? leave(place) : explore(place)));
      place.addEventListener("click", () => drawn.has(place) || explore(place));
    }
  dark.addEventListener("change", () => drawn.forEach((_, place) => draw(place)));

  const timed = places.filter((place) => place.closest("[data-timed]"));
  const ends = () => {
    const { x } = figureOf(timed[0]).data.reduce(
      (all, trace) => ({ x: all.x.concat(trace.x.filter(Boolean)) }),
      { x: [] },
    );
    const sorted = x.sort();
    return [sorted[0], sorted[sorted.length - 1]];
  };
  const ranges = document.querySelector("[data-ranges]");
  if (able && ranges && timed.length) {
    const day = 24 * 3600 * 1000;
    const asDate = (text) => new Date(`${text.replace(" ", "T")}Z`);
    const [first, last] = ends().map(asDate);
    const days = (last - first) / day;
    const buttons = [...ranges.querySelectorAll("button")];
    buttons.forEach((button) => {
      button.hidden = Number(button.dataset.days) > days;
    });
    ranges.hidden = buttons.filter((button) => !button.hidden).length < 2;
    ranges.addEventListener("click", ({ target }) => {
      if (!buttons.includes(target)) return;
      buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === target)));
      const back = Number(target.dataset.days);
      const range = back ? [new Date(last - back * day).toISOString(), new Date(+last + day / 2).toISOString()] : undefined;
      timed.forEach((place) => explore(place, range));
    });
  }

  const kind = document.getElementById("kind");
  if (kind) {
    kind.closest("label").hidden = false;
    kind.addEventListener("change", () => {
      for (const row of document.querySelectorAll("#entries tbody tr")) {
        row.hidden = kind.value !== "" && row.dataset.kind !== kind.value;
      }
    });
  }
})();

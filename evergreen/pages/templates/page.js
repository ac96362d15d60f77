(() => {
  "use strict";
  // Nothing of Vega is read before somebody explores a plot.
  const unpack = async () => {
    const packed = atob(document.getElementById("packed-vega").textContent);
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const code = document.createElement("script");
    code.textContent = await new Response(stream).text();
    document.head.append(code);
  };
  let loading;

  // The plot of the still pictures, as wide as its place, and answering to the pointer.
  const describe = (place, since) => {
    const plot = JSON.parse(document.querySelector(`script[data-for="${place.id}"]`).textContent);
    for (const panel of plot.vconcat ?? [plot]) panel.width = place.clientWidth - plot.usermeta.beside;
    const set = { since, explored: true };
    for (const param of plot.params) if (param.name in set) param.value = set[param.name];
    // A finger that scrolls the page must not zoom the plot.
    if (place.clientWidth < 500) plot.params = plot.params.filter(({ name }) => name !== "zoom");
    return plot;
  };
  const explored = new Map();
  const buttonOf = (place) => document.querySelector(`[data-explore="${place.id}"]`);
  const leave = (place) => {
    explored.get(place)?.finalize?.();
    explored.delete(place);
    place.classList.remove("explored");
    place.querySelector(".live")?.remove();
    buttonOf(place).setAttribute("aria-pressed", "false");
  };
  const explore = async (place, since = null) => {
    leave(place);
    const asked = {};
    explored.set(place, asked);
    buttonOf(place).setAttribute("aria-pressed", "true");
    place.setAttribute("aria-busy", "true");
    await (loading ??= unpack());
    place.removeAttribute("aria-busy");
    if (explored.get(place) !== asked) return;
    const live = document.createElement("div");
    live.className = "live";
    place.append(live);
    place.classList.add("explored");
    // The page's policy forbids code that is made of text: Vega interprets its expressions. That a data set is empty
    // is worth no warning.
    const options = { ast: true, renderer: "svg", actions: false, logLevel: 1 };
    explored.set(place, await vegaEmbed(live, describe(place, since), options));
  };

  const places = [...document.querySelectorAll("[data-plot]")];
  const able = "DecompressionStream" in window;
  if (able)
    for (const place of places) {
      const button = buttonOf(place);
      button.hidden = false;
      button.addEventListener("click", () => (explored.has(place) ? leave(place) : explore(place)));
      place.addEventListener("click", () => explored.has(place) || explore(place));
    }

  const ranges = document.querySelector("[data-ranges]");
  if (able && ranges) {
    const buttons = [...ranges.querySelectorAll("button")];
    ranges.hidden = false;
    ranges.addEventListener("click", ({ target }) => {
      if (!buttons.includes(target)) return;
      buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === target)));
      const back = Number(target.dataset.days) * 24 * 3600 * 1000;
      const since = back ? new Date(ranges.dataset.ranges) - back : null;
      places.filter((place) => place.closest("[data-timed]")).forEach((place) => explore(place, since));
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

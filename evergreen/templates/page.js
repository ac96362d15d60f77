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

  const draw = (place) => {
    const given = JSON.parse(document.querySelector(`script[data-for="${place.id}"]`).textContent);
    const figure = painted(given, "");
    if (place.clientWidth < 500) {
      // A finger that scrolls the page must not zoom the plot.
      figure.layout.dragmode = false;
    }
    const shown = drawn.get(place);
    if (shown?.range && place.closest("[data-timed]")) figure.layout.xaxis.range = shown.range;
    drawn.set(place, { range: shown?.range });
    return Plotly.react(place, figure.data, figure.layout, config);
  };

  const places = [...document.querySelectorAll("[data-figure]")];
  // What is out of sight is drawn when it comes near: the first plot does not wait for the last.
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        seen.unobserve(target);
        draw(target);
      }
    },
    { rootMargin: "300px" },
  );
  if (places.length) {
    draw(places[0]).then(() => performance.mark("first-plot"));
    places.slice(1).forEach((place) => seen.observe(place));
  }

  const again = () => drawn.forEach((_, place) => draw(place));
  dark.addEventListener("change", again);
  addEventListener("beforeprint", () => {
    root.dataset.theme = "light";
    places.forEach(draw);
  });
  addEventListener("afterprint", () => {
    delete root.dataset.theme;
    again();
  });

  const timed = places.filter((place) => place.closest("[data-timed]"));
  const ends = () => {
    const { x } = JSON.parse(document.querySelector(`script[data-for="${timed[0].id}"]`).textContent).data.reduce(
      (all, trace) => ({ x: all.x.concat(trace.x.filter(Boolean)) }),
      { x: [] },
    );
    const sorted = x.sort();
    return [sorted[0], sorted[sorted.length - 1]];
  };
  const ranges = document.querySelector("[data-ranges]");
  if (ranges && timed.length) {
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
      timed.forEach((place) => drawn.set(place, { range }));
      timed.forEach(draw);
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

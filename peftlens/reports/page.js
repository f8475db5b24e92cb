// Draw the page's figures when they come into view, and filter their marks by the reader's text.
// Without this script each figure is a static picture.

// The send button would upload the figure; nothing leaves this page.
const config = { responsive: true, displaylogo: false, showSendToCloud: false, displayModeBar: false };
const NARROW = 440; // width of a figure below which it has fewer labels, px
const MOST_TICKS = 4; // ticks of a narrow figure
const input = document.querySelector(".filter input");
const fits = (text) => text.toLowerCase().includes(input.value.trim().toLowerCase());

// Filter a trace to the marks that match; a trace without keys, such as a Pareto front, stays whole.
function fitting(trace) {
  if (!input.value.trim()) return trace;
  if (trace.meta === "band") return { ...trace, visible: fits(`${trace.name} ${trace.text}`) };
  const keys = trace.customdata;
  if (!keys) return trace;
  const name = (n) => (typeof trace.y[n] === "string" ? trace.y[n].replaceAll("<br>", " ") : "");
  const texts = keys.map((key, n) => `${key} ${trace.name || ""} ${name(n)} ${trace.text?.[n] ?? ""}`);
  const kept = (values) => values && values.filter((_, n) => fits(texts[n]));
  const some = { ...trace, x: kept(trace.x), y: kept(trace.y), customdata: kept(keys), text: kept(trace.text) };
  for (const name of ["error_x", "error_y"]) {
    const bars = trace[name];
    if (bars) some[name] = { ...bars, array: kept(bars.array), arrayminus: kept(bars.arrayminus) };
  }
  return some;
}

// Names at the ends of lines need room; where there is none, the legend is shown instead.
function fittingWidth(layout, width) {
  if (width >= NARROW) return layout;
  const { xaxis } = layout;
  const some = (ticks) => (ticks?.length > MOST_TICKS ? ticks.filter((_, n) => n % Math.ceil(ticks.length / MOST_TICKS) === 0) : ticks);
  const ticks = xaxis.tickvals ? { tickvals: some(xaxis.tickvals), ticktext: some(xaxis.ticktext) } : { nticks: MOST_TICKS };
  return { ...layout, annotations: [], margin: { ...layout.margin, r: 24 },
    xaxis: xaxis.type === "category" ? xaxis : { ...xaxis, ...ticks } };
}

function fittingNames(layout, data) {
  const shown = new Set(data.filter((trace) => !trace.x || trace.x.length).map((trace) => trace.name));
  return layout.annotations
    ? { ...layout, annotations: layout.annotations.filter((label) => shown.has(label.name)) } : layout;
}

// Plotly takes a second to start, and so it starts with the first figure that comes into view.
let starting;
function plotly() {
  starting ??= new Promise((resolve) => {
    const { dataset, textContent } = document.querySelector("script[data-later]");
    const script = document.createElement("script");
    if (dataset.later) {
      script.addEventListener("load", () => resolve(Plotly));
      script.src = dataset.later;
    } else script.textContent = textContent;
    document.head.append(script); // one with its source has run now
    if (!dataset.later) resolve(Plotly);
  });
  return starting;
}

function draw(plot) {
  const { data, layout } = JSON.parse(document.querySelector(`[data-plot="${plot.id}"]`).textContent);
  const traces = data.map(fitting);
  const fitted = fittingNames(fittingWidth(layout, plot.parentElement.clientWidth), traces);
  plotly().then((drawing) => drawing.react(plot, traces, fitted, config))
    .then(() => plot.parentElement.classList.add("live"));
}

const drawn = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    const plot = target.querySelector(".plot");
    drawn.add(plot);
    draw(plot);
  }
}, { rootMargin: "600px" });
document.querySelectorAll(".drawn").forEach((figure) => watcher.observe(figure));

let waiting;
input.addEventListener("input", () => {
  clearTimeout(waiting);
  document.body.classList.toggle("filtered", input.value.trim() !== "");
  waiting = setTimeout(() => drawn.forEach(draw), 150);
});

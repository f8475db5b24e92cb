// Draw the page's figures when they come into view, and filter marks and rows by the reader's text.
// Without this script each figure is a static picture, and all rows are shown.

// The send button would upload the figure; nothing leaves this page.
const config = { responsive: true, displaylogo: false, showSendToCloud: false, displayModeBar: false };
const input = document.querySelector(".filter input");
const fits = (text) => text.toLowerCase().includes(input.value.trim().toLowerCase());

// Filter a trace to the marks that match; a trace without keys, such as a Pareto front, stays whole.
function fitting(trace) {
  if (!input.value.trim()) return trace;
  if (trace.meta === "band") return { ...trace, visible: fits(trace.name) };
  const keys = trace.customdata;
  if (!keys) return trace;
  const kept = (values) => values && values.filter((_, n) => fits(keys[n]) || fits(trace.name || ""));
  const some = { ...trace, x: kept(trace.x), y: kept(trace.y), customdata: kept(keys), text: kept(trace.text) };
  for (const name of ["error_x", "error_y"]) {
    const bars = trace[name];
    if (bars) some[name] = { ...bars, array: kept(bars.array), arrayminus: kept(bars.arrayminus) };
  }
  return some;
}

function draw(plot) {
  const { data, layout } = JSON.parse(document.querySelector(`[data-plot="${plot.id}"]`).textContent);
  Plotly.react(plot, data.map(fitting), layout, config).then(() => plot.parentElement.classList.add("live"));
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

input.parentElement.hidden = false;
let waiting;
input.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    for (const row of document.querySelectorAll("main .scroll tbody tr")) row.hidden = !fits(row.textContent);
    drawn.forEach(draw);
  }, 150);
});

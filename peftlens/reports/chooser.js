// Draw the chart whose axes the reader chooses: marks, Pareto front and the sentence about it.
// It runs before page.js, which draws what stands in the figure's JSON.

(() => {
// Plotly would interpret markup in names.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function undominated(points, x, y) {
  if (!x.better || !y.better) return [];
  const [sx, sy] = [x.better === "higher" ? -1 : 1, y.better === "lower" ? -1 : 1];
  const order = [...points].sort((a, b) => sx * (x.values[a] - x.values[b]) || sy * (y.values[b] - y.values[a]));
  let best = -Infinity;
  return order.filter((n) => {
    const isBetter = sy * y.values[n] > best;
    if (isBetter) best = sy * y.values[n];
    return isBetter;
  });
}

function marks(points, method, data, x, y) {
  const own = points.filter((n) => data.methods[n] === method);
  const length = (ends, n, sign) => (ends[n] === null ? null : sign * (ends[n] - y.values[n]));
  return {
    ...data.looks[method], type: "scatter", mode: "markers", name: plain(method), cliponaxis: false,
    x: own.map((n) => x.values[n]), y: own.map((n) => y.values[n]),
    customdata: own.map((n) => plain(data.keys[n])), text: own.map((n) => plain(data.names[n])),
    hovertemplate: "%{text}<br>%{x}, %{y}<br>(%{customdata})<extra></extra>",
    error_y: {
      array: own.map((n) => length(y.high, n, 1)), arrayminus: own.map((n) => length(y.low, n, -1)),
      color: data.looks[method].marker.color, thickness: 1.5,
    },
  };
}

function stairs(front, data, x, y) {
  const across = front.flatMap((n, place) => (place ? [x.values[n], x.values[n]] : [x.values[n]]));
  const up = front.flatMap((n, place) => (place < front.length - 1 ? [y.values[n], y.values[n]] : [y.values[n]]));
  return { ...data.front, type: "scatter", mode: "lines", x: across, y: up, hoverinfo: "skip" };
}

// What is 0 has no place on a logarithmic axis, and is drawn across.
function across(zeros, points, data, x, y) {
  const ends = [Math.min, Math.max].map((end) => end(...points.map((n) => x.values[n])));
  return zeros.map((n) => ({ ...data.across, type: "scatter", mode: "lines", name: plain(data.names[n]), x: ends,
    y: [y.values[n], y.values[n]], hovertemplate: "%{fullData.name}<br>%{y}<extra></extra>" }));
}

function sentence(points, front, data, x, y) {
  if (!points.length) return "No configuration that is shown has both.";
  if (!x.better || !y.better) return `${points.length} configurations have both; one of the two has no better direction.`;
  return `${front.length} of ${points.length} are on the Pareto front: ${front.map((n) => data.names[n]).join("; ")}.`;
}

const axisOf = ({ tickvals, ticktext, ...kept }, metric) => ({ ...kept, ...metric.layout });

function choose(figure, data, store, layout) {
  const [x, y] = ["x", "y"].map((axis) => data.metrics[figure.querySelector(`[data-axis=${axis}]`).value]);
  const reader = document.querySelector(".filter input").value.trim().toLowerCase();
  const measured = data.names.map((_, n) => n).filter((n) => x.values[n] !== null && y.values[n] !== null
    && `${data.names[n]} ${data.keys[n]}`.toLowerCase().includes(reader));
  const isLog = (metric) => metric.layout.type === "log";
  const points = measured.filter((n) => [x, y].every((metric) => !isLog(metric) || metric.values[n] > 0));
  const zeros = isLog(x) ? measured.filter((n) => x.values[n] === 0) : [];
  const front = undominated(points, x, y);
  const methods = [...new Set(points.map((n) => data.methods[n]))];
  const traces = methods.map((method) => marks(points, method, data, x, y));
  if (points.length) traces.push(...across(zeros, points, data, x, y));
  if (front.length > 1) traces.push(stairs(front, data, x, y));
  store.textContent = JSON.stringify({
    data: traces, layout: { ...layout, xaxis: axisOf(layout.xaxis, x), yaxis: axisOf(layout.yaxis, y) },
  });
  const [finding, title] = [sentence(points, front, data, x, y), `${y.title} against ${x.title}`];
  figure.querySelector(".finding").textContent = finding;
  figure.querySelector(".what").textContent = `${title}.`;
  figure.querySelector(".plot").setAttribute("aria-label", `${finding} ${title}.`);
}

for (const figure of document.querySelectorAll(".chooser")) {
  const data = JSON.parse(figure.querySelector("[data-metrics]").textContent);
  const store = figure.querySelector("[data-plot]");
  const { layout } = JSON.parse(store.textContent);
  const update = () => choose(figure, data, store, layout);
  for (const select of figure.querySelectorAll("select")) {
    select.addEventListener("change", () => {
      update();
      draw(figure.querySelector(".plot"));
    });
  }
  document.querySelector(".filter input").addEventListener("input", update);
  figure.querySelector(".axes").hidden = false;
}
})();

// All tokens as points. Plotly draws them by WebGL; without WebGL a plain canvas does, without
// zooming. The overlay (see overlay.js) gets the position of a point from `place`.

const MARGIN = 8;
const config = { responsive: false, displaylogo: false, showSendToCloud: false, scrollZoom: true,
  modeBarButtonsToRemove: ["toImage"] };

function hasWebGL() {
  const canvas = document.createElement("canvas");
  return Boolean(canvas.getContext("webgl"));
}

export class Cloud {
  /** @param element container; @param points {x, y}; @param on callbacks: moved, clicked, hovered,
   *  selected. */
  constructor(element, points, on) {
    this.element = element;
    this.points = points;
    this.on = on;
    this.webgl = hasWebGL();
    this.view = { x: range(points.x), y: range(points.y) };
  }

  /** Draw with one color per token: numbers on a scale, or categories by their colors. */
  async draw(colors) {
    this.colors = colors;
    await (this.webgl ? this.drawPlot() : this.drawCanvas());
    this.on.moved();
  }

  async drawPlot() {
    const { x, y } = this.points;
    const marker = { size: x.length > 100000 ? 2 : 3, opacity: 0.6, color: this.colors.values,
      colorscale: this.colors.scale, cmin: this.colors.low, cmax: this.colors.high };
    const trace = { type: "scattergl", mode: "markers", x, y, marker, hoverinfo: "none" };
    const axis = { visible: false, zeroline: false };
    const layout = { margin: { l: MARGIN, r: MARGIN, t: MARGIN, b: MARGIN }, dragmode: "pan", hovermode: "closest",
      // hovering over empty space would search all points
      hoverdistance: 12, spikedistance: 20, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)", xaxis: { ...axis, range: this.view.x }, yaxis: { ...axis, range: this.view.y },
      width: this.element.clientWidth, height: this.element.clientHeight };
    await Plotly.react(this.element, [trace], layout, config);
    if (this.wired) return;
    this.wired = true;
    this.element.on("plotly_relayout", () => this.looked());
    this.element.on("plotly_relayouting", () => this.looked());
    this.element.on("plotly_click", (event) => this.on.clicked(event.points[0].pointIndex));
    this.element.on("plotly_hover", (event) => this.on.hovered(event.points[0].pointIndex));
    this.element.on("plotly_unhover", () => this.on.hovered(null));
    this.element.on("plotly_selected", (event) => event && this.on.selected(event.points.map((one) => one.pointIndex)));
  }

  looked() {
    const { xaxis, yaxis } = this.element._fullLayout;
    this.view = { x: [...xaxis.range], y: [...yaxis.range] };
    this.on.moved();
  }

  /** Show another part of the map; both maps of a pair show the same part. */
  async look(view) {
    this.view = view;
    if (this.webgl) await Plotly.relayout(this.element, { "xaxis.range": view.x, "yaxis.range": view.y });
    this.on.moved();
  }

  drawCanvas() {
    const canvas = this.element.querySelector("canvas") || this.element.appendChild(document.createElement("canvas"));
    canvas.width = this.element.clientWidth;
    canvas.height = this.element.clientHeight;
    const paper = canvas.getContext("2d");
    paper.globalAlpha = 0.5;
    const { values, scale, low, high } = this.colors;
    for (let id = 0; id < this.points.x.length; id += 1) {
      paper.fillStyle = shade(scale, (values[id] - low) / (high - low || 1));
      const [left, top] = this.place(this.points.x[id], this.points.y[id]);
      paper.fillRect(left, top, 1.5, 1.5);
    }
  }

  /** Position of a point of the map in the element, px. */
  place(x, y) {
    const { clientWidth: width, clientHeight: height } = this.element;
    const across = (x - this.view.x[0]) / (this.view.x[1] - this.view.x[0]);
    const up = (y - this.view.y[0]) / (this.view.y[1] - this.view.y[0]);
    return [MARGIN + across * (width - 2 * MARGIN), height - MARGIN - up * (height - 2 * MARGIN)];
  }
}

/** Range of nearly all values: a few outliers would leave the others little room. */
function range(values) {
  const order = Float64Array.from(values).sort();
  const at = (share) => order[Math.round(share * (order.length - 1))];
  const low = at(0.001), high = at(0.999);
  const room = 0.03 * (high - low || 1);
  return [low - room, high + room];
}

/** Color of a share on a scale of [share, color] pairs: the nearest one below. */
function shade(scale, share) {
  let found = scale[0][1];
  for (const [place, color] of scale) if (share >= place) found = color;
  return found;
}

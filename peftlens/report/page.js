// Draw every figure of the page from the JSON beside it.
for (const script of document.querySelectorAll("script[data-plot]")) {
  const { data, layout } = JSON.parse(script.textContent);
  // The send button would upload the figure; nothing leaves this page.
  const config = { responsive: true, displaylogo: false, showSendToCloud: false, displayModeBar: false };
  Plotly.newPlot(script.dataset.plot, data, layout, config);
}

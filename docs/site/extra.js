// Boxes that scroll sideways can be reached and scrolled by keys.
const boxes = ".md-typeset__scrollwrap, .md-typeset table, .cell-output, .cell-output pre";

document$.subscribe(() => {
  for (const box of document.querySelectorAll(boxes)) {
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
    }
  }
});

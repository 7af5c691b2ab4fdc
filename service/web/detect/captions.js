// Places for the captions of boxes: inside the image, with as little overlap between captions as possible.

const SHIFTS = [0, 1, 2, 3, 4]; // lines below the top edge

/** Place the caption of each .box in this element. Boxes come in order of importance; the first ones get the best places. */
export function placeCaptions(parent) {
  const { left, top, width, height } = parent.getBoundingClientRect();
  if (!width) return; // hidden
  const boxes = [...parent.querySelectorAll(".box")].sort((a, b) => (a.dataset.index ?? 0) - (b.dataset.index ?? 0));
  const measured = boxes.map((node) => {
    const caption = node.querySelector(".caption");
    const { x, y, right, bottom } = node.getBoundingClientRect();
    const box = { left: x - left, top: y - top, right: right - left, bottom: bottom - top };
    return { node, caption, box, width: caption.offsetWidth, height: caption.offsetHeight };
  }); // measure first, then write: the browser computes the layout once
  const placed = [];
  for (const { node, caption, box, ...size } of measured) {
    const best = bestPlace(candidates(box, size, { width, height }), placed);
    placed.push(best);
    caption.style.setProperty("left", `${best.left - box.left - node.clientLeft}px`);
    caption.style.setProperty("top", `${best.top - box.top - node.clientTop}px`);
  }
}

/** Places for a caption, the usual one first: above the box, then inside it, then below it. All are inside the image. */
function candidates(box, size, image) {
  const sides = [box.left, box.right - size.width];
  const tops = [box.top - size.height, ...SHIFTS.map((lines) => box.top + lines * size.height), box.bottom, box.bottom - size.height];
  return tops.flatMap((y) =>
    sides.map((x) => {
      const left = Math.max(Math.min(x, image.width - size.width), 0);
      const top = Math.max(Math.min(y, image.height - size.height), 0);
      return { left, top, right: left + size.width, bottom: top + size.height };
    }),
  );
}

function bestPlace(places, placed) {
  const overlap = (place) => placed.reduce((sum, other) => sum + sharedArea(place, other), 0);
  return places.reduce((best, place) => (best && overlap(best) <= overlap(place) ? best : place), null);
}

function sharedArea(a, b) {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  return Math.max(width, 0) * Math.max(height, 0);
}

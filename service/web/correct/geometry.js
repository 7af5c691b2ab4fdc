// Boxes as {xmin, ymin, xmax, ymax}: whole pixels of the upright image, edges from 0 to its width and height.

const MIN_SIDE = 2; // pixels; training ignores smaller boxes

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Return the edges from `low` to `high` in whole pixels, at least MIN_SIDE apart and inside 0..limit. */
function interval(low, high, limit) {
  const start = clamp(Math.round(low), 0, limit - MIN_SIDE);
  return [start, clamp(Math.round(high), start + MIN_SIDE, limit)];
}

/** Return the box between two opposite corners {x, y}, clipped to the image. */
export function boxBetween(first, second, { width, height }) {
  const [xmin, xmax] = interval(Math.min(first.x, second.x), Math.max(first.x, second.x), width);
  const [ymin, ymax] = interval(Math.min(first.y, second.y), Math.max(first.y, second.y), height);
  return { xmin, ymin, xmax, ymax };
}

/** Return a detected box in whole pixels. */
export function wholePixels({ xmin, ymin, xmax, ymax }, size) {
  return boxBetween({ x: xmin, y: ymin }, { x: xmax, y: ymax }, size);
}

/** Return the box moved by (dx, dy), as far as the image allows. */
export function moved({ xmin, ymin, xmax, ymax }, dx, dy, { width, height }) {
  const x = clamp(Math.round(dx), -xmin, width - xmax);
  const y = clamp(Math.round(dy), -ymin, height - ymax);
  return { xmin: xmin + x, ymin: ymin + y, xmax: xmax + x, ymax: ymax + y };
}

/** Return the box with some edges moved by (dx, dy). handle: the edges as compass directions, such as "n" or "se". */
export function resized({ xmin, ymin, xmax, ymax }, handle, dx, dy, { width, height }) {
  const has = (side) => handle.includes(side);
  return {
    xmin: has("w") ? clamp(Math.round(xmin + dx), 0, xmax - MIN_SIDE) : xmin,
    ymin: has("n") ? clamp(Math.round(ymin + dy), 0, ymax - MIN_SIDE) : ymin,
    xmax: has("e") ? clamp(Math.round(xmax + dx), xmin + MIN_SIDE, width) : xmax,
    ymax: has("s") ? clamp(Math.round(ymax + dy), ymin + MIN_SIDE, height) : ymax,
  };
}

/** Return a box in the centre of the image with a quarter of its width and height. */
export function centred({ width, height }) {
  return boxBetween({ x: (3 * width) / 8, y: (3 * height) / 8 }, { x: (5 * width) / 8, y: (5 * height) / 8 }, { width, height });
}

export const area = ({ xmin, ymin, xmax, ymax }) => (xmax - xmin) * (ymax - ymin);

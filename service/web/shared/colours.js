// The class colours of detector/imaging/draw.py. A test compares the two implementations.

const GOLDEN = (Math.sqrt(5) - 1) / 2;
const LIGHTNESSES = [0.52, 0.36, 0.72];
const SATURATION = 0.9;
const BLACK = [0, 0, 0];
const WHITE = [255, 255, 255];

/** Return [red, green, blue], 0 to 255: constant for a class, and distinct from those of adjacent class ids. */
export function classColour(classId) {
  const lightness = LIGHTNESSES[classId % 3];
  const high = lightness <= 0.5 ? lightness * (1 + SATURATION) : lightness + SATURATION - lightness * SATURATION;
  const low = 2 * lightness - high;
  const hue = (classId * GOLDEN) % 1;
  return [hue + 1 / 3, hue, hue - 1 / 3].map((turned) => Math.round(255 * channel(low, high, turned)));
}

/** Return black or white, whichever has more contrast. */
export function textColourOn(colour) {
  return contrast(BLACK, colour) >= contrast(WHITE, colour) ? BLACK : WHITE;
}

/** Return the colour for a CSS style. */
export function css([red, green, blue]) {
  return `rgb(${red}, ${green}, ${blue})`;
}

function channel(low, high, hue) {
  const turn = ((hue % 1) + 1) % 1;
  if (turn < 1 / 6) return low + (high - low) * turn * 6;
  if (turn < 1 / 2) return high;
  if (turn < 2 / 3) return low + (high - low) * (2 / 3 - turn) * 6;
  return low;
}

/** Contrast ratio of two sRGB colours, 1 to 21 (WCAG 2.2). */
function contrast(first, second) {
  const [darker, lighter] = [luminance(first), luminance(second)].sort((a, b) => a - b);
  return (lighter + 0.05) / (darker + 0.05);
}

function luminance(colour) {
  const [red, green, blue] = colour.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

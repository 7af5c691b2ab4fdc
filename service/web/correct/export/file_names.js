// File names that are safe on every system, and unique within an archive.

const MAX_LENGTH = 60; // characters; file systems allow 255 bytes including the suffix
const RESERVED = /^(con|prn|aux|nul|com\d|lpt\d)$/i; // on Windows
const SUFFIXES = /\.(jpe?g|jpe|jfif|png|gif|webp|bmp|tiff?|mpo)$/i; // those that Boxwright finds in a data set

const SIGNATURES = [
  [".jpg", [0xff, 0xd8]],
  [".png", [0x89, 0x50, 0x4e, 0x47]],
  [".gif", [0x47, 0x49, 0x46]],
  [".webp", [0x52, 0x49, 0x46, 0x46]],
  [".bmp", [0x42, 0x4d]],
  [".tif", [0x49, 0x49]],
  [".tif", [0x4d, 0x4d]],
];

/** Return the name without its suffix, and without characters that some file systems or ImageSets lists do not allow. */
function safeStem(name) {
  const stem = name.replace(/^.*[\\/]/, "").replace(/\.[^.]*$/, "").normalize("NFC");
  const letters = [...stem.replace(/[^\p{L}\p{N}\p{M}_.-]+/gu, "_")].slice(0, MAX_LENGTH).join("");
  const safe = letters.replace(/^[.-]+|\.+$/g, "") || "image";
  return RESERVED.test(safe) ? `${safe}_` : safe;
}

/** Return the suffix of the file. If Boxwright does not find files with this suffix, return one that fits the first bytes (Uint8Array). */
export function suffixOf(name, bytes) {
  const suffix = SUFFIXES.exec(name);
  if (suffix) return suffix[0].toLowerCase();
  const found = SIGNATURES.find(([, signature]) => signature.every((byte, index) => bytes[index] === byte));
  return found ? found[0] : ".jpg";
}

/** Return a safe stem for each name. Stems that are equal except for case get a number: cat, cat-2, cat-3. */
export function uniqueStems(names) {
  const used = new Set();
  return names.map((name) => {
    const stem = safeStem(name);
    let unique = stem;
    for (let number = 2; used.has(unique.toLowerCase()); number++) unique = `${stem}-${number}`;
    used.add(unique.toLowerCase());
    return unique;
  });
}

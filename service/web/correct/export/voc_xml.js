// Annotations in the XML format of Pascal VOC, byte for byte as training/data/voc_writer.py writes them. A test compares the two.

const NOT_IN_XML = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu; // XML 1.0, section 2.2

/** Return text without characters that XML cannot hold, with single spaces. */
export function cleanText(text) {
  return text.replace(NOT_IN_XML, "").replace(/\s+/g, " ").trim();
}

/**
 * Return the annotation of an image.
 *
 * filename: of the image.
 * size: {width, height} of the upright image.
 * boxes: [{label, xmin, ymin, xmax, ymax}], pixel edges from 0. VOC counts pixels from 1 and includes the last one.
 */
export function annotationXml(filename, { width, height }, boxes) {
  const lines = [
    "<annotation>",
    `  <filename>${escape(filename)}</filename>`,
    "  <size>",
    `    <width>${width}</width>`,
    `    <height>${height}</height>`,
    "    <depth>3</depth>",
    "  </size>",
    ...boxes.flatMap(objectLines),
    "</annotation>",
    "",
  ];
  return lines.join("\n");
}

function objectLines({ label, xmin, ymin, xmax, ymax }) {
  return [
    "  <object>",
    `    <name>${escape(label)}</name>`,
    "    <difficult>0</difficult>",
    "    <bndbox>",
    `      <xmin>${xmin + 1}</xmin>`,
    `      <ymin>${ymin + 1}</ymin>`,
    `      <xmax>${xmax}</xmax>`,
    `      <ymax>${ymax}</ymax>`,
    "    </bndbox>",
    "  </object>",
  ];
}

function escape(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

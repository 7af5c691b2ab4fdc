// Write a ZIP archive without compression: images are compressed already (PKWARE APPNOTE 6.3.10).

const LOCAL_HEADER = 0x04034b50;
const CENTRAL_HEADER = 0x02014b50;
const END_RECORD = 0x06054b50;
const VERSION = 20; // 2.0, the first version with folders
const UTF8_NAMES = 1 << 11;
const STORED = 0;
const MAX_ENTRIES = 0xffff;
const MAX_BYTES = 0xffffffff; // larger archives need the ZIP64 extension

/**
 * Return the archive as a Blob.
 *
 * entries: [{path, blob, crc}], with the CRC-32 of the blob's content. Paths have forward slashes.
 * date: of every entry. ZIP stores local time, in steps of two seconds.
 * Throws a RangeError if there are more than 65,535 entries or 4 GiB.
 */
export function zip(entries, date = new Date()) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { path, blob, crc } of entries) {
    const name = new TextEncoder().encode(path);
    const common = [[2, VERSION], [2, UTF8_NAMES], [2, STORED], ...timestamp(date), [4, crc], [4, blob.size], [4, blob.size], [2, name.length], [2, 0]];
    parts.push(fields([4, LOCAL_HEADER], ...common), name, blob);
    directory.push(fields([4, CENTRAL_HEADER], [2, VERSION], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), name);
    offset += 30 + name.length + blob.size; // a local header has 30 bytes
  }
  const directorySize = directory.reduce((sum, part) => sum + part.length, 0);
  if (entries.length > MAX_ENTRIES || offset + directorySize > MAX_BYTES) {
    throw new RangeError("A ZIP file has at most 65,535 files and 4 GiB. Include fewer images.");
  }
  const count = entries.length;
  const end = fields([4, END_RECORD], [2, 0], [2, 0], [2, count], [2, count], [4, directorySize], [4, offset], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** MS-DOS time and date. */
function timestamp(date) {
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  const day = ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  return [[2, time], [2, day]];
}

/** Return little-endian numbers as bytes. Each field is [number of bytes, value]. */
function fields(...list) {
  const view = new DataView(new ArrayBuffer(list.reduce((sum, [size]) => sum + size, 0)));
  let position = 0;
  for (const [size, value] of list) {
    if (size === 2) view.setUint16(position, value, true);
    else view.setUint32(position, value, true);
    position += size;
  }
  return new Uint8Array(view.buffer);
}

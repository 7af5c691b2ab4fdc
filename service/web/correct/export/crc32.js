// CRC-32 as in ZIP and PNG files (ISO 3309, polynomial 0xEDB88320 in reversed bit order).

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** Return the CRC-32 of a Uint8Array, as an unsigned number. */
export function crc32(bytes) {
  let value = 0xffffffff;
  for (let index = 0; index < bytes.length; index++) value = (value >>> 8) ^ TABLE[(value ^ bytes[index]) & 0xff];
  return ~value >>> 0;
}

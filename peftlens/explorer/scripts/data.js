// The page's data: a gzip stream as base64 text, which holds JSON and the arrays it refers to.

const TYPES = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text.trim());
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n += 1) bytes[n] = raw.charCodeAt(n);
  return bytes;
}

/** Read the element's JSON, with its arrays in their places. */
export async function readData(element) {
  const stream = new Blob([bytesOf(element.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const open = (value) => {
    if (value === null || typeof value !== "object") return value;
    if (typeof value.dtype === "string" && typeof value.at === "number") return new TYPES[value.dtype](buffer, 4 + length + value.at, value.length);
    if (Array.isArray(value)) return typeof value[0] === "object" ? value.map(open) : value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, open(one)]));
  };
  return open(JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))));
}

/** Number at an index of { levels, low, high }, which are rounded to 65,536 levels. */
export const levelAt = ({ levels, low, high }, index) => low + ((high - low) * levels[index]) / 65535;

/** Coordinates in space from ten bits each, in the units of the plane. */
export function spaceOf(packed) {
  if (!packed) return null;
  const [x, y, z] = [0, 10, 20].map((shift) => Uint16Array.from(packed, (one) => ((one >>> shift) & 1023) * 64));
  return { x, y, z };
}

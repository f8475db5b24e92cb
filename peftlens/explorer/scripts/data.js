// The page's data: JSON compressed by gzip, and arrays packed as base64 in it.

const TYPES = { u1: Uint8Array, u2: Uint16Array };

/** Decode { dtype, data } to a typed array. */
export function unpacked({ dtype, data }) {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  return new TYPES[dtype](bytes.buffer);
}

/** Parse the element's JSON and unpack every packed array. */
export async function readData(element) {
  const zipped = Uint8Array.from(atob(element.textContent), (one) => one.charCodeAt(0));
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
  const open = (value) => {
    if (value === null || typeof value !== "object") return value;
    if (typeof value.dtype === "string" && typeof value.data === "string") return unpacked(value);
    if (Array.isArray(value)) return typeof value[0] === "object" ? value.map(open) : value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, open(one)]));
  };
  return open(await new Response(stream).json());
}

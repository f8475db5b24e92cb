// Nearest tokens of a token. The page holds the pairs that contain the nearest tokens of every token;
// each metric's similarity follows from the cosine of a pair and numbers of its two tokens.

import { levelAt } from "./data.js";

export class Neighbors {
  /** @param kept pairs of the page, or null; @param norm of the tokens. */
  constructor(kept, norm) {
    Object.assign(this, { kept, norm });
    this.metrics = kept ? kept.metrics : [];
    if (kept) this.pairs = unfolded(kept);
  }

  /** Nearest tokens of a token: [{ id, similarity }], nearest first. */
  of(token, metric) {
    const { low, high } = this.pairs, { planes, low: least, step } = this.kept.cosine, found = [];
    for (let pair = 0; pair < low.length; pair += 1) {
      const id = low[pair] === token ? high[pair] : high[pair] === token ? low[pair] : -1;
      if (id >= 0) found.push({ id, similarity: this.similarity(metric, token, id, least + step * (planes[0][pair] + 256 * planes[1][pair])) });
    }
    found.sort((one, other) => other.similarity - one.similarity || one.id - other.id);
    return found.slice(0, this.kept.k);
  }

  similarity(metric, one, other, cosine) {
    const { kept } = this;
    if (metric === "cosine") return cosine;
    if (metric === "csls") return 2 * cosine - levelAt(kept.density, one) - levelAt(kept.density, other);
    const [long, length] = [levelAt(this.norm, one), levelAt(this.norm, other)];
    const product = cosine * long * length;
    if (metric === "dot") return product;
    if (metric === "euclidean") return -Math.sqrt(Math.max(0, long * long + length * length - 2 * product));
    const [along, beside, square] = [levelAt(kept.meanProduct, one), levelAt(kept.meanProduct, other), kept.meanSquare];
    const around = (norm, mean) => Math.sqrt(Math.max(1e-12, norm * norm - 2 * mean + square));
    return (product - along - beside + square) / (around(long, along) * around(length, beside));
  }
}

/** Ids of all pairs from the counts of each token's pairs and the differences of their higher ids. */
function unfolded({ counts, steps }) {
  const total = steps[0].length, low = new Uint32Array(total), high = new Uint32Array(total);
  let pair = 0;
  for (let token = 0; token < counts.length; token += 1) {
    let id = token;
    for (const end = pair + counts[token]; pair < end; pair += 1) {
      id += steps[0][pair] + 256 * steps[1][pair] + (steps[2] ? 65536 * steps[2][pair] : 0);
      low[pair] = token;
      high[pair] = id;
    }
  }
  return { low, high };
}

/** Ask the server that this page comes from; it answers { neighbors } or { error }. */
export async function asked(query) {
  try {
    const answer = await fetch(`neighbors?${new URLSearchParams(query)}`);
    return await answer.json();
  } catch {
    return { error: "The server does not answer; is it still running?" };
  }
}

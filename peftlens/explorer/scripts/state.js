// State of the view, kept in the address after #, so that a link opens the same view.

/** Read the state from an address's hash, as text by name. */
export function readHash(hash, defaults) {
  const stored = new URLSearchParams(hash.replace(/^#/, ""));
  return Object.fromEntries(
    Object.entries(defaults).map(([key, value]) => [key, stored.get(key) ?? value]),
  );
}

/** Write the state as a hash, without values that equal the defaults. */
export function writeHash(state, defaults) {
  const changed = Object.entries(state).filter(([key, value]) => value !== defaults[key]);
  return new URLSearchParams(changed.map(([key, value]) => [key, String(value)])).toString();
}

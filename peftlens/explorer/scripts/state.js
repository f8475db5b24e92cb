// State of the view, kept in the address after #, so that a link opens the same view.

/** Read the state from an address's hash, as text by name. */
export function readHash(hash, defaults) {
  const stored = new URLSearchParams(hash.replace(/^#/, ""));
  return Object.fromEntries(
    Object.entries(defaults).map(([key, value]) => [key, stored.get(key) ?? value]),
  );
}

/** Replace values that the page does not know by their defaults; a link may be old or cut.
 *  @param known function for each name that can be wrong: whether a value is known. */
export function checked(state, defaults, known) {
  return Object.fromEntries(
    Object.entries(state).map(([key, value]) => [key, !known[key] || known[key](value) ? value : defaults[key]]),
  );
}

/** Write the state as a hash, without values that equal the defaults. */
export function writeHash(state, defaults) {
  const changed = Object.entries(state).filter(([key, value]) => value !== defaults[key]);
  return new URLSearchParams(changed.map(([key, value]) => [key, String(value)])).toString();
}

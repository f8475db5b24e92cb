// What is shown, kept in the address behind #, so that a link brings somebody to the same view.

/** Values as text by name, out of an address's hash. */
export function readHash(hash, defaults) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  return Object.fromEntries(
    Object.entries(defaults).map(([key, value]) => [key, given.get(key) ?? value]),
  );
}

/** The hash of a state: what is as it is by default is left out. */
export function writeHash(state, defaults) {
  const told = Object.entries(state).filter(([key, value]) => value !== defaults[key]);
  return new URLSearchParams(told.map(([key, value]) => [key, String(value)])).toString();
}

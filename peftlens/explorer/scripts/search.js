// Search for tokens that contain a text, or match /a regular expression/.

/** Make a function that matches tokens; null if the expression is invalid. */
export function matcher(query) {
  const regex = /^\/(.+)\/(i?)$/.exec(query);
  if (regex) {
    try {
      const pattern = new RegExp(regex[1], regex[2] + "u");
      return (token) => pattern.test(token);
    } catch {
      return null;
    }
  }
  const wanted = query.toLowerCase().replaceAll(" ", "␣");
  return (token) => token.toLowerCase().includes(wanted);
}

/** Find ids of matching tokens, shortest first; null if there is no query. */
export function find(tokens, query) {
  if (!query) return null;
  const fits = matcher(query);
  if (!fits) return { ids: [], readable: false };
  const ids = [];
  for (let id = 0; id < tokens.length; id += 1) if (fits(tokens[id])) ids.push(id);
  ids.sort((a, b) => tokens[a].length - tokens[b].length || a - b);
  return { ids, readable: true };
}

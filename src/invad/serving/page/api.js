// The service's answers, and its refusals as errors that say what to do next.
// Addresses are relative to the page, so that it also works below a path of another server.

import { session } from "./storage.js";

const TOKEN = "invad-token";
const PLAIN = /^[\x21-\x7e]+$/; // what a header can carry, and the service takes

// The queue is full; `seconds` is how long the service asks to wait.
export class Busy extends Error {
  constructor(message, seconds) {
    super(message);
    this.seconds = seconds;
  }
}
// No answer at all.
export class Away extends Error {}
// The token is missing or wrong.
export class Unauthorised extends Error {}
// An answer that repeating will not change.
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// The session's: the token goes when the tab does, and no other tab or site sees it.
export const setToken = (token) => session.set(TOKEN, token.trim());
export const hasToken = () => session.get(TOKEN) !== null;

function bearer() {
  const token = session.get(TOKEN);
  if (!PLAIN.test(token)) throw new Unauthorised("a token has only plain letters, digits and signs");
  return `Bearer ${token}`;
}

const json = (answer) => answer.json();
const nothing = () => null;

// What `read` makes of the answer. It is read in here, since a connection may be lost while it arrives, too.
async function call(path, options = {}, read = json) {
  const headers = new Headers(options.headers);
  if (hasToken()) headers.set("Authorization", bearer());
  let answer, said;
  try {
    answer = await fetch(new URL(path, document.baseURI), { ...options, headers });
    said = await (answer.ok ? read(answer) : answer.text());
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Away("The service does not answer.");
  }
  if (answer.ok) return said;
  const text = sentence(answer, said);
  if (answer.status === 401) throw new Unauthorised(text);
  if (answer.status === 503 || answer.status === 429)
    throw new Busy(text, Number(answer.headers.get("Retry-After")) || 2);
  if (answer.status === 502 || answer.status === 504) throw new Away(text); // a server in front of it says so
  throw new Refused(text, answer.status);
}

// What an answer says went wrong.
function sentence(answer, text) {
  try {
    const { detail, results } = JSON.parse(text);
    if (results) return results[0].error; // an image that cannot be read
    return typeof detail === "string" ? detail : detail.map((one) => one.msg).join("; ");
  } catch {
    return answer.status === 413
      ? "The file is too large for the service."
      : `The service answered ${answer.status} ${answer.statusText}.`;
  }
}

export const getInfo = () => call("info");

// One image -> {model, by, result}; `by`: the state of /info that the result goes by.
export async function predict(blob, name, { className, map = "values", signal } = {}) {
  const form = new FormData();
  form.append("files", blob, name);
  const query = new URLSearchParams({ map, ...(className && { class_name: className }) });
  const { model, state: by, results } = await call(`predict?${query}`, { method: "POST", body: form, signal });
  return { model, by, result: results[0] };
}

export const getMarks = () => call("marks");

export const putMark = (id, mark) =>
  call(`marks/${id}`, {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(mark),
  });

export const deleteMark = (id) => call(`marks/${id}`, { method: "DELETE" }, nothing);
export const markedImage = (id) => call(`marks/${id}/image`, {}, (answer) => answer.blob());

// The export, and the name that the service gives it.
export const exportMarks = () =>
  call("marks/export", {}, async (answer) => {
    const named = /filename="?([^";]+)/.exec(answer.headers.get("Content-Disposition") ?? "");
    return { blob: await answer.blob(), name: named?.[1] ?? "marks" };
  });

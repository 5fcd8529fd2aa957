/** Who is signed in: a cookie that only the server reads, and the form that asks for it. */
import { byId } from "./dom.js";

/** The answer, with its `status` (0: no server) and a `detail` for people. */
async function request(method, body) {
  const json = body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  try {
    const response = await fetch("session", { method, ...json, signal: AbortSignal.timeout(10_000) });
    const answer = await response.json().catch(() => ({}));
    return { detail: `The server answered ${response.status}.`, ...answer, status: response.status };
  } catch {
    return { detail: "The server cannot be reached.", status: 0 };
  }
}

/** `user`, if somebody is signed in; `sign_in` says how to: "name" or "provider". */
export const session = () => request("GET");
export const signOut = () => request("DELETE");
/** Signs in, or for longer: by a name, or by what the provider has given this browser. */
const begin = (by, fields) => request("POST", by === "name" ? fields : undefined);

/** What a `renew` frame holds. */
export async function renew(by, { name }) {
  const { renewal, detail } = await begin(by, { name });
  if (!renewal) throw new Error(detail);
  return { token: renewal };
}

/** Shows the form, and the reason why, until somebody has signed in, who is returned. */
export function signIn(by, reason) {
  const [page, form, name, room, why] = ["sign-in", "sign-in-form", "name", "room", "sign-in-reason"].map(byId);
  byId("by-name").disabled = by !== "name";
  page.hidden = false;
  why.textContent = reason;
  (by === "name" ? name : room).focus();
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      const { user, detail } = await begin(by, Object.fromEntries(new FormData(form)));
      page.hidden = Boolean(user);
      if (user) resolve(user);
      why.textContent = detail;
    };
  });
}

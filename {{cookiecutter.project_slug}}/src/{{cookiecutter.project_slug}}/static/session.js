/** Who is signed in: a cookie that only the server reads, and the form that asks for it. */
import { byId } from "./dom.js";

const PATIENCE = 10_000; // ms

/** The answer, with its `status` (0: no server) and a `detail` for people. */
async function request(method, body) {
  const json = body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  try {
    const response = await fetch("session", { method, ...json, signal: AbortSignal.timeout(PATIENCE) });
    const answer = await response.json().catch(() => ({}));
    return { detail: `The server answered ${response.status}.`, ...answer, status: response.status };
  } catch {
    return { detail: "The server cannot be reached.", status: 0 };
  }
}

/** `user`, if somebody is signed in; `sign_in` says how to: "name" or "provider". */
export const session = () => request("GET");
export const signOut = () => request("DELETE");

/** A longer session: what a `renew` frame holds. */
export async function renew({ name }) {
  const { renewal, detail } = await request("POST", { name });
  if (!renewal) throw new Error(detail);
  return { token: renewal };
}

/** Shows the form, and the reason why, until somebody has signed in, who is returned. */
export function signIn(by, reason) {
  const [page, form, name, room] = ["sign-in", "sign-in-form", "name", "room"].map(byId);
  const complain = (detail) => {
    byId("sign-in-reason").textContent = detail;
    (name.value || by !== "name" ? room : name).focus();
  };
  page.dataset.by = by;
  byId("by-name").disabled = by !== "name";
  page.hidden = false;
  complain(reason);
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      const { user, detail } = await (by === "name" ? request("POST", { name: name.value }) : session());
      page.hidden = Boolean(user);
      if (user) resolve(user);
      else complain(detail);
    };
  });
}

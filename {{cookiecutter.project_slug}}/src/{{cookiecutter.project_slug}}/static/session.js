/** Who is signed in: a cookie that only the server reads, and the form that asks for it. */
import { byId } from "./dom.js";

const [form, nameField, room] = ["sign-in-form", "name", "room"].map(byId);

async function request(method, body) {
  const json = body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  try {
    const response = await fetch("session", { method, ...json });
    const answer = response.headers.get("content-type")?.includes("json") ? await response.json() : {};
    return { detail: `The server answered ${response.status}.`, ...answer, status: response.status };
  } catch {
    return { detail: "The server cannot be reached.", status: 0 };
  }
}

/** `status` (0: no server), `user` of who is signed in, `sign_in` ("name" or "provider"), `detail`. */
export const session = () => request("GET");
export const signOut = () => request("DELETE");

/** A longer session; what a `renew` frame holds. */
export async function renew(user) {
  const { renewal, detail } = await request("POST", { name: user.name });
  if (!renewal) throw new Error(detail);
  return { token: renewal };
}

/** Shows the form, with the reason why, until somebody has signed in, who is returned. */
export async function signIn(by, reason = "") {
  byId("sign-in").hidden = false;
  byId("by-name").hidden = byId("by-name").disabled = by !== "name";
  byId("by-provider").hidden = by === "name";
  const answered = new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      const answer = await (by === "name" ? request("POST", { name: nameField.value }) : session());
      if (answer.user) resolve(answer.user);
      else complain(answer.detail);
    };
  });
  complain(reason);
  const user = await answered;
  byId("sign-in").hidden = true;
  return user;
}

function complain(reason) {
  byId("sign-in-reason").textContent = reason;
  byId("sign-in-reason").hidden = !reason;
  (nameField.value ? room : nameField).focus();
}

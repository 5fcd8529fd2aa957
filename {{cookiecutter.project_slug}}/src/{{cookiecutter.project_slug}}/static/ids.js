/** Ids that nobody else makes; `crypto.randomUUID` exists on https and on this machine only. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

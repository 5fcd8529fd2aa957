/** How a browser's code must not use the types: each line with a mark is an error, and no other is. */
import type { Chat } from "./frames";

const frames: Array<Chat["sends"]> = [
  { type: "message" }, // wrong: it has no text
  { type: "message", text: 5 }, // wrong: a number
  { type: "message", text: "a", mood: "so so" }, // wrong: not in the enum
  { text: "a" }, // wrong: it has no type
  { type: "said", text: "a" }, // wrong: what only the server sends
  { type: "move.up" }, // wrong: no such type
  { type: "message", text: "a", place: { at: [1] } }, // wrong: a tuple of two
  { type: "message", text: "a" },
];

declare const reply: Chat["replies"]["move.left"];
const place: number = reply.to;
const text: string = reply.to; // wrong: a number
declare const nothing: Chat["replies"]["said"]; // wrong: nobody asks for it

console.log(frames, place, text, nothing);

/** How a browser's code uses the types: all of this is right. */
import type { Chat, Message } from "./frames";

interface Socket {
  sends: { type: string };
  receives: { type: string };
  replies: object;
}

/** What a generic module offers for the frames of any consumer. */
declare class Connection<S extends Socket> {
  send(frame: S["sends"]): void;
  ask<T extends keyof S["replies"] & string>(frame: S["sends"] & { type: T }): Promise<S["replies"][T]>;
  on<T extends S["receives"]["type"]>(type: T, act: (frame: Extract<S["receives"], { type: T }>) => void): void;
}

declare const chat: Connection<Chat>;

const message: Message = { type: "message", text: "hi", mood: "good", place: { at: [1, 2] } };
chat.send(message);
chat.send({ type: "move.left", "how far": 3 });
chat.on("said", (frame) => {
  const text: string = frame.text;
  const place: [number, number] | undefined = frame.place?.at;
  const answered: string | undefined = frame.reply_to;
  console.log(text, place, answered);
});
chat.on("error", ({ code, detail, errors }) => console.log(code, detail, errors[0]?.loc));

export async function move(): Promise<number> {
  const moved = await chat.ask({ type: "move.left" });
  const done: "ok" = (await chat.ask({ type: "message", text: "hi" })).type;
  console.log(done);
  return moved.to;
}

/** Each kind of frame is told by its type. */
export function shown(frame: Chat["receives"]): string {
  switch (frame.type) {
    case "said":
      return frame.text;
    case "moved":
      return String(frame.to);
    case "typing":
      return frame.price;
    case "ok":
      return "";
    case "error":
      return frame.detail;
    default: {
      const nothing: never = frame;
      return nothing;
    }
  }
}

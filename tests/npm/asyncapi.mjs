/** Reads an AsyncAPI document with the official parser; prints what it found, and all that it complains of. */
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const source = await readFile(process.argv[2], "utf8");
const { document, diagnostics } = await new Parser().parse(source);
const complaints = diagnostics.map(({ severity, message, path }) => ({ severity, message, path }));
const operations = document?.operations().all() ?? [];
console.log(
  JSON.stringify({
    complaints,
    version: document?.version(),
    channels: document?.channels().all().map((channel) => channel.address()),
    messages: document?.messages().all().map((message) => message.name()),
    replies: Object.fromEntries(
      operations.map((one) => [one.id(), one.reply()?.messages().all().map((message) => message.name())]),
    ),
  }),
);

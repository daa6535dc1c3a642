// What the scripts beside this one have in common: each runs an official
// client, unmodified, through the cases that stand on its standard input, and
// prints what the client's user gets to see. What that should be only the
// test knows, which started the script.

import { webcrypto } from "node:crypto";
import { text } from "node:stream/consumers";

// Debian 12 has Node.js 18, where this global that LangChain uses is none yet.
globalThis.crypto ??= webcrypto;

/** What is asked, and the answer that every tool gives. */
export const question = "What is the weather like?";
export const toolResult = "21 degrees, says the tool";

/** Headers that an application would set on its client. */
export const headers = (c) => ({ "X-User-Id": c.user });

/**
 * Runs all cases, some at a time, and prints a JSON line for each: its name
 * and what doing it gave. does holds a function for each thing to do; it gets
 * the case and the object to fill, so that what was seen before an error is
 * kept.
 */
export async function run(does) {
  const cases = JSON.parse(await text(process.stdin));
  const next = cases.values();
  const worker = async () => {
    for (const c of next) {
      const seen = { text: "", reasoning: "", refusal: "", toolCalls: [], finish: "" };
      try {
        await does[c.do](c, seen);
      } catch (e) {
        seen.error = describe(e);
      }
      console.log(JSON.stringify({ name: c.name, ...seen }));
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}

/**
 * An error as its catcher can tell it from others. LangChain puts one of its
 * own around OpenAI's where a request is too long for the model.
 */
function describe(e) {
  if (e.name === "ContextOverflowError") e = e.cause;
  const header = e.headers?.get?.("retry-after") ?? e.responseHeaders?.["retry-after"];
  return {
    class: e.constructor === Object ? "" : e.constructor.name,
    status: e.status ?? e.statusCode ?? 0,
    code: String(e.code ?? e.data?.error?.code ?? ""),
    message: e.message ?? String(e),
    retryAfter: header ?? "",
  };
}

/** What a case only needs to go well: its error is not the one to see. */
export async function first(request) {
  try {
    await request;
  } catch (e) {
    throw new TypeError(`the first request: ${e.message}`);
  }
}

/** OpenAI's usage, by shorter names. */
export function openAIUsage(u) {
  if (!u) return undefined;
  return {
    input: u.prompt_tokens,
    output: u.completion_tokens,
    total: u.total_tokens,
    cached: u.prompt_tokens_details?.cached_tokens ?? 0,
    reasoning: u.completion_tokens_details?.reasoning_tokens ?? 0,
  };
}

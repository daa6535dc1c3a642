// Shared by the scripts in this folder. Each runs an unmodified official client
// through the cases on its standard input and prints what the client's user
// sees. The test that started the script knows what that should be.

import { webcrypto } from "node:crypto";
import { text } from "node:stream/consumers";

// LangChain uses this global, which Node.js 18 of Debian 12 does not have yet.
globalThis.crypto ??= webcrypto;

/** The question, and the answer that every tool gives. */
export const question = "What is the weather like?";
export const toolResult = "21 degrees, says the tool";

/** Headers that an application would set on its client. */
export const headers = (c) => ({ "X-User-Id": c.user, ...(c.keyed && { "Idempotency-Key": c.name }) });

/**
 * Runs all cases, several at a time, and prints a JSON line for each with its
 * name and result. does has a function for each kind of case. It gets the case
 * and the result to fill, so that what was seen before an error is kept.
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
 * What tells an error from others. LangChain wraps OpenAI's error if a request
 * is too long for the model.
 */
function describe(e) {
  if (e.name === "ContextOverflowError") e = e.cause;
  const header = e.headers?.get?.("retry-after") ?? e.responseHeaders?.["retry-after"];
  return {
    class: e.constructor === Object ? "" : e.constructor.name,
    status: e.status ?? e.statusCode ?? 0,
    code: String(e.code ?? e.data?.error?.code ?? e.error?.error?.type ?? ""),
    message: e.message ?? String(e),
    retryAfter: header ?? "",
  };
}

/** Runs a request that must succeed: its error is not the expected one. */
export async function first(request) {
  try {
    await request;
  } catch (e) {
    throw new TypeError(`the first request: ${e.message}`);
  }
}

/** OpenAI's usage with shorter names. */
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

/** The finish reason that a response stands for. */
export function responsesFinish(r) {
  if (r.status === "incomplete") return { max_output_tokens: "length" }[r.incomplete_details.reason] ?? r.incomplete_details.reason;
  if (r.status !== "completed") return r.status;
  return r.output.some((item) => item.type === "function_call") ? "tool_calls" : "stop";
}

/** The usage of a response with shorter names. */
export function responsesUsage(u) {
  if (!u) return undefined;
  return {
    input: u.input_tokens,
    output: u.output_tokens,
    total: u.total_tokens,
    cached: u.input_tokens_details.cached_tokens,
    reasoning: u.output_tokens_details.reasoning_tokens,
  };
}

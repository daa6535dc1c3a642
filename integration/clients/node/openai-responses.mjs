// The Responses API of the client from npm's "openai". What it sees is told in the
// words of chat completions.

import OpenAI from "openai";

import { first, headers, question, responsesFinish, responsesUsage, run, toolResult } from "./cases.mjs";

const client = (c) =>
  new OpenAI({ baseURL: c.baseURL, apiKey: c.key, defaultHeaders: headers(c), maxRetries: c.retries });

const request = (c) => ({
  model: c.model,
  input: question,
  ...(c.tools && { tools: c.tools.map((name) => ({ type: "function", name, parameters: { type: "object" }, strict: false })) }),
});

const all = (r, type) => r.output.filter((item) => item.type === type);

const parts = (r, type, member) =>
  all(r, "message").flatMap((m) => m.content).filter((p) => p.type === type).map((p) => p[member]).join("");

const toolCall = (item) => ({ id: item.call_id, name: item.name, arguments: item.arguments });

function take(seen, r) {
  seen.text = parts(r, "output_text", "text");
  seen.refusal = parts(r, "refusal", "refusal");
  seen.reasoning = all(r, "reasoning").flatMap((item) => item.summary).map((p) => p.text).join("");
  seen.toolCalls = all(r, "function_call").map(toolCall);
  seen.finish = responsesFinish(r);
  seen.usage = responsesUsage(r.usage);
}

// the first request uses up the limit
async function again(c, seen) {
  await first(client(c).responses.create(request(c)));
  take(seen, await client(c).responses.create(request(c)));
}

await run({
  async chat(c, seen) {
    const r = await client(c).responses.create(request(c));
    take(seen, r);
    if (r.output_text !== seen.text) throw new TypeError(`output_text is ${r.output_text}`);
  },

  // event by event
  async stream(c, seen) {
    let sequence = 0;
    for await (const ev of await client(c).responses.create({ ...request(c), stream: true })) {
      if (ev.sequence_number !== sequence++) throw new TypeError(`event ${ev.sequence_number}, want ${sequence - 1}`);
      if (ev.type === "response.output_text.delta") seen.text += ev.delta;
      if (ev.type === "response.refusal.delta") seen.refusal += ev.delta;
      if (ev.type === "response.reasoning_summary_text.delta") seen.reasoning += ev.delta;
      if (ev.type === "response.function_call_arguments.delta") {
        const call = seen.toolCalls.find((call) => call.item === ev.item_id);
        call.arguments += ev.delta;
      }
      if (ev.type === "response.output_item.added" && ev.item.type === "function_call") {
        seen.toolCalls.push({ ...toolCall(ev.item), item: ev.item.id });
      }
      if (ev.type === "response.completed" || ev.type === "response.incomplete") {
        seen.finish = responsesFinish(ev.response);
        seen.usage = responsesUsage(ev.response.usage);
      }
    }
    for (const call of seen.toolCalls) call.arguments ||= "{}";
  },

  // the client's own helper assembles the answer
  async counted(c, seen) {
    const r = await client(c).responses.stream(request(c)).finalResponse();
    take(seen, r);
  },

  // the items go back as they came, with a result for each call
  async tools(c, seen) {
    const called = await client(c).responses.stream(request(c)).finalResponse();
    take(seen, called);
    const input = [{ role: "user", content: question }, ...called.output];
    for (const item of all(called, "function_call")) {
      input.push({ type: "function_call_output", call_id: item.call_id, output: toolResult });
      seen.ran = (seen.ran ?? 0) + 1;
    }
    const said = await client(c).responses.stream({ ...request(c), input }).finalResponse();
    seen.text = said.output_text;
    seen.finish = responsesFinish(said);
  },

  async abort(c, seen) {
    const stop = new AbortController();
    const stream = await client(c).responses.create({ ...request(c), stream: true }, { signal: stop.signal });
    for await (const ev of stream) {
      if (ev.type === "response.output_text.delta") seen.text += ev.delta;
      if (ev.type === "response.reasoning_summary_text.delta") seen.reasoning += ev.delta;
      if (seen.text || seen.reasoning) stop.abort();
    }
  },

  again,
  patient: again,
});

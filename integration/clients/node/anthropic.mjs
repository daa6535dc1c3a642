// The client from npm's "@anthropic-ai/sdk", which speaks another API. What it sees is
// told in OpenAI's words.

import Anthropic from "@anthropic-ai/sdk";

import { first, headers, question, run, toolResult } from "./cases.mjs";

const client = (c) =>
  new Anthropic({ baseURL: c.baseURL.replace(/\/v1$/, ""), apiKey: c.key, defaultHeaders: headers(c), maxRetries: c.retries });

const request = (c) => ({
  model: c.model,
  max_tokens: 20000,
  messages: [{ role: "user", content: question }],
  ...(c.tools && { tools: [...new Set(c.tools)].map((name) => ({ name, input_schema: { type: "object" } })) }),
});

const reasons = { end_turn: "stop", stop_sequence: "stop", max_tokens: "length", tool_use: "tool_calls", refusal: "content_filter" };

const all = (m, type, member) => m.content.filter((b) => b.type === type).map((b) => b[member]).join("");

// the id as the provider has it
function unsealed(id) {
  const [, before, sealed] = id.match(/^(.*)__cch1_([\w-]+)$/) ?? [];
  return sealed ? (JSON.parse(Buffer.from(sealed, "base64url")).id ?? before) : id;
}

const toolUses = (m) => m.content.filter((b) => b.type === "tool_use");

function take(seen, m) {
  seen.text = all(m, "text", "text");
  seen.refusal = m.stop_details?.explanation ?? "";
  seen.reasoning = all(m, "thinking", "thinking");
  seen.toolCalls = toolUses(m).map((b) => ({ id: unsealed(b.id), name: b.name, arguments: JSON.stringify(b.input) }));
  seen.finish = reasons[m.stop_reason];
}

function usage({ input_tokens, cache_read_input_tokens: cached, cache_creation_input_tokens: written, output_tokens: output }) {
  const input = input_tokens + cached + written;
  return { input, output, total: input + output, cached, reasoning: 0 };
}

// the first request uses up the limit
async function again(c, seen) {
  await first(client(c).messages.create(request(c)));
  take(seen, await client(c).messages.create(request(c)));
}

await run({
  async chat(c, seen) {
    const m = await client(c).messages.create(request(c));
    take(seen, m);
    seen.usage = usage(m.usage);
  },

  // event by event
  async stream(c, seen) {
    const calls = [];
    for await (const ev of await client(c).messages.create({ ...request(c), stream: true })) {
      if (ev.type === "content_block_start" && ev.content_block.type === "tool_use") {
        calls[ev.index] = { id: unsealed(ev.content_block.id), name: ev.content_block.name, arguments: "" };
      }
      if (ev.type === "message_delta") {
        seen.finish = reasons[ev.delta.stop_reason];
        seen.refusal = ev.delta.stop_details?.explanation ?? "";
      }
      if (ev.type !== "content_block_delta") continue;
      seen.text += ev.delta.text ?? "";
      seen.reasoning += ev.delta.thinking ?? "";
      if (ev.delta.type === "input_json_delta") calls[ev.index].arguments += ev.delta.partial_json;
    }
    seen.toolCalls = Object.values(calls).map((call) => ({ ...call, arguments: call.arguments || "{}" }));
  },

  // the client's own helper assembles the answer
  async counted(c, seen) {
    const m = await client(c).messages.stream(request(c)).finalMessage();
    take(seen, m);
    seen.usage = usage(m.usage);
  },

  // the answer goes back as it came, with a result for each call
  async tools(c, seen) {
    const called = await client(c).messages.stream(request(c)).finalMessage();
    take(seen, called);
    const results = toolUses(called).map((b) => ({ type: "tool_result", tool_use_id: b.id, content: [{ type: "text", text: toolResult }] }));
    seen.ran = results.length;
    const ask = request(c);
    ask.messages.push({ role: "assistant", content: called.content }, { role: "user", content: results });
    const said = await client(c).messages.stream(ask).finalMessage();
    seen.text = all(said, "text", "text");
    seen.finish = reasons[said.stop_reason];
  },

  async abort(c, seen) {
    const stream = client(c).messages.stream(request(c));
    for await (const ev of stream) {
      seen.text += ev.delta?.text ?? "";
      seen.reasoning += ev.delta?.thinking ?? "";
      if (seen.text || seen.reasoning) break;
    }
    stream.abort();
  },

  again,
  patient: again,

  async models(c, seen) {
    seen.models = [];
    for await (const model of client(c).models.list()) seen.models.push(model.id);
    const { messages } = request(c);
    const { input_tokens: counted } = await client(c).messages.countTokens({ model: seen.models[0], messages });
    if (!(counted > 0)) throw new Error(`counted ${counted} tokens`);
  },
});

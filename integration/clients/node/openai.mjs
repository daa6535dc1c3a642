// The client from npm's "openai".

import OpenAI from "openai";

import { first, headers, openAIUsage, question, run, toolResult } from "./cases.mjs";

const client = (c) =>
  new OpenAI({ baseURL: c.baseURL, apiKey: c.key, defaultHeaders: headers(c), maxRetries: c.retries });

const request = (c) => ({ model: c.model, messages: [{ role: "user", content: question }] });

const tools = (c) =>
  c.tools.map((name) => ({
    type: "function",
    function: { name, parameters: { type: "object" }, parse: JSON.parse, function: () => toolResult },
  }));

const reasoning = (m) => m?.reasoning_content ?? m?.reasoning ?? "";

const toolCall = (call) => ({ id: call.id, name: call.function.name, arguments: call.function.arguments });

function take(seen, choice) {
  seen.text = choice.message.content ?? "";
  seen.refusal = choice.message.refusal ?? "";
  seen.toolCalls = (choice.message.tool_calls ?? []).map(toolCall);
  seen.finish = choice.finish_reason;
}

// the first request uses up the limit
async function again(c, seen) {
  await first(client(c).chat.completions.create(request(c)));
  const answer = await client(c).chat.completions.create(request(c));
  take(seen, answer.choices[0]);
}

await run({
  async chat(c, seen) {
    const answer = await client(c).chat.completions.create(request(c));
    take(seen, answer.choices[0]);
    seen.reasoning = reasoning(answer.choices[0].message);
    seen.usage = openAIUsage(answer.usage);
  },

  // chunk by chunk, as most applications do
  async stream(c, seen) {
    const stream = await client(c).chat.completions.create({ ...request(c), stream: true });
    for await (const chunk of stream) {
      seen.usage ??= openAIUsage(chunk.usage);
      for (const { delta, finish_reason } of chunk.choices) {
        seen.text += delta.content ?? "";
        seen.refusal += delta.refusal ?? "";
        seen.reasoning += reasoning(delta);
        for (const { index, id, function: fn } of delta.tool_calls ?? []) {
          const call = (seen.toolCalls[index] ??= { id, name: "", arguments: "" });
          call.name += fn.name ?? "";
          call.arguments += fn.arguments ?? "";
        }
        seen.finish = finish_reason ?? seen.finish;
      }
    }
  },

  // the client's own helper assembles the answer, and is strict about it
  async counted(c, seen) {
    const stream = client(c).chat.completions.stream({ ...request(c), stream_options: { include_usage: true } });
    stream.on("content", (delta) => (seen.text += delta));
    stream.on("chunk", (chunk) => (seen.reasoning += reasoning(chunk.choices[0]?.delta)));
    const answer = await stream.finalChatCompletion();
    take(seen, answer.choices[0]);
    seen.usage = openAIUsage(answer.usage);
  },

  async tools(c, seen) {
    const runner = client(c).chat.completions.runTools({ ...request(c), stream: true, tools: tools(c) });
    runner.on("functionToolCall", () => (seen.ran = (seen.ran ?? 0) + 1));
    seen.text = await runner.finalContent();
    const first = runner.messages.find((m) => m.role === "assistant");
    seen.toolCalls = first.tool_calls.map(toolCall);
    seen.finish = (await runner.finalChatCompletion()).choices[0].finish_reason;
  },

  async abort(c, seen) {
    const stop = new AbortController();
    const stream = await client(c).chat.completions.create({ ...request(c), stream: true }, { signal: stop.signal });
    for await (const chunk of stream) {
      seen.text += chunk.choices[0]?.delta.content ?? "";
      seen.reasoning += reasoning(chunk.choices[0]?.delta);
      if (seen.text || seen.reasoning) stop.abort();
    }
  },

  again,
  patient: again,

  async models(c, seen) {
    seen.models = [];
    for await (const model of client(c).models.list()) seen.models.push(model.id);
  },

  // asks for base64 by default, and decodes it
  async embed(c, seen) {
    const answer = await client(c).embeddings.create({ model: c.model, input: c.input });
    seen.vectors = answer.data.map((d) => d.embedding);
    seen.usage = { input: answer.usage.prompt_tokens, output: 0, total: answer.usage.total_tokens, cached: 0, reasoning: 0 };
  },
});

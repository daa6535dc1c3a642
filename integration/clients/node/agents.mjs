// OpenAI's Agents SDK from npm's "@openai/agents", which asks the Responses API.

import { Agent, OpenAIProvider, Runner, tool } from "@openai/agents";
import OpenAI from "openai";

import { first, headers, question, run, toolResult } from "./cases.mjs";

function runner(c) {
  const client = new OpenAI({ baseURL: c.baseURL, apiKey: c.key, defaultHeaders: headers(c), maxRetries: c.retries });
  return new Runner({ modelProvider: new OpenAIProvider({ openAIClient: client }), tracingDisabled: true });
}

const anything = { type: "object", properties: {}, required: [], additionalProperties: true };

function agent(c, seen, more) {
  const tools = [...new Set(c.tools)].map((name) =>
    tool({
      name,
      description: "",
      parameters: anything,
      strict: false,
      execute() {
        seen.ran = (seen.ran ?? 0) + 1;
        return toolResult;
      },
    }),
  );
  return new Agent({ name: "agent", model: c.model, tools, ...more });
}

const parts = (output, type, member) =>
  output.filter((item) => item.type === "message").flatMap((m) => m.content).filter((p) => p.type === type).map((p) => p[member]).join("");

function take(seen, { output, usage, providerData }) {
  seen.text = parts(output, "output_text", "text");
  seen.refusal = parts(output, "refusal", "refusal");
  seen.reasoning = output.filter((item) => item.type === "reasoning").flatMap((item) => item.content).map((p) => p.text).join("");
  seen.toolCalls = output.filter((item) => item.type === "function_call").map((item) => ({ id: item.callId, name: item.name, arguments: item.arguments }));
  const reason = providerData?.incomplete_details?.reason;
  seen.finish = { max_output_tokens: "length" }[reason] ?? reason ?? (seen.toolCalls.length > 0 ? "tool_calls" : "stop");
  seen.usage = usage && {
    input: usage.inputTokens,
    output: usage.outputTokens,
    total: usage.totalTokens,
    cached: usage.inputTokensDetails[0]?.cached_tokens ?? 0,
    reasoning: usage.outputTokensDetails[0]?.reasoning_tokens ?? 0,
  };
}

// the tools end the run, as the model has no more answers
async function chat(c, seen) {
  const ran = {};
  const answer = await runner(c).run(agent(c, ran, { toolUseBehavior: "stop_on_first_tool" }), question);
  take(seen, answer.rawResponses[0]);
}

async function stream(c, seen) {
  const ran = {};
  const answer = await runner(c).run(agent(c, ran, { toolUseBehavior: "stop_on_first_tool" }), question, { stream: true });
  for await (const ev of answer) {
    if (ev.type === "raw_model_stream_event" && ev.data.type === "output_text_delta") seen.text += ev.data.delta;
  }
  await answer.completed;
  take(seen, answer.rawResponses[0]);
}

// the first request uses up the limit
async function again(c, seen) {
  await first(chat(c, {}));
  await chat(c, seen);
}

await run({
  chat,
  stream,
  counted: stream,

  // the run goes on with the results
  async tools(c, seen) {
    const answer = await runner(c).run(agent(c, seen), question, { stream: true });
    await answer.completed;
    const [called, said] = answer.rawResponses;
    take(seen, called);
    const { toolCalls } = seen;
    take(seen, said);
    seen.toolCalls = toolCalls;
  },

  async abort(c, seen) {
    const stop = new AbortController();
    const answer = await runner(c).run(agent(c, seen), question, { stream: true, signal: stop.signal });
    for await (const ev of answer) {
      if (ev.type !== "raw_model_stream_event" || ev.data.type !== "output_text_delta") continue;
      seen.text += ev.data.delta;
      stop.abort();
    }
  },

  again,
  patient: again,
});

// What npm's "ai" does with the providers of its clients.

import { embedMany, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

import { first, headers, question, run, toolResult } from "./cases.mjs";

/** The options of a provider. */
export const options = (c) => ({ baseURL: c.baseURL, apiKey: c.key, headers: headers(c) });

const request = (c) => ({
  model: c.provider(c.model),
  providerOptions: c.more,
  prompt: question,
  maxRetries: c.retries,
  tools: Object.fromEntries((c.tools ?? []).map((name) => [name, tool({ inputSchema: jsonSchema({ type: "object" }) })])),
});

const toolCall = (call) => ({ id: call.toolCallId, name: call.toolName, arguments: JSON.stringify(call.input) });

function usage(u) {
  if (u.inputTokens === undefined) return undefined;
  return {
    input: u.inputTokens,
    output: u.outputTokens,
    total: u.totalTokens,
    cached: u.inputTokenDetails.cacheReadTokens,
    reasoning: u.outputTokenDetails.reasoningTokens,
  };
}

// responses only have a reason if they are incomplete
const finish = ({ finishReason, rawFinishReason: raw }) =>
  ({ max_output_tokens: "length" })[raw] ?? raw ?? finishReason.replace("-", "_");

async function stream(c, seen) {
  const answer = streamText({ ...request(c), onError() {} });
  for await (const part of answer.fullStream) {
    if (part.type === "text-delta") seen.text += part.text;
    if (part.type === "reasoning-delta") seen.reasoning += part.text;
    if (part.type === "tool-call") seen.toolCalls.push(toolCall(part));
    if (part.type === "error") throw part.error;
    if (part.type === "finish") {
      seen.finish = finish(part);
      seen.usage = usage(part.totalUsage);
    }
  }
}

async function chat(c, seen) {
  const answer = await generateText(request(c));
  seen.text = answer.text;
  seen.reasoning = answer.reasoningText ?? "";
  seen.toolCalls = answer.toolCalls.map(toolCall);
  seen.finish = finish(answer);
  seen.usage = usage(answer.usage);
}

// the first request uses up the limit
async function again(c, seen) {
  await first(generateText(request(c)));
  await chat(c, seen);
}

const does = {
  chat,
  stream,
  counted: stream,

  async tools(c, seen) {
    const ran = { execute: () => ((seen.ran = (seen.ran ?? 0) + 1), toolResult) };
    const asked = request(c);
    for (const t of Object.values(asked.tools)) Object.assign(t, ran);
    const failed = [];
    const answer = streamText({ ...asked, stopWhen: stepCountIs(2), onError: ({ error }) => failed.push(error) });
    await answer.consumeStream();
    if (failed.length > 0) throw failed[0];
    const [first, last] = await answer.steps;
    seen.toolCalls = first.toolCalls.map(toolCall);
    seen.text = last.text;
    seen.finish = finish(last);
  },

  async abort(c, seen) {
    const stop = new AbortController();
    const answer = streamText({ ...request(c), abortSignal: stop.signal, onError() {} });
    for await (const part of answer.fullStream) {
      if (part.type === "text-delta") seen.text += part.text;
      if (part.type === "reasoning-delta") seen.reasoning += part.text;
      if (seen.text || seen.reasoning) stop.abort();
    }
  },

  again,
  patient: again,

  async embed(c, seen) {
    const answer = await embedMany({ model: c.provider.embeddingModel(c.model), values: c.input, maxRetries: c.retries });
    seen.vectors = answer.embeddings;
    seen.usage = { input: answer.usage.tokens, output: 0, total: answer.usage.tokens, cached: 0, reasoning: 0 };
  },
};

/** Runs all cases, each with the provider that is made for it, and more options. */
export const runAI = (provider, more) =>
  run(Object.fromEntries(Object.entries(does).map(([name, fn]) => [name, (c, seen) => fn({ ...c, provider: provider(c), more }, seen)])));

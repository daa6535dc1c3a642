// The clients from npm's "ai" and "@ai-sdk/openai-compatible".

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

import { first, headers, question, run, toolResult } from "./cases.mjs";

const provider = (c) =>
  createOpenAICompatible({
    name: "gateway",
    baseURL: c.baseURL,
    apiKey: c.key,
    headers: headers(c),
    includeUsage: c.do !== "stream",
  });

const request = (c) => ({
  model: provider(c)(c.model),
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

async function stream(c, seen) {
  const answer = streamText({ ...request(c), onError() {} });
  for await (const part of answer.fullStream) {
    if (part.type === "text-delta") seen.text += part.text;
    if (part.type === "reasoning-delta") seen.reasoning += part.text;
    if (part.type === "tool-call") seen.toolCalls.push(toolCall(part));
    if (part.type === "error") throw part.error;
    if (part.type === "finish") {
      seen.finish = part.rawFinishReason;
      seen.usage = usage(part.totalUsage);
    }
  }
}

async function chat(c, seen) {
  const answer = await generateText(request(c));
  seen.text = answer.text;
  seen.reasoning = answer.reasoningText ?? "";
  seen.toolCalls = answer.toolCalls.map(toolCall);
  seen.finish = answer.rawFinishReason;
  seen.usage = usage(answer.usage);
}

// the first request uses up the limit
async function again(c, seen) {
  await first(generateText(request(c)));
  await chat(c, seen);
}

await run({
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
    seen.finish = last.rawFinishReason;
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
    const answer = await embedMany({ model: provider(c).embeddingModel(c.model), values: c.input, maxRetries: c.retries });
    seen.vectors = answer.embeddings;
    seen.usage = { input: answer.usage.tokens, output: 0, total: answer.usage.tokens, cached: 0, reasoning: 0 };
  },
});

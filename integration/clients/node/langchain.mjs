// The client from npm's "@langchain/openai".

import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { z } from "zod";

import { first, headers, question, run, toolResult } from "./cases.mjs";

const options = (c) => ({
  model: c.model,
  apiKey: c.key,
  maxRetries: c.retries,
  configuration: { baseURL: c.baseURL, defaultHeaders: headers(c) },
});

const model = (c) => new ChatOpenAI({ ...options(c), streamUsage: c.do !== "stream" });

const tools = (c) => c.tools.map((name) => tool(() => toolResult, { name, schema: z.looseObject({}) }));

const asked = () => [new HumanMessage(question)];

function usage(u) {
  if (!u) return undefined;
  return {
    input: u.input_tokens,
    output: u.output_tokens,
    total: u.total_tokens,
    cached: u.input_token_details?.cache_read ?? 0,
    reasoning: u.output_token_details?.reasoning ?? 0,
  };
}

function take(seen, message) {
  seen.text = message.text;
  seen.reasoning = message.additional_kwargs.reasoning_content ?? "";
  seen.toolCalls = message.tool_calls.map(({ id, name, args }) => ({ id, name, arguments: JSON.stringify(args) }));
  seen.finish = message.response_metadata.finish_reason;
  seen.usage = usage(message.usage_metadata);
}

async function stream(c, seen, messages = asked(), bound = model(c)) {
  let whole;
  try {
    for await (const chunk of await bound.stream(messages)) {
      whole = whole ? whole.concat(chunk) : chunk;
    }
  } finally {
    if (whole) take(seen, whole);
  }
  return whole;
}

// the first request uses up the limit
async function again(c, seen) {
  await first(model(c).invoke(asked()));
  take(seen, await model(c).invoke(asked()));
}

await run({
  async chat(c, seen) {
    take(seen, await model(c).invoke(asked()));
  },

  stream: (c, seen) => stream(c, seen),
  counted: (c, seen) => stream(c, seen),

  async tools(c, seen) {
    const bound = model(c).bindTools(tools(c));
    const first = await stream(c, seen, asked(), bound);
    const { toolCalls } = seen;
    const messages = [...asked(), first];
    for (const call of first.tool_calls) {
      const result = await tools(c).find((t) => t.name === call.name).invoke(call);
      if (!(result instanceof ToolMessage)) throw new TypeError(`the tool gave ${result}`);
      messages.push(result);
      seen.ran = (seen.ran ?? 0) + 1;
    }
    await stream(c, seen, messages, bound);
    seen.toolCalls = toolCalls;
  },

  async abort(c, seen) {
    const stop = new AbortController();
    try {
      for await (const chunk of await model(c).stream(asked(), { signal: stop.signal })) {
        seen.text += chunk.text;
        seen.reasoning += chunk.additional_kwargs.reasoning_content ?? "";
        if (seen.text || seen.reasoning) stop.abort();
      }
    } catch (e) {
      if (e.name !== "AbortError") throw e;
    }
  },

  again,
  patient: again,

  async embed(c, seen) {
    seen.vectors = await new OpenAIEmbeddings(options(c)).embedDocuments(c.input);
  },
});

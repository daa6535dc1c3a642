// What clients do with responses that are kept: the client from npm's "openai", the
// Agents SDK and the AI SDK as they are. What a case sees is the text of its turns.

import { createOpenAI } from "@ai-sdk/openai";
import { Agent, OpenAIProvider, Runner } from "@openai/agents";
import { generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { headers, question, run, toolResult } from "./cases.mjs";

const client = (c) => new OpenAI({ baseURL: c.baseURL, apiKey: c.key, defaultHeaders: headers(c), maxRetries: 0 });

const aiSDK = (c) => createOpenAI({ baseURL: c.baseURL, apiKey: c.key, headers: headers(c) })(c.model);

const place = z.object({ city: z.string(), degrees: z.number() });

const weather = { type: "function", name: "weather", parameters: { type: "object" }, strict: false };

const notFound = (e) => e instanceof OpenAI.NotFoundError && e.code === "not_found";

/** Waits for a condition; the test's own time limit ends it. */
async function until(done) {
  while (!(await done())) await new Promise((resolve) => setTimeout(resolve, 20));
}

await run({
  // goes on from a response, reads both again, and deletes one
  async previous(c, seen) {
    const { responses } = client(c);
    const first = await responses.create({ model: c.model, input: "one" });
    const second = await responses.create({ model: c.model, input: "two", previous_response_id: first.id });
    seen.text = `${first.output_text}, ${second.output_text}`;
    assert.equal(second.previous_response_id, first.id);
    assert.deepEqual((await responses.retrieve(first.id)).output, first.output);
    const said = [];
    for await (const item of responses.inputItems.list(second.id)) said.push(item.content[0].text);
    assert.deepEqual(said, ["two"]);
    await responses.delete(first.id);
    await assert.rejects(responses.retrieve(first.id), notFound);
  },

  // reads a stream again, from an event in its middle
  async resume(c, seen) {
    const { responses } = client(c);
    const events = [];
    for await (const ev of responses.stream({ model: c.model, input: "one" })) events.push(ev);
    const { id } = events.at(-1).response;
    const rest = [];
    for await (const ev of await responses.retrieve(id, { stream: true, starting_after: 3 })) rest.push(ev.sequence_number);
    assert.deepEqual(rest, events.slice(4).map((ev) => ev.sequence_number));
    seen.text = events.filter((ev) => ev.type === "response.output_text.delta").map((ev) => ev.delta).join("");
    assert.equal((await responses.retrieve(id)).output_text, seen.text);
  },

  // follows a response in the background, again and again from where it was left
  async follow(c, seen) {
    const { responses } = client(c);
    const events = [];
    const { id } = await responses.create({ model: c.model, input: "one", background: true });
    for (let more = true; more; ) {
      const starting_after = events.at(-1)?.sequence_number;
      more = false;
      for await (const ev of await responses.retrieve(id, { stream: true, starting_after })) {
        assert.equal(ev.sequence_number, events.length);
        more = events.push(ev) > 0;
        break; // its connection is lost
      }
    }
    seen.text = events.filter((ev) => ev.type === "response.output_text.delta").map((ev) => ev.delta).join("");
    const again = responses.stream({ response_id: id });
    for await (const ev of again) assert.deepEqual(ev.type, events[ev.sequence_number].type);
    const ended = await again.finalResponse();
    assert.equal(ended.output_text, seen.text);
    assert.equal(events.at(-1).type, `response.${ended.status}`);
    const rest = responses.stream({ response_id: id, starting_after: 3 });
    const numbers = [];
    for await (const ev of rest) numbers.push(ev.sequence_number);
    assert.deepEqual(numbers, events.slice(4).map((ev) => ev.sequence_number));
    seen.finish = ended.status;
  },

  async background(c, seen) {
    const { responses } = client(c);
    const begun = await responses.create({ model: c.model, input: "one", background: true });
    assert.equal(begun.status, "in_progress");
    let r;
    await until(async () => (r = await responses.retrieve(begun.id)).status !== "in_progress");
    seen.finish = r.status;
    seen.text = r.output_text;
  },

  // its model never ends
  async cancel(c, seen) {
    const { responses } = client(c);
    const begun = await responses.create({ model: c.model, input: "one", background: true });
    assert.equal((await responses.cancel(begun.id)).status, "cancelled");
    let r;
    await until(async () => (r = await responses.retrieve(begun.id)).status !== "in_progress");
    seen.finish = r.status;
  },

  async parse(c, seen) {
    const r = await client(c).responses.parse({ model: c.model, input: question, text: { format: zodTextFormat(place, "place") } });
    seen.text = JSON.stringify(r.output_parsed);
  },

  // the result of a tool alone, as the call is kept
  async call(c, seen) {
    const { responses } = client(c);
    const called = await responses.create({ model: c.model, input: question, tools: [weather] });
    const output = called.output.filter((item) => item.type === "function_call").map((item) => ({ type: "function_call_output", call_id: item.call_id, output: toolResult }));
    seen.ran = output.length;
    const said = await responses.create({ model: c.model, input: output, tools: [weather], previous_response_id: called.id });
    seen.text = said.output_text;
  },

  // two turns of an agent: the first by its history, the second by the response
  async agent(c, seen) {
    const runner = new Runner({ modelProvider: new OpenAIProvider({ openAIClient: client(c) }), tracingDisabled: true });
    const agent = new Agent({ name: "agent", instructions: "Be brief.", model: c.model });
    const first = await runner.run(agent, "one");
    const second = await runner.run(agent, [...first.history, { role: "user", content: "two" }]);
    const third = await runner.run(agent, "three", { previousResponseId: second.lastResponseId });
    seen.text = [first, second, third].map((r) => r.finalOutput).join(", ");
  },

  // two turns, a tool in the first
  async turns(c, seen) {
    const tools = { weather: tool({ inputSchema: jsonSchema({ type: "object" }), execute: () => ((seen.ran = (seen.ran ?? 0) + 1), toolResult) }) };
    const messages = [{ role: "user", content: question }];
    const first = streamText({ model: aiSDK(c), messages, tools, stopWhen: stepCountIs(2), maxRetries: 0, onError({ error }) { seen.error = error; } });
    await first.consumeStream();
    assert.equal(seen.error, undefined);
    messages.push(...(await first.response).messages, { role: "user", content: "And now?" });
    const second = await generateText({ model: aiSDK(c), messages, tools, maxRetries: 0 });
    seen.text = `${await first.text}, ${second.text}`;
  },

  async object(c, seen) {
    const { object } = await generateObject({ model: aiSDK(c), schema: place, prompt: question, maxRetries: 0 });
    seen.text = JSON.stringify(object);
  },
});

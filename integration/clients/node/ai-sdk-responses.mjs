// The clients from npm's "ai" and "@ai-sdk/openai", which ask the Responses API.

import { createOpenAI } from "@ai-sdk/openai";

import { options, runAI } from "./ai.mjs";

// nothing is kept without chat_session
const stateless = { store: false, include: ["reasoning.encrypted_content"] };

await runAI((c) => createOpenAI(options(c)), { openai: stateless });

// The clients from npm's "ai" and "@ai-sdk/openai-compatible".

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

import { options, runAI } from "./ai.mjs";

await runAI((c) => createOpenAICompatible({ ...options(c), name: "gateway", includeUsage: c.do !== "stream" }));

package price

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestThinks(t *testing.T) {
	for _, model := range []string{
		"o1", "o1-mini", "o3", "o3-mini-2025-01-31", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5.1", "openai/gpt-5-nano", "gpt-oss-120b", "openai/gpt-oss-20b", "gpt-oss:20b",
		"deepseek-r1", "deepseek-r1:8b", "deepseek-ai/DeepSeek-R1-0528", "deepseek/deepseek-r1:free", "deepseek-reasoner", "us.deepseek.r1-v1:0", "DeepSeek-R1-Distill-Llama-70B",
		"@cf/deepseek-ai/deepseek-r1-distill-qwen-32b", "accounts/fireworks/models/deepseek-r1", "gemini-2.5-pro", "gemini-2.5-flash", "models/gemini-3-pro-preview",
		"grok-3-mini", "grok-4", "x-ai/grok-4-fast-reasoning", "qwq-32b", "Qwen/QwQ-32B", "qwen3:8b", "Qwen/Qwen3-235B-A22B-Thinking-2507", "kimi-k2-thinking", "moonshotai/Kimi-K2-Thinking",
		"kimi-k2.5", "glm-4.5", "zai-org/GLM-4.6", "glm-4.5-air", "glm-5", "magistral-medium-latest", "MiniMax-M2", "sonar-reasoning-pro", "sonar-deep-research",
		"o3-deep-research", "phi-4-reasoning-plus", "claude-opus-5", "us.anthropic.claude-sonnet-5-v1:0", "anthropic/claude-3.7-sonnet:thinking", "command-a-reasoning-08-2025",
	} {
		if !Thinks(model) {
			t.Errorf("%s is of no reasoning family", model)
		}
	}
	for _, model := range []string{
		"", "gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5-chat-latest", "gpt-5.1-chat-latest", "o10", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5-20251101", "claude-3-5-sonnet-latest", "anthropic.claude-3-5-sonnet-20241022-v2:0", "gemini-2.0-flash", "gemini-2.5-flash-lite",
		"deepseek-chat", "deepseek-v3", "grok-3", "grok-4-fast-non-reasoning", "qwen2.5-72b-instruct", "qwen3-coder-plus", "Qwen3-235B-A22B-Instruct-2507", "kimi-k2-instruct", "kimi-k2-0905-preview",
		"glm-4-plus", "mistral-large-latest", "llama3.3", "up-one", "echo", "m", "text-embedding-3-small", "gpt-51", strings.Repeat("o1-", 100),
	} {
		if Thinks(model) {
			t.Errorf("%s is of a reasoning family", model)
		}
	}
}

// TestReasoningFile checks the data file.
func TestReasoningFile(t *testing.T) {
	var doc reasoningDocument
	if err := json.Unmarshal(reasoningFile, &doc); err != nil {
		t.Fatal(err)
	}
	if _, err := time.Parse(time.DateOnly, doc.Date); err != nil || len(doc.Sources) == 0 {
		t.Errorf("date %q, sources %q", doc.Date, doc.Sources)
	}
	for _, f := range doc.Families {
		if f.Vendor == "" || len(f.Names) == 0 {
			t.Errorf("%+v", f)
		}
		for _, name := range append(f.Names, f.Not...) {
			text := strings.Trim(name, "*")
			if text == "" || strings.Contains(text, "*") || name != strings.ToLower(name) || strings.Contains(name, "/") {
				t.Errorf("%q: want a name in lower case, with * at its ends alone", name)
			}
		}
	}
}

// Package providertest tests the providers that make calls over HTTP: it
// replays recorded answers, and compares what the provider makes of them with
// their known content.
package providertest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// Recording is a server's recorded answer.
type Recording struct {
	// Name is the file's name without its extension.
	Name string

	// Kind is stream, plain or error.
	Kind string

	// Shape is the dialect: openai, anthropic, gemini, ollama.
	Shape string

	Response struct {
		Status  int         `json:"status"`
		Headers http.Header `json:"headers"`
	}

	// Expected is what the answer says; nil for an error.
	Expected *Expected

	Flags []string

	// Body is the answer's, byte for byte.
	Body []byte `json:"-"`
}

// Expected is what an answer says.
type Expected struct {
	Text      string
	Reasoning string
	Refusal   string
	ToolCalls []ToolCall `json:"tool_calls"`
	Finish    string
	Usage     *Usage
	Errors    []json.RawMessage
}

// ToolCall is a complete tool call.
type ToolCall struct {
	ID        string
	Name      string
	Arguments string
}

// Usage is a provider's token count, in OpenAI's terms.
type Usage struct {
	Prompt        int64  `json:"prompt_tokens"`
	Completion    int64  `json:"completion_tokens"`
	Total         int64  `json:"total_tokens"`
	CacheHit      int64  `json:"prompt_cache_hit_tokens"`
	CacheWrite    int64  `json:"cache_write_tokens"`
	PromptDetails detail `json:"prompt_tokens_details"`
	OutputDetails detail `json:"completion_tokens_details"`
}

// native reads the usage and the finish reason of another dialect, which the
// recordings keep as they came.
var native = map[string]func(*Recording){
	"anthropic": func(r *Recording) {
		if r.Kind == "plain" {
			// Nothing was read from it.
			r.Expected = &Expected{
				Text:   gjson.GetBytes(r.Body, "content.0.text").Str,
				Finish: gjson.GetBytes(r.Body, "stop_reason").Str,
				Usage:  new(Usage),
			}
		}
		finish := map[string]string{"end_turn": "stop", "tool_use": "tool_calls", "refusal": "content_filter"}
		r.Expected.Finish = finish[r.Expected.Finish]
		// The last count of each kind is the final one.
		last := func(name string) int64 {
			var n int64
			for _, m := range regexp.MustCompile(`"`+name+`":(\d+)`).FindAllSubmatch(r.Body, -1) {
				n, _ = strconv.ParseInt(string(m[1]), 10, 64)
			}
			return n
		}
		cached := last("cache_read_input_tokens")
		r.Expected.Usage.Prompt = last("input_tokens") + last("cache_creation_input_tokens") + cached
		r.Expected.Usage.Completion = last("output_tokens")
		r.Expected.Usage.Total = r.Expected.Usage.Prompt + r.Expected.Usage.Completion
		r.Expected.Usage.PromptDetails.Cached = cached
		r.Expected.Usage.PromptDetails.Written = last("cache_creation_input_tokens")
	},
}

type detail struct {
	Cached    int64 `json:"cached_tokens"`
	Written   int64 `json:"cache_write_tokens"`
	Reasoning int64 `json:"reasoning_tokens"`
}

// finishes says that the model stopped or calls tools. In OpenAI's dialect, an
// answer is whole without a reason then.
func (rec *Recording) finishes() {
	e := rec.Expected
	if rec.Shape != "openai" || e == nil || e.Finish != "" || len(e.Errors) > 0 {
		return
	}
	e.Finish = "stop"
	if len(e.ToolCalls) > 0 {
		e.Finish = "tool_calls"
	}
}

// misread corrects mistakes that were made when a recording was made.
var misread = map[string]func(*Recording){
	// The message has an empty delta beside it, which was mistaken for it.
	"perplexity-p3": func(r *Recording) {
		r.Expected.Text = gjson.GetBytes(r.Body, "choices.0.message.content").Str
	},
	// The arguments of a call without any are an empty string here, but
	// OpenAI's clients expect JSON.
	"anthropic-5": func(r *Recording) {
		for i := range r.Expected.ToolCalls {
			r.Expected.ToolCalls[i].Arguments = "{}"
		}
	},
	// The reason of the refusal is in the details of the end.
	"anthropic-11": func(r *Recording) {
		r.Expected.Refusal = "This request triggered restrictions on violative cyber content and was blocked under Anthropic's Usage Policy."
	},
	// It has no reason, like old versions, and counts in Ollama's terms.
	"ollama-native-1": func(r *Recording) {
		r.Expected.Finish = "stop"
		r.Expected.Usage = &Usage{Prompt: 81, Completion: 104, Total: 185}
	},
	// The usage is in Groq's older place.
	"groq-5": func(r *Recording) {
		r.Expected.Usage = &Usage{Prompt: 21, Completion: 988, Total: 1009}
	},
	// Each part of a call was mistaken for a call.
	"gemini-9": func(r *Recording) {
		r.Expected.ToolCalls = []ToolCall{
			{Name: "getWeather", Arguments: `{"location":"Boston"}`},
			{Name: "getWeather", Arguments: `{"location":"San Francisco"}`},
		}
	},
}

// Folder returns the folder of the recordings: $RECORDINGS, else
// ../shared/recordings beside the module's root. If it does not exist the test
// is skipped, except in CI, which has it.
func Folder(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("RECORDINGS"); dir != "" {
		if !isDir(dir) {
			t.Fatalf("RECORDINGS: %s is no folder", dir)
		}
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("finding the recordings: %v", err)
	}
	for {
		shared := filepath.Join(filepath.Dir(dir), "shared", "recordings")
		if isDir(shared) {
			return shared
		}
		if filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	const missing = "no recordings: set RECORDINGS, or put them beside the module's root in shared/recordings"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// Load reads the recordings of a dialect from a folder and its subfolders.
func Load(t testing.TB, folder, shape string) []Recording {
	t.Helper()
	var names []string
	for _, pattern := range [...]string{"*.json", "*/*.json"} {
		more, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			t.Fatalf("listing the recordings: %v", err)
		}
		names = append(names, more...)
	}
	var recordings []Recording
	for _, name := range names {
		if rec := load(t, name); rec.Shape == shape {
			recordings = append(recordings, rec)
		}
	}
	if len(recordings) == 0 {
		t.Fatalf("%s holds no recording of shape %s", folder, shape)
	}
	return recordings
}

func load(t testing.TB, name string) Recording {
	t.Helper()
	meta, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("reading a recording: %v", err)
	}
	var rec Recording
	if err := json.Unmarshal(meta, &rec); err != nil {
		t.Fatalf("reading %s: %v", name, err)
	}
	stem := strings.TrimSuffix(name, ".json")
	rec.Name = filepath.Base(stem)
	for _, ending := range [...]string{".sse", ".body", ".ndjson"} {
		if rec.Body, err = os.ReadFile(stem + ending); err == nil {
			if !bytes.HasPrefix(rec.Body, []byte("\x1f\x8b")) {
				// Some were decompressed when they were recorded.
				delete(rec.Response.Headers, "content-encoding")
			}
			if rec.Shape == "gemini" {
				rec.inGemini(meta)
			}
			if read := native[rec.Shape]; read != nil && rec.Kind != "error" {
				read(&rec)
			}
			if mend := misread[rec.Name]; mend != nil {
				mend(&rec)
			}
			rec.finishes()
			return rec
		}
	}
	t.Fatalf("reading %s: %v", stem, err)
	return rec
}

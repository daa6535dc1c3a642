package provider

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// EndMark is the data of the event that ends a stream of chunks.
const EndMark = "[DONE]"

// ParseChunk returns the facts of a chat.completion.chunk. ok is false if raw is
// not a JSON object. The facts do not refer to raw.
func ParseChunk(raw []byte) (f Facts, ok bool) {
	_, f, ok = parse(raw, "delta")
	return f, ok
}

// ParseCompletion returns the facts of a chat.completion. ok is false if raw is
// not a JSON object. The facts do not refer to raw.
func ParseCompletion(raw []byte) (f Facts, ok bool) {
	_, f, ok = parse(raw, "message")
	return f, ok
}

// ReadCompletion is ParseCompletion that also returns the parsed object.
func ReadCompletion(raw []byte) (root gjson.Result, f Facts, ok bool) { return parse(raw, "message") }

// parse returns the facts of an answer. name is the member of its choices that
// holds the output: delta or message.
func parse(raw []byte, name string) (root gjson.Result, f Facts, ok bool) {
	root, ok = parseObject(raw)
	if !ok {
		return root, Facts{}, false
	}
	var texts []string
	tier := ""
	root.ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "model":
			f.Model = v.String()
		case "choices":
			v.ForEach(func(_, c gjson.Result) bool {
				f.Choices++
				texts = f.addChoice(c, name, texts)
				return true
			})
		case "usage":
			if u := parseUsage(v); u != nil {
				f.Usage = u
			}
		case "x_groq":
			// Groq's older place for it; the standard one wins.
			if f.Usage == nil {
				f.Usage = parseUsage(v.Get("usage"))
			}
		case "service_tier":
			tier = v.Str
		}
		return true
	})
	f.Usage = f.Usage.in(tier)
	f.Text = strings.Join(texts, "")
	return root, f, true
}

// parseObject validates and parses raw. gjson.ParseBytes does not validate, and
// gjson.Valid does not limit nesting, so an answer of opening brackets alone
// would overflow the stack. The result owns its bytes.
func parseObject(raw []byte) (gjson.Result, bool) {
	if !json.Valid(raw) {
		return gjson.Result{}, false
	}
	root := gjson.ParseBytes(raw)
	return root, root.IsObject()
}

// addChoice adds the facts of one choice, and its text to texts. Text and finish
// reason are the first choice's, but the output of all choices is counted.
func (f *Facts) addChoice(c gjson.Result, name string, texts []string) []string {
	first := c.Get("index").Int() == 0
	output, finish := c.Get(name), FinishOf(c)
	if name == "message" && !output.IsObject() {
		finish = "" // a document that has no message has not answered
	}
	if first && finish != "" {
		f.FinishReason = finish
	}
	if finish != "" {
		f.Finishes++
	}
	if f.Failure == nil {
		f.Failure = failureOf(c, output, finish)
	}
	var reasoning int
	output.ForEach(func(k, v gjson.Result) bool {
		if k.Str == "role" || !holds(v) {
			return true
		}
		f.Content = true
		known := f.ReasoningIn
		switch k.Str {
		case "content", "refusal":
			text := TextOf(v)
			if first {
				texts = append(texts, text)
				f.Refusal = f.Refusal || k.Str == "refusal"
			}
			f.OutputBytes += len(text)
			if v.IsArray() {
				f.OutputBytes += textBytes(v) - len(text)
			}
		case "reasoning_content", "reasoning", "reasoning_text", "thinking", "reasoning_details":
			// The same thought is often sent in two spellings at once.
			reasoning = max(reasoning, textBytes(v))
			if text := TextOf(v); first && f.Reasoning == "" && text != "" {
				f.Reasoning, f.ReasoningIn = text, k.Str
			}
		case "tool_calls":
			f.ToolCalls = true
			v.ForEach(func(_, call gjson.Result) bool {
				f.OutputBytes += functionBytes(call.Get("function"))
				return true
			})
		case "function_call":
			f.ToolCalls = true
			f.OutputBytes += functionBytes(v)
		}
		simple := v.Type == gjson.String && (k.Str == "content" || known == "" && k.Str == f.ReasoningIn)
		f.More = f.More || first && !simple
		return true
	})
	f.OutputBytes += reasoning
	return texts
}

func functionBytes(fn gjson.Result) int {
	args := fn.Get("arguments")
	if args.Type == gjson.JSON {
		return len(fn.Get("name").String()) + len(args.Raw)
	}
	return len(fn.Get("name").String()) + len(args.String())
}

// TextOf returns the visible text of a message's content: the string itself, or
// the joined text parts of a list. Thinking and images are not text.
func TextOf(content gjson.Result) string {
	if content.Type == gjson.String {
		return content.Str
	}
	if !content.IsArray() {
		return ""
	}
	var b strings.Builder
	content.ForEach(func(_, part gjson.Result) bool {
		switch t := part.Get("type").Str; {
		case part.Type == gjson.String:
			b.WriteString(part.Str)
		case t == "refusal":
			b.WriteString(part.Get("refusal").Str)
		case t == "" || t == "text" || t == "output_text":
			b.WriteString(part.Get("text").Str)
		}
		return true
	})
	return b.String()
}

// textBytes returns the size of all text in v, at any depth, such as in lists of
// parts or of reasoning details. Signatures, identifiers and encrypted data do
// not count.
func textBytes(v gjson.Result) int { return textBytesWithin(v, maxDepth) }

// maxDepth bounds how deep output is searched for. Every level is parsed once
// more, so that the time would grow with the square of the depth.
const maxDepth = 16

func textBytesWithin(v gjson.Result, depth int) int {
	switch {
	case depth == 0:
		return 0
	case v.Type == gjson.String:
		return len(v.Str)
	case v.IsArray():
		n := 0
		v.ForEach(func(_, e gjson.Result) bool {
			n += textBytesWithin(e, depth-1)
			return true
		})
		return n
	case v.IsObject():
		n := 0
		for _, name := range [...]string{"text", "thinking", "summary", "content", "refusal"} {
			n += textBytesWithin(v.Get(name), depth-1)
		}
		return n
	}
	return 0
}

// holds reports whether v holds output: a string that is not empty, at any depth,
// but not below a name that is only a label.
func holds(v gjson.Result) bool { return holdsWithin(v, maxDepth) }

// holdsWithin takes what is deeper than depth for output.
func holdsWithin(v gjson.Result, depth int) bool {
	switch {
	case depth == 0:
		return true
	case v.Type == gjson.String:
		return v.Str != ""
	case v.IsArray() || v.IsObject():
		found := false
		v.ForEach(func(k, e gjson.Result) bool {
			if k.Str != "type" && k.Str != "index" && holdsWithin(e, depth-1) {
				found = true
			}
			return !found
		})
		return found
	}
	// Numbers and booleans are labels too, never output.
	return false
}

// parseUsage returns the counts of a usage object, or nil if it has none.
func parseUsage(v gjson.Result) *Usage {
	if !v.IsObject() {
		return nil
	}
	in, out := v.Get("prompt_tokens"), v.Get("completion_tokens")
	if in.Type != gjson.Number && out.Type != gjson.Number {
		return nil
	}
	u := Usage{Input: TokenCount(in), Output: TokenCount(out)}
	u.Written = max(
		TokenCount(v.Get("prompt_tokens_details.cache_write_tokens")),
		TokenCount(v.Get("cache_creation_input_tokens")))
	u.Cached = max(
		TokenCount(v.Get("prompt_tokens_details.cached_tokens")),
		TokenCount(v.Get("prompt_cache_hit_tokens")),
		TokenCount(v.Get("cached_tokens")))
	u.Reasoning = max(
		TokenCount(v.Get("completion_tokens_details.reasoning_tokens")),
		TokenCount(v.Get("reasoning_tokens")))
	// xAI counts reasoning beside the completion, OpenAI within it; only the
	// total tells which.
	if u.Reasoning > 0 && TokenCount(v.Get("total_tokens")) == u.Input+u.Output+u.Reasoning {
		u.Output += u.Reasoning
	}
	u.Estimated = v.Get("estimated").Bool() // another gateway's mark, or ours
	u = u.consistent()
	return &u
}

// maxTokenCount bounds token counts, so that their sums cannot overflow.
const maxTokenCount = 1 << 40

// TokenCount returns v as a number of tokens, or 0 if it is not a positive number.
func TokenCount(v gjson.Result) int64 {
	if v.Type != gjson.Number || v.Num <= 0 {
		return 0
	}
	return int64(min(v.Num, maxTokenCount))
}

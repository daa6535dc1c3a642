package provider

import (
	"bytes"
	"context"
	"io"

	"github.com/tidwall/gjson"
)

// Relayer is a provider whose server has more of OpenAI's APIs than chat
// completions and embeddings. Their answers pass through as they are.
type Relayer interface {
	// Relay posts the request, with the provider's model, to the API that OpenAI
	// has at a path behind its base URL, such as /audio/speech. Without a model the
	// body goes as it came. It returns once the answer has begun. The caller must
	// close the answer.
	Relay(ctx context.Context, req *Request, path string) (*Relayed, error)
}

// Relayed is an answer that passes through.
type Relayed struct {
	ContentType string
	Length      int64 // -1 if it is not known
	Body        io.ReadCloser
}

// ParseRelayed returns what the gateway needs to know of a JSON document, or of the
// data of an event, that passes through. Its text is that of completions and
// transcripts.
func ParseRelayed(doc []byte) Facts {
	var f Facts
	tier := ""
	gjson.ParseBytes(doc[max(0, bytes.IndexByte(doc, '{')):]).ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "model":
			f.Model = v.Str
		case "usage":
			f.Usage = relayedUsage(v)
		case "service_tier":
			tier = v.Str
		case "text", "delta":
			if v.Type == gjson.String {
				f.OutputBytes = max(f.OutputBytes, len(v.Str)) // the end of a transcript has all of it
			}
		case "choices":
			f.readTexts(v)
		case "data":
			if v.IsArray() {
				f.Choices = len(v.Array())
			}
		}
		return true
	})
	f.Usage = f.Usage.in(tier)
	f.Content = f.OutputBytes > 0
	return f
}

// readTexts reads the choices of a text completion.
func (f *Facts) readTexts(choices gjson.Result) {
	choices.ForEach(func(_, c gjson.Result) bool {
		f.OutputBytes += len(c.Get("text").Str)
		if reason := c.Get("finish_reason").Str; reason != "" {
			f.FinishReason = reason
			f.Finishes++
		}
		return true
	})
}

// relayedUsage returns the counts of a usage in the shape of chat completions, of
// images and audio, or of a rerank, which has nothing but a total. It returns nil for
// a usage without tokens, such as the seconds of a transcript.
func relayedUsage(v gjson.Result) *Usage {
	if u := parseUsage(v); u != nil {
		return u
	}
	if u := responseUsage(v); u != nil {
		return u
	}
	if total := v.Get("total_tokens"); total.Type == gjson.Number {
		return &Usage{Input: TokenCount(total)}
	}
	return nil
}

// UsageOfResponse returns the usage of a response of OpenAI's Responses, or nil if it has
// none.
func UsageOfResponse(response gjson.Result) *Usage {
	return responseUsage(response.Get("usage")).in(response.Get("service_tier").Str)
}

// responseUsage returns the counts of a usage in that shape.
func responseUsage(v gjson.Result) *Usage {
	in, out := v.Get("input_tokens"), v.Get("output_tokens")
	if in.Type != gjson.Number && out.Type != gjson.Number {
		return nil
	}
	u := Usage{
		Input: TokenCount(in), Output: TokenCount(out),
		Cached:    TokenCount(v.Get("input_tokens_details.cached_tokens")),
		Written:   TokenCount(v.Get("input_tokens_details.cache_write_tokens")),
		Reasoning: TokenCount(v.Get("output_tokens_details.reasoning_tokens")),
	}.consistent()
	return &u
}

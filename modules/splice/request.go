package splice

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// Members are the members of a request that providers replace, in any API.
type Members struct {
	Model, Stream, StreamOptions, Store gjson.Result
}

// counted are the members by which a request is allowed, counted and sent on.
var counted = [...]string{
	"model", "stream", "stream_options", "store", "service_tier", "speed",
	"n", "best_of", "max_tokens", "max_completion_tokens", "max_output_tokens",
}

// MembersOf returns the members of a request, and its body without names that
// differ from those counted only in case. Servers written in Go would accept "Model" or
// "Max_Tokens" for them, which is a way around a list of allowed models or a budget.
func MembersOf(body []byte) (m Members, rest []byte, err error) {
	var others []string
	gjson.ParseBytes(body).ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "model":
			m.Model = v
		case "stream":
			m.Stream = v
		case "stream_options":
			m.StreamOptions = v
		case "store":
			m.Store = v
		default:
			if isDisguised(k.Str) {
				others = append(others, k.Str)
			}
		}
		return true
	})
	if len(others) == 0 {
		return m, body, nil
	}
	for _, name := range others {
		if body, err = sjson.DeleteBytes(body, name); err != nil {
			return m, nil, fmt.Errorf("removing %s: %w", name, err)
		}
	}
	return MembersOf(body)
}

// isDisguised reports whether a name differs from one of those counted only in case.
func isDisguised(name string) bool {
	for _, n := range counted {
		if name != n && strings.EqualFold(name, n) {
			return true
		}
	}
	return false
}

// Model returns a request's body with another model.
func Model(body []byte, model string) ([]byte, error) {
	m, body, err := MembersOf(body)
	if err != nil {
		return nil, err
	}
	o := Of(body)
	o.Set(m.Model, "model", Quoted(model))
	return o.Bytes(), nil
}

// Quoted returns a string as JSON.
func Quoted(s string) string {
	b, _ := jsontext.AppendQuote(nil, s)
	return string(b)
}

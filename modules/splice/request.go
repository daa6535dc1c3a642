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

// MembersOf returns the members of a request, and its body without names that
// differ from "model" only in case. Servers written in Go would accept "Model" for
// it, which is a way around a list of allowed models.
func MembersOf(body []byte) (m Members, rest []byte, err error) {
	var others []string
	gjson.ParseBytes(body).ForEach(func(k, v gjson.Result) bool {
		switch {
		case k.Str == "model":
			m.Model = v
		case k.Str == "stream":
			m.Stream = v
		case k.Str == "stream_options":
			m.StreamOptions = v
		case k.Str == "store":
			m.Store = v
		case len(k.Str) == len("model") && strings.EqualFold(k.Str, "model"):
			others = append(others, k.Str)
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

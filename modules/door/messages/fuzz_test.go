package messages

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// addFiles adds files to a fuzz test's seeds.
func addFiles(f *testing.F, pattern string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		f.Fatalf("no files for %s: %v", pattern, err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

// FuzzOpen expects an error about a member, or a request with messages.
func FuzzOpen(f *testing.F) {
	addFiles(f, "testdata/requests/*.json")
	for _, seed := range []string{
		`{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a__` + door.Seal(sealedCall{ID: "x"}) + `","content":[null,7,{"type":"image"}]}]}]}`,
		`{"max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"thinking","signature":"` + unsigned("") + `"},{"type":"text","text":"\ud83d"}]}],"tools":[7],"tool_choice":7}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) || !gjson.ParseBytes(body).IsObject() {
			return // these do not reach the door
		}
		c, err := Door{}.Open(body)
		if err != nil {
			if e, ok := err.(*provider.Error); !ok || e.Param == "" || !e.Local { //nolint:errorlint // the door's own
				t.Fatalf("%s: %v", body, err)
			}
			return
		}
		if made := c.Completion(); !json.Valid(made) || len(gjson.GetBytes(made, "messages").Array()) == 0 {
			t.Fatalf("%s became %s", body, made)
		}
		c.Stream()
	})
}

// FuzzStream expects events in order, whatever chunks come.
func FuzzStream(f *testing.F) {
	addFiles(f, "testdata/streams/*.chunks")
	f.Fuzz(func(t *testing.T, chunks []byte) {
		s := (&call{}).Stream()
		var b []byte
		for line := range strings.Lines(string(chunks)) {
			if facts, ok := provider.ParseChunk([]byte(line)); ok {
				b = s.Chunk(b, &provider.Chunk{Raw: []byte(line), Facts: facts})
			}
		}
		failed := s.Fail(append([]byte(nil), b...), door.Failure{Type: "api_error", Message: "broken\noff"})
		if !strings.Contains(string(failed[len(b):]), "event: error\n") {
			t.Fatalf("the failure is %s", failed[len(b):])
		}
		s.(*stream).over = false
		wantOrder(t, string(s.End(b, provider.Usage{})))
	})
}

// FuzzDocument expects a message, whatever the completion is.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"id":"x","choices":[{"index":0,"message":{"content":"hi","tool_calls":[{"id":"","function":{"name":"f","arguments":"[1]"}}]},"finish_reason":"length"}]}`))
	f.Fuzz(func(t *testing.T, completion []byte) {
		doc := (&call{}).Document(completion)
		if root := gjson.ParseBytes(doc); !json.Valid(doc) || root.Get("type").Str != "message" || !root.Get("content").IsArray() || root.Get("stop_reason").Str == "" {
			t.Fatalf("%s became %s", completion, doc)
		}
	})
}

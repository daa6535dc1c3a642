package messages

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestRequests compares what requests become with the files beside them.
func TestRequests(t *testing.T) {
	files, _ := filepath.Glob("testdata/requests/*.json")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, path := range files {
		if strings.HasSuffix(path, ".golden.json") {
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Door{}.Open(body)
			if err != nil {
				t.Fatal(err)
			}
			got := gjson.GetBytes(c.Completion(), "@pretty").Raw
			if dropped := c.Dropped(); len(dropped) > 0 {
				got += "// dropped: " + strings.Join(dropped, ", ") + "\n"
			}
			golden(t, strings.TrimSuffix(path, ".json")+".golden.json", got)
		})
	}
}

// golden compares with a file, which UPDATE=1 writes.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has\n%s\ngot\n%s", path, want, got)
	}
}

// TestInvalid has requests with one fault, and the member that the error names.
func TestInvalid(t *testing.T) {
	const user = `"messages":[{"role":"user","content":"hi"}]`
	for body, param := range map[string]string{
		`{` + user + `}`:                                                            "max_tokens",
		`{"max_tokens":0,` + user + `}`:                                             "max_tokens",
		`{"max_tokens":"many",` + user + `}`:                                        "max_tokens",
		`{"max_tokens":9}`:                                                          "messages",
		`{"max_tokens":9,"messages":[]}`:                                            "messages",
		`{"max_tokens":9,"messages":"hi"}`:                                          "messages",
		`{"max_tokens":9,"messages":[7]}`:                                           "messages.0.role",
		`{"max_tokens":9,"messages":[{"role":"tool","content":"hi"}]}`:              "messages.0.role",
		`{"max_tokens":9,"messages":[{"role":"user","content":[{"text":"hi"}]}]}`:   "messages.0.content.0.type",
		`{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"text"}]}]}`: "messages.0.content.0.text",
		`{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"file"}}]}]}`:                                    "messages.0.content.0.source.type",
		`{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result"}]}]}`:                                                       "messages.0.content.0.tool_use_id",
		`{"max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":"x"}]}]}`:                     "messages.0.content.0.input",
		`{"max_tokens":9,"messages":[{"role":"user"}]}`:                                                                                          "messages.0.content",
		`{"max_tokens":9,"messages":[{"role":"user","content":""}]}`:                                                                             "messages",
		`{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","data":"AAAA"}}]}]}`:                    "messages.0.content.0.source.media_type",
		`{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"url"}}]}]}`:                                  "messages.0.content.0.source.url",
		`{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_use","id":"t","name":"n","input":{}}]}]}`:                           "messages.0.content.0.type",
		`{"max_tokens":9,"messages":[{"role":"assistant","content":"hi"},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}]}`: "messages.1.content.0.tool_use_id",
		`{"max_tokens":9,"model":7,` + user + `}`:                                                                                                "model",
		`{"max_tokens":9,` + user + `,"system":7}`:                                                                                               "system",
		`{"max_tokens":9,` + user + `,"temperature":1.5}`:                                                                                        "temperature",
		`{"max_tokens":9,` + user + `,"stop_sequences":"x"}`:                                                                                     "stop_sequences",
		`{"max_tokens":9,` + user + `,"stream":"yes"}`:                                                                                           "stream",
		`{"max_tokens":9,` + user + `,"tools":[{"input_schema":{}}]}`:                                                                            "tools.0.name",
		`{"max_tokens":9,` + user + `,"tools":[{"name":"f"}]}`:                                                                                   "tools.0.input_schema",
		`{"max_tokens":9,` + user + `,"tool_choice":{"type":"any"}}`:                                                                             "tool_choice",
		`{"max_tokens":9,` + user + `,"thinking":{"type":"enabled"}}`:                                                                            "thinking.budget_tokens",
		`{"max_tokens":9,` + user + `,"output_config":{"format":{"type":"json_schema"}}}`:                                                        "output_config.format",
	} {
		_, err := Door{}.Open([]byte(body))
		e, ok := err.(*provider.Error) //nolint:errorlint // the door's own
		if !ok || e.Param != param {
			t.Errorf("%s: %v, want an error about %s", body, err, param)
		}
	}
}

// TestStreams compares the events of chunks with the files beside them. A line of the
// input is a chunk.
func TestStreams(t *testing.T) {
	files, _ := filepath.Glob("testdata/streams/*.chunks")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			chunks, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := (&call{completion: []byte("{}")}).Stream()
			var b []byte
			var u provider.Usage
			for line := range strings.Lines(string(chunks)) {
				f, ok := provider.ParseChunk([]byte(line))
				if !ok {
					t.Fatalf("no chunk: %s", line)
				}
				if f.Usage != nil {
					u = *f.Usage
				}
				b = s.Chunk(b, &provider.Chunk{Raw: []byte(line), Facts: f})
			}
			b = s.End(b, u)
			wantOrder(t, string(b))
			golden(t, strings.TrimSuffix(path, ".chunks")+".events", string(b))
		})
	}
}

// wantOrder checks that the events are in an order that Anthropic's clients accept.
func wantOrder(t *testing.T, events string) {
	t.Helper()
	open, next, state := -1, 0, "message_start"
	for ev := range strings.SplitSeq(strings.TrimSuffix(events, "\n\n"), "\n\n") {
		name, data, _ := strings.Cut(ev, "\ndata: ")
		name = strings.TrimPrefix(name, "event: ")
		root := gjson.Parse(data)
		index := int(root.Get("index").Int())
		ok := root.Get("type").Str == name && gjson.Valid(data)
		switch name {
		case "message_start":
			ok, state = ok && state == name, "blocks"
		case "content_block_start":
			ok = ok && state == "blocks" && open < 0 && index == next
			open = index
		case "content_block_delta":
			ok = ok && open == index
		case "content_block_stop":
			ok = ok && open == index
			open, next = -1, next+1
		case "message_delta":
			ok, state = ok && state == "blocks" && open < 0, "message_stop"
		case "message_stop":
			ok, state = ok && state == name, "over"
		}
		if !ok {
			t.Fatalf("out of order: %s\nin\n%s", ev, events)
		}
	}
	if state != "over" {
		t.Fatalf("no end:\n%s", events)
	}
}

// TestSwitch goes on with chunks behind the provider's own events.
func TestSwitch(t *testing.T) {
	native := func(events ...string) *provider.Chunk {
		return &provider.Chunk{Native: []byte(strings.Join(events, ""))}
	}
	start := "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\"}}\n\n"
	block := "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
	delta := "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n"
	stop := "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
	told := "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n"
	more := &provider.Chunk{Raw: []byte(`{"choices":[{"index":0,"delta":{"content":"b"}}]}`), Facts: provider.Facts{Text: "b"}}
	for name, list := range map[string][]*provider.Chunk{
		"in a block":             {native(start, block, delta), more},
		"behind a block":         {native(start, block, delta, stop), more},
		"before a block":         {native(start), more},
		"no end mark":            {native(start, block, delta, stop, told)},
		"nothing but its begin":  {native(start)},
		"cut within a block":     {native(start, block, delta)},
		"whole":                  {native(start, block, delta, stop, told, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")},
		"translated all the way": {more, more},
	} {
		t.Run(name, func(t *testing.T) {
			s := (&call{}).Stream()
			var b []byte
			for _, c := range list {
				b = s.Chunk(b, c)
			}
			wantOrder(t, string(s.End(b, provider.Usage{})))
		})
	}
}

// TestResults has results of tools where chat completions do not take them, or not so.
func TestResults(t *testing.T) {
	const calls = `{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}},{"type":"tool_use","id":"b","name":"f","input":{}}]}`
	const image = `{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}`
	for name, tc := range map[string]struct{ messages, want string }{
		"behind the user's text": {
			calls + `,{"role":"user","content":[{"type":"text","text":"go on"},{"type":"tool_result","tool_use_id":"a","content":"1"},{"type":"tool_result","tool_use_id":"b"}]}`,
			`assistant tool:a=1 tool:b= user=go on`,
		},
		"in two messages": {
			calls + `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"b","content":"2"},{"type":"text","text":"one"}]}` +
				`,{"role":"system","content":"be quick"},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"1"}]}`,
			`assistant tool:b=2 tool:a=1 user=one system=be quick`,
		},
		"an image": {
			calls + `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[` + image + `]},{"type":"tool_result","tool_use_id":"b","content":"2"}]}`,
			`assistant tool:a=The result is in the user's next message. tool:b=2 user=` +
				`[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]`,
		},
		"without the call, which a session may have": {
			`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"1"},{"type":"tool_result","tool_use_id":"b","content":"2"},{"type":"text","text":"go on"}]}`,
			`tool:a=1 tool:b=2 user=go on`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Door{}.Open([]byte(`{"max_tokens":9,"messages":[` + tc.messages + `]}`))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range gjson.GetBytes(c.Completion(), "messages").Array() {
				said := m.Get("role").Str
				if id := m.Get("tool_call_id").Str; id != "" {
					said += ":" + id
				}
				if content := m.Get("content"); content.Type != gjson.Null {
					said += "=" + content.String()
				}
				got = append(got, said)
			}
			if got := strings.Join(got, " "); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

// TestEffort has efforts, which only ask for reasoning together with thinking.
func TestEffort(t *testing.T) {
	for _, tc := range []struct{ more, effort, dropped string }{
		{`"output_config":{"effort":"low"}`, "", "output_config.effort"},
		{`"output_config":{"effort":"low"},"thinking":{"type":"disabled"}`, "", "output_config.effort"},
		{`"output_config":{"effort":"max"},"thinking":{"type":"adaptive"}`, "xhigh", ""},
		{`"output_config":{"effort":"low"},"thinking":{"type":"enabled","budget_tokens":20000}`, "low", ""},
		{`"thinking":{"type":"enabled","budget_tokens":1024}`, "low", ""},
		{`"thinking":{"type":"enabled","budget_tokens":8192}`, "medium", ""},
		{`"thinking":{"type":"enabled","budget_tokens":20000}`, "high", ""},
		{`"thinking":{"type":"adaptive"}`, "", ""},
	} {
		c, err := Door{}.Open([]byte(`{"max_tokens":9,"messages":[{"role":"user","content":"hi"}],` + tc.more + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := gjson.GetBytes(c.Completion(), "reasoning_effort").Str; got != tc.effort || strings.Join(c.Dropped(), " ") != tc.dropped {
			t.Errorf("%s: effort %q, dropped %q", tc.more, got, c.Dropped())
		}
	}
}

// TestSentBack sends the blocks of an answer back, and looks for what its provider
// wants.
func TestSentBack(t *testing.T) {
	const (
		thinking = `[{"type":"thinking","thinking":"Hm.","signature":"c2ln"}]`
		items    = `"thinking_blocks":[{"type":"reasoning","index":1,"item":{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gA"}},` +
			`{"type":"reasoning","index":2,"said":true,"item":{"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"gB"}}],"extra_content":{"reasoning":{"model":"gpt-5.5"}}`
	)
	for name, tc := range map[string]struct{ message, want string }{
		"Gemini's signature": {
			`"content":null,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"abc"}}}]`,
			`{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"abc"}}}]}`,
		},
		"an id that Anthropic does not take": {
			`"content":null,"tool_calls":[{"index":0,"id":"functions.f:0","type":"function","function":{"name":"f","arguments":"{}"}}]`,
			`{"role":"assistant","content":null,"tool_calls":[{"id":"functions.f:0","type":"function","function":{"name":"f","arguments":"{}"}}]}`,
		},
		"reasoning": {
			`"reasoning_content":"Hm.","content":"Yes."`,
			`{"role":"assistant","content":"Yes.","reasoning_content":"Hm."}`,
		},
		"signed reasoning": {
			`"content":"Yes.","thinking_blocks":` + thinking,
			`{"role":"assistant","content":"Yes.","thinking_blocks":` + thinking + `}`,
		},
		"items of reasoning": {
			`"content":"Yes.",` + items + `,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]`,
			`{"role":"assistant","content":"Yes.","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}],` + items + `}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &call{}
			doc := c.Document([]byte(`{"id":"x","choices":[{"index":0,"message":{` + tc.message + `},"finish_reason":"stop"}]}`))
			raw := []byte(`{"id":"x","choices":[{"index":0,"delta":{` + tc.message + `}}]}`)
			f, _ := provider.ParseChunk(raw)
			s := c.Stream()
			events := s.End(s.Chunk(nil, &provider.Chunk{Raw: raw, Facts: f}), provider.Usage{})
			for way, content := range map[string]string{"document": gjson.GetBytes(doc, "content").Raw, "stream": contentOfEvents(string(events))} {
				back, err := Door{}.Open([]byte(`{"max_tokens":9,"messages":[{"role":"assistant","content":` + content + `}]}`))
				if err != nil {
					t.Fatal(err)
				}
				if got := gjson.GetBytes(back.Completion(), "messages.0").Raw; got != tc.want {
					t.Errorf("%s: sent back\n%s\nit is\n%s\nwant\n%s", way, content, got, tc.want)
				}
			}
		})
	}
}

// TestItemsInADocument shows what items of reasoning say.
func TestItemsInADocument(t *testing.T) {
	doc := new(call).Document([]byte(`{"id":"x","choices":[{"index":0,"message":{"content":"so","reasoning_content":"a\n\nb","extra_content":{"reasoning":{"model":"gpt-5.5"}},"thinking_blocks":[
		{"type":"reasoning","index":1,"item":{"type":"reasoning","id":"rs_1","summary":[{"text":"a"},{"text":"b"}],"encrypted_content":"gA"}},
		{"type":"reasoning","index":2,"item":{"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"gB"}}]},"finish_reason":"stop"}]}`))
	content := gjson.GetBytes(doc, "content")
	if got := content.Get("#.type").Raw; got != `["thinking","redacted_thinking","text"]` || content.Get("0.thinking").Str != "a\n\nb" {
		t.Errorf("the content is %s", content.Raw)
	}
	for _, at := range []string{"0.signature", "1.data"} {
		var s sealed
		if !door.Unseal(content.Get(at).Str, &s) || len(s.Blocks) != 1 || s.By != "gpt-5.5" {
			t.Errorf("%s holds %s by %q", at, s.Blocks, s.By)
		}
	}
}

// TestItemsAtClaude has a kept message with items of reasoning go to a provider of this API.
func TestItemsAtClaude(t *testing.T) {
	c, err := Door{}.Open([]byte(`{"max_tokens":9,"messages":[{"role":"user","content":"and?"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	body, dropped, ok := c.Whole("", []json.RawMessage{json.RawMessage(`{"role":"assistant","content":"so","thinking_blocks":[{"type":"reasoning","index":1,"item":{"type":"reasoning","id":"rs_1"}}]}`)})
	if !ok || gjson.GetBytes(body, "messages.0.content").Raw != `[{"type":"text","text":"so"}]` || !slices.Equal(dropped, []string{"messages.thinking_blocks"}) {
		t.Errorf("%t, dropped %q, %s", ok, dropped, body)
	}
}

// contentOfEvents puts the blocks of a stream together, as clients do.
func contentOfEvents(events string) string {
	content := "[]"
	for line := range strings.Lines(events) {
		root := gjson.Parse(strings.TrimPrefix(line, "data: "))
		at := root.Get("index").String()
		delta := root.Get("delta")
		switch root.Get("type").Str {
		case "content_block_start":
			content, _ = sjson.SetRaw(content, at, root.Get("content_block").Raw)
		case "content_block_delta":
			for _, name := range []string{"text", "thinking", "signature"} {
				if v := delta.Get(name); v.Exists() {
					path := at + "." + name
					content, _ = sjson.Set(content, path, gjson.Get(content, path).Str+v.Str)
				}
			}
			if v := delta.Get("partial_json"); v.Exists() {
				content, _ = sjson.SetRaw(content, at+".input", v.Str)
			}
		}
	}
	return content
}

package docs

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	caddyv2 "github.com/caddyserver/caddy/v2"

	_ "github.com/caddy-chat/caddy-chat"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// providerModels are the models in docs/providers.md, by provider type.
var providerModels = map[string]string{
	"anthropic":  "claude-haiku-4-5",
	"bedrock":    "anthropic.claude-haiku-4-5-20251001-v1:0",
	"cloudflare": "openai/gpt-4o-mini",
	"echo":       "echo",
	"gemini":     "gemini-2.5-flash",
	"ollama":     "llama3.3",
	"openai":     "gpt-4o-mini",
}

// providerOptions are the options that a type requires.
var providerOptions = map[string]string{
	"bedrock":    `{"region":"us-east-1","access_key_id":"id","secret_access_key":"secret","base_url":"http://127.0.0.1:1"}`,
	"cloudflare": `{"account_id":"acc","base_url":"http://127.0.0.1:1"}`,
	"echo":       `{}`,
}

// loadProviders provisions one provider of each type, with unreachable URLs.
func loadProviders(t testing.TB) map[string]provider.Provider {
	t.Helper()
	ctx, cancel := caddyv2.NewContext(caddyv2.Context{Context: t.Context()})
	t.Cleanup(cancel)
	list := make(map[string]provider.Provider)
	for _, m := range caddyv2.GetModules("chat.providers") {
		options, ok := providerOptions[m.ID.Name()]
		if !ok {
			options = `{"base_url":"http://127.0.0.1:1"}`
		}
		mod, err := ctx.LoadModuleByID(string(m.ID), json.RawMessage(options))
		if err != nil {
			t.Fatalf("%s: %v", m.ID, err)
		}
		list[m.ID.Name()] = mod.(provider.Provider)
	}
	return list
}

// bodyMembers are members of a request by their names on the page.
var bodyMembers = map[string]string{
	"`max_tokens`":                           `"max_tokens":100`,
	"`temperature`":                          `"temperature":0.5`,
	"`temperature` above 1":                  `"temperature":1.5`,
	"`top_p`":                                `"top_p":0.5`,
	"`top_k`":                                `"top_k":5`,
	"`stop`":                                 `"stop":["x"]`,
	"`seed`":                                 `"seed":7`,
	"`frequency_penalty`":                    `"frequency_penalty":0.5`,
	"`presence_penalty`":                     `"presence_penalty":0.5`,
	"`reasoning_effort`":                     `"reasoning_effort":"medium"`,
	"`thinking`":                             `"thinking":{"type":"enabled","budget_tokens":2048}`,
	"`tools`":                                toolMember,
	"`tools` with `strict`":                  strictToolMember,
	"`tool_choice`: `required`, a function":  toolMember + `,"tool_choice":"required"`,
	"`parallel_tool_calls`: false":           toolMember + `,"parallel_tool_calls":false`,
	"`response_format`: `json_object`":       `"response_format":{"type":"json_object"}`,
	"`response_format`: `json_schema`":       `"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}}}`,
	"`n` above 1":                            `"n":2`,
	"`logprobs`":                             `"logprobs":true`,
	"`logit_bias`":                           `"logit_bias":{"1":5}`,
	"`functions`":                            `"functions":[{"name":"f"}]`,
	"`audio`":                                `"audio":{"voice":"alloy","format":"wav"}`,
	"`user`":                                 `"user":"ann"`,
	"`metadata`":                             `"metadata":{"a":"b"}`,
	"`store`":                                `"store":true`,
	"`service_tier`":                         `"service_tier":"flex"`,
	"`prediction`":                           `"prediction":{"type":"content","content":"x"}`,
	"an image, by URL":                       contentMember(`{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}`),
	"an image, as data":                      contentMember(`{"type":"image_url","image_url":{"url":"data:image/png;base64,aGk="}}`),
	"a PDF, as data":                         contentMember(`{"type":"file","file":{"file_data":"data:application/pdf;base64,aGk="}}`),
	"a file by id":                           contentMember(`{"type":"file","file":{"file_id":"file-1"}}`),
	"audio":                                  contentMember(`{"type":"input_audio","input_audio":{"data":"aGk=","format":"wav"}}`),
	"what the provider does not know at all": `"whatever":1`,
}

const (
	toolMember       = `"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{}}}}]`
	strictToolMember = `"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{},"additionalProperties":false}}}]`
)

func contentMember(part string) string {
	return `"messages":[{"role":"user","content":[{"type":"text","text":"hi"},` + part + `]}]`
}

// outcome returns what a provider does with a member of a request.
func outcome(t testing.TB, p provider.Provider, model, member string) string {
	t.Helper()
	body := "{" + member + "}"
	if !strings.Contains(member, `"messages"`) {
		body = `{"messages":[{"role":"user","content":"hi"}],` + member + "}"
	}
	req := &provider.Request{Model: model, Body: []byte(body)}
	_, err := p.Complete(t.Context(), req)
	e, _ := errors.AsType[*provider.Error](err)
	switch {
	case e != nil && e.Reason == provider.ReasonUnsupported:
		return "refused"
	case e != nil && e.Reason == provider.ReasonInvalid:
		t.Fatalf("%s: %v", body, err)
	case len(req.Dropped) > 0:
		return "dropped"
	}
	return "yes"
}

// TestDocsProviders compares the tables of docs/providers.md with what the
// providers do.
func TestDocsProviders(t *testing.T) {
	page := readPage(t, docsDir+"/providers.md")
	providers := loadProviders(t)
	t.Run("a section for each type", func(t *testing.T) {
		for typ := range providers {
			if !strings.Contains(page.text, "\n### `"+typ+"`\n") {
				t.Errorf("no section on %s", typ)
			}
		}
	})
	t.Run("what each type supports", func(t *testing.T) {
		rows := tableUnder(t, page, "## What each type supports")
		for typ, p := range providers {
			for row, has := range map[string]bool{
				"embeddings": is[provider.Embedder](p),
				"continue":   is[provider.Continuer](p),
			} {
				if cell := rows[row][typ]; (cell == "no") == has || cell == "" {
					t.Errorf("%s of %s: %q, want %v", row, typ, cell, has)
				}
			}
			want := "none"
			if m := p.DefaultModel(); m != "" {
				want = "`" + m + "`"
			}
			if typ != "openai" && typ != "anthropic" && rows["default model"][typ] != want {
				t.Errorf("default model of %s: %q, want %s", typ, rows["default model"][typ], want)
			}
		}
	})
	t.Run("members of the body", func(t *testing.T) {
		rows := tableUnder(t, page, "## Members of the body")
		if shown, known := slices.Sorted(maps.Keys(rows)), slices.Sorted(maps.Keys(bodyMembers)); !reflect.DeepEqual(shown, known) {
			t.Errorf("the page has %q,\nthe test %q", shown, known)
		}
		for name, member := range bodyMembers {
			for typ, cell := range rows[name] {
				got := outcome(t, providers[typ], providerModels[typ], member)
				// the word may be followed by the models it applies to
				if word := strings.FieldsFunc(cell, func(r rune) bool { return !unicode.IsLetter(r) }); len(word) == 0 || word[0] != got {
					t.Errorf("%s at %s: %q, but it is %s", name, typ, cell, got)
				}
			}
		}
		for _, typ := range []string{"openai", "cloudflare"} {
			for name, member := range bodyMembers {
				want := "yes"
				if name == "a file by id" {
					want = "refused"
				}
				if got := outcome(t, providers[typ], providerModels[typ], member); got != want {
					t.Errorf("%s at %s is %s, but the page says that all but files by id are passed on", name, typ, got)
				}
			}
		}
	})
}

func is[T any](v any) bool {
	_, ok := v.(T)
	return ok
}

// tableUnder reads the first table under a heading: rows by their first cell, each
// with its cells by the provider type of the column.
func tableUnder(t testing.TB, p page, heading string) map[string]map[string]string {
	t.Helper()
	_, text, ok := strings.Cut(p.text, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s: no %q", p.name, heading)
	}
	var columns []string
	rows := make(map[string]map[string]string)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if columns != nil {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case columns == nil:
			columns = cells
		case strings.HasPrefix(cells[0], "---"):
		case len(cells) != len(columns):
			t.Fatalf("%s: %d cells in %q, want %d", p.name, len(cells), line, len(columns))
		default:
			row := make(map[string]string)
			for i, name := range columns[1:] {
				row[strings.Trim(name, "`")] = cells[i+1]
			}
			if _, twice := rows[cells[0]]; twice {
				t.Fatalf("%s: %s occurs twice", p.name, cells[0])
			}
			rows[cells[0]] = row
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s: no table under %q", p.name, heading)
	}
	return rows
}

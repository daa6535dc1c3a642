package chat

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestItemReferences sends items of earlier responses by their ids, as the AI SDK does.
func TestItemReferences(t *testing.T) {
	up := harness.NewUpstream(t, harness.SendsOf(func(w harness.Wire) []string {
		return []string{
			w.Role(), w.Event(`{"reasoning_content":"Hm."}`, ""),
			w.Text("Let me see."), w.Tool(0, "call_1", "look", `{"at":1}`), w.Finish("tool_calls"), w.Usage(9, 5), harness.EndMark,
		}
	}), harness.Says(11, 3, "done"))
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	tools := []any{map[string]any{"type": "function", "name": "look", "parameters": map[string]any{"type": "object"}}}

	resp := a.cl.Do(http.MethodPost, "/v1/responses", map[string]any{"model": "fast", "input": "one", "tools": tools, "stream": true})
	first := lastResponse(t, harness.ReadAll(t, resp))
	input := []any{map[string]any{"role": "user", "content": "one"}}
	for _, item := range first.Get("output").Array() {
		input = append(input, map[string]any{"type": "item_reference", "id": item.Get("id").Str})
	}
	input = append(input, map[string]any{"type": "function_call_output", "call_id": "call_1", "output": "here"})
	second := a.create(map[string]any{"input": input, "tools": tools, "stream": false})
	if got := up.Last().Body; gjson.Get(got, "messages.#").Int() != 3 ||
		gjson.Get(got, "messages.1.content").Str != "Let me see." || gjson.Get(got, "messages.1.tool_calls.0.function.arguments").Str != `{"at":1}` ||
		gjson.Get(got, "messages.1.reasoning_content").Str != "Hm." {
		t.Fatalf("the response is %s, the provider got %s", second.Raw, got)
	}
	items := a.call(http.MethodGet, "/v1/responses/"+second.Get("id").Str+"/input_items?order=asc", nil)
	if got := items.Get(`data.#(type=="function_call").name`).Str; got != "look" {
		t.Errorf("its input is %s", items.Raw)
	}

	refused := func(t *testing.T, a asks, id string) {
		t.Helper()
		got := a.create(map[string]any{"input": []any{map[string]any{"type": "item_reference", "id": id}}})
		if got.Get("error.param").Str != "input.0.id" {
			t.Errorf("a reference to %q: %s", id, got.Raw)
		}
	}
	message := first.Get(`output.#(type=="message").id`).Str
	t.Run("someone else's", func(t *testing.T) {
		refused(t, asks{t, harness.NewClient(c, "acme", "bob")}, message)
		refused(t, asks{t, harness.NewClient(c, "globex", "ann")}, message)
	})
	t.Run("unknown", func(t *testing.T) {
		for _, id := range []string{"", "msg_1", message + "9", first.Get("id").Str} {
			refused(t, a, id)
		}
	})
	t.Run("deleted", func(t *testing.T) {
		a.call(http.MethodDelete, "/v1/responses/"+first.Get("id").Str, nil)
		refused(t, a, message)
	})
}

// lastResponse returns the response at the end of a stream.
func lastResponse(t *testing.T, events string) gjson.Result {
	t.Helper()
	last := gjson.Parse(events[strings.LastIndex(events, "data: ")+len("data: "):]).Get("response")
	if last.Get("status").Str != "completed" {
		t.Fatalf("the stream is\n%s", events)
	}
	return last
}

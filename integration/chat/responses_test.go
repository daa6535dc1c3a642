package chat

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// asks is a client of the Responses API.
type asks struct {
	t  *testing.T
	cl *harness.Client
}

func (a asks) create(body map[string]any, headers ...string) gjson.Result {
	a.t.Helper()
	if body["model"] == nil {
		body["model"] = "fast"
	}
	return a.call(http.MethodPost, "/v1/responses", body, headers...)
}

func (a asks) call(method, path string, body any, headers ...string) gjson.Result {
	a.t.Helper()
	return gjson.Parse(harness.ReadAll(a.t, a.cl.Do(method, path, body, headers...)))
}

func (a asks) status(method, path string, body any) int {
	a.t.Helper()
	resp := a.cl.Do(method, path, body)
	defer resp.Body.Close()
	return resp.StatusCode
}

// leave has the client of a stream leave once it has begun, and waits for the response to
// complete without it.
func (a asks) leave(pending *harness.Pending, call *harness.HeldCall) (id string) {
	a.t.Helper()
	resp := pending.Answer()
	for lines := bufio.NewScanner(resp.Body); id == "" && lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			id = gjson.Get(data, "response.id").Str
		}
	}
	resp.Body.Close()
	for range 50 { // by then the server knows
		call.Say("and ")
	}
	call.Finish("stop")
	a.wantStatus("/v1/responses/"+id, "completed")
	return id
}

// text returns the visible text of a response.
func text(response gjson.Result) string {
	return response.Get(`output.#(type=="message").content.0.text`).Str
}

// TestKeptResponses goes on from a response, reads it again, and deletes it.
func TestKeptResponses(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}

	first := a.create(map[string]any{"input": "one"})
	id := first.Get("id").Str
	if !strings.HasPrefix(id, "resp_") || first.Get("status").Str != "completed" || text(first) != "re: one" || !first.Get("store").Bool() {
		t.Fatalf("the response is %s", first.Raw)
	}
	second := a.create(map[string]any{"input": "two", "previous_response_id": id})
	if got := len(up.Last().Messages()); text(second) != "re: two" || got != 3 {
		t.Errorf("the second response is %s, after %d messages", second.Raw, got)
	}
	if second.Get("previous_response_id").Str != id {
		t.Errorf("the second response follows %s", second.Get("previous_response_id").Raw)
	}
	if got := a.call(http.MethodGet, "/v1/responses/"+id, nil); got.Raw != first.Raw {
		t.Errorf("read again, it is\n%s\nwant\n%s", got.Raw, first.Raw)
	}
	items := a.call(http.MethodGet, "/v1/responses/"+id+"/input_items", nil)
	if items.Get("data.0.content.0.text").Str != "one" || items.Get("object").Str != "list" {
		t.Errorf("its input is %s", items.Raw)
	}

	t.Run("a branch", func(t *testing.T) {
		other := a.create(map[string]any{"input": "three", "previous_response_id": id})
		if got := up.Last().Messages(); text(other) != "re: three" || len(got) != 3 || strings.Contains(strings.Join(got, ""), "two") {
			t.Errorf("the branch is %s, after %v", other.Raw, got)
		}
	})
	t.Run("someone else's", func(t *testing.T) {
		for _, cl := range []*harness.Client{harness.NewClient(c, "acme", "bob"), harness.NewClient(c, "globex", "ann")} {
			b := asks{t, cl}
			if got := b.status(http.MethodGet, "/v1/responses/"+id, nil); got != http.StatusNotFound {
				t.Errorf("reading it: %d", got)
			}
			if got := b.create(map[string]any{"input": "x", "previous_response_id": id}); got.Get("error.param").Str != "previous_response_id" {
				t.Errorf("going on from it: %s", got.Raw)
			}
		}
	})
	t.Run("not kept", func(t *testing.T) {
		got := a.create(map[string]any{"input": "four", "store": false})
		if text(got) != "re: four" || got.Get("store").Bool() {
			t.Errorf("the response is %s", got.Raw)
		}
		if got := a.status(http.MethodGet, "/v1/responses/"+got.Get("id").Str, nil); got != http.StatusNotFound {
			t.Errorf("reading it: %d", got)
		}
	})
	t.Run("a session", func(t *testing.T) {
		session := harness.NewSession()
		a.create(map[string]any{"input": "five"}, "X-Session-Id", session)
		a.create(map[string]any{"input": "six", "conversation": "conv_" + session})
		harness.WantList(t, "history", harness.Contents(a.cl.History(session)), []string{
			"user: five", "assistant: re: five", "user: six", "assistant: re: six",
		})
	})
	t.Run("deleted", func(t *testing.T) {
		got := a.create(map[string]any{"input": "seven"})
		path := "/v1/responses/" + got.Get("id").Str
		if del := a.call(http.MethodDelete, path, nil); !del.Get("deleted").Bool() {
			t.Errorf("deleting it: %s", del.Raw)
		}
		if got := a.status(http.MethodGet, path, nil); got != http.StatusNotFound {
			t.Errorf("reading it: %d", got)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		for _, path := range []string{"resp_1", "resp_" + strings.Repeat("0", 64), strings.Repeat("a", 5000)} {
			if got := a.call(http.MethodGet, "/v1/responses/"+path, nil); got.Get("error.code").Str != "not_found" {
				t.Errorf("%s: %s", path, got.Raw)
			}
		}
		if got := a.status(http.MethodPut, "/v1/responses/"+id, nil); got != http.StatusMethodNotAllowed {
			t.Errorf("PUT: %d", got)
		}
	})
}

// TestKeptStream reads a streamed response again, whole and from an event on.
func TestKeptStream(t *testing.T) {
	up := harness.NewUpstream(t, harness.Says(11, 3, "a", "b", "c"), harness.Steps(harness.Begins("a", "b"), harness.Reset))
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	cl := harness.NewClient(c, "acme", "ann")
	id := streamsAgain(t, cl, "response.completed")
	doc := harness.ReadAll(t, cl.Do(http.MethodGet, "/v1/responses/"+id, nil))
	if got := text(gjson.Parse(doc)); got != "abc" {
		t.Errorf("the response is %s", doc)
	}
	streamsAgain(t, cl, "response.failed")
}

// streamsAgain reads a stream with that last event, and again from each of its events on.
func streamsAgain(t *testing.T, cl *harness.Client, last string) (id string) {
	t.Helper()
	events := harness.ReadAll(t, cl.Do(http.MethodPost, "/v1/responses", map[string]any{"model": "fast", "input": "hi", "stream": true}))
	list := strings.SplitAfter(strings.TrimSuffix(events, "\n\n")+"\n\n", "\n\n")
	list = list[:len(list)-1]
	_, data, _ := strings.Cut(list[len(list)-1], "data: ")
	id = gjson.Get(data, "response.id").Str
	if gjson.Get(data, "type").Str != last || id == "" {
		t.Fatalf("the stream is\n%s", events)
	}
	for i := range list {
		_, data, _ := strings.Cut(list[i], "data: ")
		path := "/v1/responses/" + id + "?stream=true&starting_after=" + gjson.Get(data, "sequence_number").Raw
		got := harness.ReadAll(t, cl.Do(http.MethodGet, path, nil))
		if want := strings.Join(list[i+1:], ""); got != want {
			t.Errorf("after event %d:\n%s\nwant\n%s", i, got, want)
		}
	}
	return id
}

// TestBackground lets a response run without its client.
func TestBackground(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	begin := func(input string) (id string, call *harness.HeldCall) {
		got := a.create(map[string]any{"input": input, "background": true})
		if got.Get("status").Str != "in_progress" || !got.Get("background").Bool() {
			t.Fatalf("the response is %s", got.Raw)
		}
		return got.Get("id").Str, up.Call()
	}
	read := func(id string) gjson.Result { return a.call(http.MethodGet, "/v1/responses/"+id, nil) }

	id, call := begin("one")
	if got := read(id); got.Get("status").Str != "in_progress" || got.Get("id").Str != id {
		t.Errorf("while it runs it is %s", got.Raw)
	}
	call.Answer("done")
	harness.Eventually(t, "it is completed", func() bool { return read(id).Get("status").Str == "completed" })
	if got := text(read(id)); got != "done" {
		t.Errorf("its text is %q", got)
	}

	id, call = begin("two")
	if got := a.call(http.MethodPost, "/v1/responses/"+id+"/cancel", nil); got.Get("status").Str != "cancelled" {
		t.Errorf("cancelled, it is %s", got.Raw)
	}
	call.WantGone()
	harness.Eventually(t, "it is cancelled", func() bool { return read(id).Get("status").Str == "cancelled" })

	id, call = begin("three")
	call.Fail(http.StatusBadRequest, `{"error":{"message":"x"}}`)
	harness.Eventually(t, "it has failed", func() bool { return read(id).Get("status").Str == "failed" })
}

// TestUnkeptGoesOn goes on from a response without keeping what comes.
func TestUnkeptGoesOn(t *testing.T) {
	for name, chain := range map[string]func(*harness.Upstream) string{
		"ai_gateway":    func(up *harness.Upstream) string { return up.Sessions("system Terse.") },
		"reverse_proxy": func(up *harness.Upstream) string { return up.Proxied("system Terse.") },
	} {
		t.Run(name, func(t *testing.T) {
			up := harness.NewUpstream(t, harness.Echoes)
			c := harness.Start(t, harness.PlainTenants, chain(up))
			a := asks{t, harness.NewClient(c, "acme", "ann")}
			first := a.create(map[string]any{"input": "one"}).Get("id").Str
			second := a.create(map[string]any{"input": "two", "previous_response_id": first}).Get("id").Str
			ask := func(body map[string]any, header ...string) gjson.Result {
				body["store"], body["input"] = false, "three"
				return a.create(body, header...)
			}
			got := ask(map[string]any{"previous_response_id": first})
			if text(got) != "re: three" || got.Get("store").Bool() || got.Get("previous_response_id").Str != first {
				t.Errorf("the response is %s", got.Raw)
			}
			harness.WantList(t, "messages", up.Last().Said(), []string{"system: Terse.", "user: one", "assistant: re: one", "user: three"})
			if got := a.status(http.MethodGet, "/v1/responses/"+got.Get("id").Str, nil); got != http.StatusNotFound {
				t.Errorf("reading it: %d", got)
			}
			ask(map[string]any{"previous_response_id": second})
			if n := len(up.Last().Messages()); n != 6 {
				t.Errorf("%d messages after the second", n)
			}
			stream := harness.ReadAll(t, a.cl.Do(http.MethodPost, "/v1/responses", map[string]any{
				"model": "fast", "input": "four", "store": false, "stream": true, "previous_response_id": second,
			}))
			if !strings.Contains(stream, "event: response.completed\n") || !strings.Contains(stream, "re: four") {
				t.Errorf("the stream is\n%s", stream)
			}
			if got := ask(map[string]any{"previous_response_id": first, "background": true}); got.Get("error.code").Str != "invalid_request" {
				t.Errorf("in the background: %s", got.Raw)
			}
			if got := ask(map[string]any{"previous_response_id": "resp_unknown"}); got.Get("error.code").Str != "previous_response_not_found" || got.Get("error.param").Str != "previous_response_id" {
				t.Errorf("after no response: %s", got.Raw)
			}
			if name == "ai_gateway" {
				before := up.Count()
				one, two := ask(map[string]any{"previous_response_id": first}, "Idempotency-Key", "k"), ask(map[string]any{"previous_response_id": first}, "Idempotency-Key", "k")
				if text(one) != text(two) || up.Count() != before+1 {
					t.Errorf("%d calls for\n%s\nand\n%s", up.Count()-before, one.Raw, two.Raw)
				}
			}
			list := a.cl.List("").Data.Sessions
			if len(list) != 1 || list[0].MessageCount != 4 {
				t.Errorf("the sessions are %+v", list)
			}
			up.Plays(harness.Steps(harness.Begins("part"), harness.TornOff))
			torn := harness.ReadAll(t, a.cl.Do(http.MethodPost, "/v1/responses", map[string]any{
				"model": "fast", "input": "five", "store": false, "stream": true, "previous_response_id": second,
			}))
			if !strings.Contains(torn, "event: response.failed\n") || strings.Contains(torn, "response.completed") {
				t.Errorf("the torn stream is\n%s", torn)
			}
		})
	}
}

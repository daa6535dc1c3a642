package chat

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// wantStatus waits until a response has a status.
func (a asks) wantStatus(path, status string) {
	a.t.Helper()
	harness.Eventually(a.t, "the response is "+status, func() bool { return a.call(http.MethodGet, path, nil).Get("status").Str == status })
}

// TestBackgroundBrokenOff has answers in the background break off behind another handler,
// or be cancelled. The server goes on.
func TestBackgroundBrokenOff(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, proxied(up))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	for name, end := range map[string]func(path string, call *harness.HeldCall) string{
		"cut": func(_ string, call *harness.HeldCall) string {
			call.End(harness.TornOff)
			return "failed"
		},
		"cancelled": func(path string, call *harness.HeldCall) string {
			a.call(http.MethodPost, path+"/cancel", nil)
			return "cancelled"
		},
	} {
		got := a.create(map[string]any{"input": name, "background": true})
		path := "/v1/responses/" + got.Get("id").Str
		call := up.Call()
		call.Say("part one")
		a.wantStatus(path, end(path, call))
	}
	select {
	case err := <-c.Exit:
		t.Fatalf("the server has ended: %v", err)
	default:
	}
}

// TestResponsesOnce sends requests with one Idempotency-Key twice, whose sessions are chosen
// by the server.
func TestResponsesOnce(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	first := a.create(map[string]any{"input": "one"}).Get("id").Str
	for i, body := range []map[string]any{{"input": "one"}, {"input": "two", "previous_response_id": first}, {"input": "three", "previous_response_id": first}} {
		before := up.Count()
		one := a.create(body, "Idempotency-Key", fmt.Sprint("k", i))
		two := a.create(body, "Idempotency-Key", fmt.Sprint("k", i))
		if one.Get("status").Str != "completed" || one.Raw != two.Raw || up.Count() != before+1 {
			t.Errorf("%d calls for\n%s\nand\n%s", up.Count()-before, one.Raw, two.Raw)
		}
	}
	if got := a.create(map[string]any{"input": "one", "background": true, "store": false}); got.Get("error.param").Str != "store" {
		t.Errorf("in the background without a store: %s", got.Raw)
	}
	one := a.create(map[string]any{"input": "one", "background": true}, "Idempotency-Key", "k9")
	a.wantStatus("/v1/responses/"+one.Get("id").Str, "completed")
	before := up.Count()
	two := a.create(map[string]any{"input": "one", "background": true}, "Idempotency-Key", "k9")
	if one.Get("id").Str == "" || two.Raw != one.Raw || up.Count() != before {
		t.Errorf("in the background, with a key: %d calls for\n%s\nand\n%s", up.Count()-before, one.Raw, two.Raw)
	}
}

// TestDeletedWhileRunning deletes a response that is still being made.
func TestDeletedWhileRunning(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	session := harness.NewSession()
	path := "/v1/responses/" + a.create(map[string]any{"input": "one", "background": true}, "X-Session-Id", session).Get("id").Str
	call := up.Call()
	if status := a.status(http.MethodDelete, path, nil); status != http.StatusOK {
		t.Fatalf("DELETE: %d", status)
	}
	call.WantGone()
	c.WantNothingLeft()
	if status := a.status(http.MethodGet, path, nil); status != http.StatusNotFound {
		t.Errorf("it is back: %d", status)
	}

	alone := "/v1/responses/" + a.create(map[string]any{"input": "two", "background": true}).Get("id").Str
	call = up.Call()
	a.status(http.MethodDelete, alone, nil)
	call.WantGone()
	c.WantNothingLeft()
	if list := a.cl.List("").Data.Sessions; len(list) != 1 || list[0].SessionID != session {
		t.Errorf("the sessions are %v", list)
	}
}

// TestManyReferences refers to one large item many times.
func TestManyReferences(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	id := a.create(map[string]any{"input": strings.Repeat("x", 200_000)}).Get("output.0.id").Str
	input := []any{map[string]any{"role": "user", "content": "hi"}}
	for range 200 {
		input = append(input, map[string]any{"type": "item_reference", "id": id})
	}
	if got := a.create(map[string]any{"input": input}); got.Get("error.code").Str != "payload_too_large" {
		t.Errorf("got %.300s", got.Raw)
	}
}

// TestStoredFile asks for a file of the provider's, which belongs to its key.
func TestStoredFile(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	file := []any{map[string]any{"role": "user", "content": []any{map[string]any{"type": "input_file", "file_id": "file_1"}}}}
	for _, store := range []bool{false, true} {
		if got := a.create(map[string]any{"input": file, "store": store}); got.Get("error.param").Str != "input.0.content.0.file_id" {
			t.Errorf("store %v: %s", store, got.Raw)
		}
	}
	if n := up.Count(); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// TestKeptWithoutClient has the client of a kept response leave: it is kept whole.
func TestKeptWithoutClient(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	pending := a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", map[string]any{"model": "fast", "input": "one", "stream": true}))
	call := up.Call()
	call.Say("part one ")
	id := a.leave(pending, call)
	if got := text(a.call(http.MethodGet, "/v1/responses/"+id, nil)); !strings.HasPrefix(got, "part one and ") {
		t.Errorf("its text is %q", got)
	}
}

// TestTwoSessions names two sessions in one request.
func TestTwoSessions(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	session, other := harness.NewSession(), harness.NewSession()
	first := a.create(map[string]any{"input": "one"}, "X-Session-Id", session).Get("id").Str
	for _, test := range []struct {
		body   map[string]any
		header string
		param  string // empty if it is answered
	}{
		{map[string]any{"previous_response_id": first}, other, "previous_response_id"},
		{map[string]any{"conversation": session}, other, "conversation"},
		{map[string]any{"conversation": map[string]any{"id": "conv_" + session}}, session, ""},
		{map[string]any{"previous_response_id": first}, session, "previous_response_id"}, // it has gone on
	} {
		test.body["input"] = "two"
		got := a.create(test.body, "X-Session-Id", test.header)
		if got.Get("error.param").Str != test.param || test.param == "" && got.Get("status").Str != "completed" {
			t.Errorf("%v in %s: %s", test.body, test.header, got.Raw)
		}
	}
	a.cl.WantLast(session, "re: two", "complete")
}

// TestForks has several requests go on from the same response at once: each has a
// conversation of its own.
func TestForks(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	for range 5 {
		first := a.create(map[string]any{"input": "one"}).Get("id").Str
		asked := up.Count()
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				body := map[string]any{"model": "fast", "input": fmt.Sprint("question ", i), "previous_response_id": first}
				if i%2 == 1 {
					body["input"] = []map[string]any{{"role": "user", "content": "so"}, {"role": "user", "content": fmt.Sprint("question ", i)}}
				}
				if got := a.create(body); got.Get("status").Str != "completed" {
					t.Errorf("question %d: %s", i, got.Raw)
				}
			})
		}
		all.Wait()
		for _, r := range up.Requests()[asked:] {
			if n := len(r.Messages()); n > 4 || n < 3 {
				t.Errorf("a conversation has %d messages", n)
			}
		}
	}
}

// TestFailedWithKey has a stream with an Idempotency-Key fail: what is left of it can be
// asked for.
func TestFailedWithKey(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	pending := a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", map[string]any{"model": "fast", "input": "one", "stream": true}, "Idempotency-Key", "k"))
	call := up.Call()
	call.Say("part")
	call.End(harness.TornOff)
	stream := pending.Raw().Rest()
	_, data, _ := strings.Cut(stream, "data: ")
	id := gjson.Get(data, "response.id").Str
	a.wantStatus("/v1/responses/"+id, "failed")
}

// TestInputItems pages through what a request said.
func TestInputItems(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	var input []map[string]any
	for i := range 5 {
		input = append(input, map[string]any{"role": "user", "content": fmt.Sprint("item ", i)})
	}
	path := "/v1/responses/" + a.create(map[string]any{"input": input}).Get("id").Str
	var said []string
	after := ""
	for more := true; more; {
		page := a.call(http.MethodGet, path+"/input_items?order=asc&limit=2&after="+after, nil)
		for _, item := range page.Get("data").Array() {
			said = append(said, item.Get("content.0.text").Str)
		}
		after, more = page.Get("last_id").Str, page.Get("has_more").Bool()
		if len(said) > 5 {
			break
		}
	}
	if got := strings.Join(said, ","); got != "item 0,item 1,item 2,item 3,item 4" {
		t.Errorf("the items are %s", got)
	}
	for query, param := range map[string]string{
		"/input_items?limit=x": "limit", "/input_items?limit=0": "limit", "/input_items?limit=101": "limit",
		"/input_items?order=up": "order", "/input_items?after=msg_1": "after", "?stream=maybe": "stream",
	} {
		if got := a.call(http.MethodGet, path+query, nil); got.Get("error.param").Str != param {
			t.Errorf("%s: %s", query, got.Raw)
		}
	}
}

// TestFailedLeavesNothing has requests fail that would begin sessions of their own: no
// session is left of them.
func TestFailedLeavesNothing(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	first := a.create(map[string]any{"input": "one"}).Get("id").Str
	a.create(map[string]any{"input": "two", "previous_response_id": first})
	up.Plays(harness.Refuses(500, "x"))
	for _, body := range []map[string]any{
		{"previous_response_id": first}, {"previous_response_id": first, "model": "nope"}, {"previous_response_id": first, "temperature": 9},
		{}, {"model": "nope"}, {"background": true, "model": "nope"}, {"stream": true},
	} {
		body["input"] = "three"
		for range 2 {
			if got := a.create(body); !got.Get("error.code").Exists() {
				t.Errorf("%v: %s", body, got.Raw)
			}
		}
	}
	if list := a.cl.List("").Data.Sessions; len(list) != 1 {
		t.Errorf("the sessions are %v", list)
	}
}

// TestDeletedChain deletes the responses of a conversation that the server has named, in
// every order: nothing is left of it, and before that what is not deleted goes on.
func TestDeletedChain(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		var ids [3]string
		for i := range ids {
			body := map[string]any{"input": fmt.Sprint("question ", i)}
			if i > 0 {
				body["previous_response_id"] = ids[i-1]
			}
			ids[i] = a.create(body).Get("id").Str
		}
		for n, i := range order {
			if list := a.cl.List("").Data.Sessions; len(list) != 1 {
				t.Errorf("%v: after %d there are %v", order, n, list)
			}
			if status := a.status(http.MethodDelete, "/v1/responses/"+ids[i], nil); status != http.StatusOK {
				t.Errorf("%v: DELETE: %d", order, status)
			}
		}
		if list := a.cl.List("").Data.Sessions; len(list) != 0 {
			t.Errorf("%v: there are still %v", order, list)
		}
	}
	session := harness.NewSession()
	named := a.create(map[string]any{"input": "one"}, "X-Session-Id", session).Get("id").Str
	a.status(http.MethodDelete, "/v1/responses/"+named, nil)
	a.cl.WantLast(session, "re: one", "complete")
}

// TestOnlyNative sends what only the provider has words for: it is kept as any other, and
// passes to a server without ai_gateway in front of it.
func TestOnlyNative(t *testing.T) {
	const answer = `{"id":"resp_up","object":"response","status":"completed","store":false,"output":[{"type":"web_search_call","id":"ws_1","status":"completed"},{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"found","annotations":[]}]}],"usage":{"input_tokens":9,"output_tokens":5}}`
	up := harness.NewUpstream(t, harness.Document(http.StatusOK, answer))
	native := strings.Replace(up.Sessions(""), "api_key upstream-key", "api_key upstream-key\nresponses on", 1)
	c := harness.Start(t, harness.PlainTenants, native)
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	search := map[string]any{"input": "hi", "tools": []any{map[string]any{"type": "web_search"}}, "tool_choice": map[string]any{"type": "web_search"}}
	got := a.create(search)
	if asked := up.Last(); asked.Path != "/v1/responses" || asked.Get("tool_choice.type").Str != "web_search" || asked.Get("store").Raw != "false" {
		t.Errorf("%s was sent %s", asked.Path, asked.Body)
	}
	id := got.Get("id").Str
	if kept := a.call(http.MethodGet, "/v1/responses/"+id, nil); len(id) < 60 || kept.Get("output").Raw != got.Get("output").Raw || kept.Get("output.0.type").Str != "web_search_call" {
		t.Errorf("got %s, and later %s", got.Raw, kept.Raw)
	}
	a.create(map[string]any{"input": "and?", "previous_response_id": id})
	if asked := up.Last(); asked.Get("input.1.type").Str != "web_search_call" || asked.Get("input.2.content.0.text").Str != "found" {
		t.Errorf("the next response was sent %s", asked.Body)
	}
	if got := a.create(search, "X-Session-Id", harness.NewSession()); len(got.Get("id").Str) < 60 || got.Get("store").Raw != "true" {
		t.Errorf("in a session: %s", got.Raw)
	}
	up.Plays(harness.Echoes)
	behind := asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, proxied(up)), "acme", "ann")}
	if behind.create(search); up.Last().Path != "/v1/responses" {
		t.Errorf("in front of a reverse_proxy: it was asked at %s", up.Last().Path)
	}
	if got := behind.create(search, "X-Session-Id", harness.NewSession()); got.Get("error.param").Str != "tool_choice.type" {
		t.Errorf("in front of a reverse_proxy: %s", got.Raw)
	}
}

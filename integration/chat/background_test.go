package chat

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestBackgroundHoldsSlot counts a response in the background among the requests that run.
func TestBackgroundHoldsSlot(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, "tenant_resolve\nchat_ratelimit {\nconcurrent 1\nrequests 1000 1h\n}\nchat_session\n"+up.Gateway())
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	body := map[string]any{"input": "one", "background": true}
	first := a.create(body)
	call := up.Call()
	for range 2 {
		if got := a.create(body); got.Get("error.code").Str != "rate_limited" {
			t.Fatalf("beside it came %s", got.Raw)
		}
	}
	path := "/v1/responses/" + first.Get("id").Str
	if got := a.call(http.MethodGet, path, nil).Get("status").Str; got != "in_progress" {
		t.Errorf("it is %s", got)
	}
	call.Answer("done")
	a.wantStatus(path, "completed")
	harness.Eventually(t, "the slot is free", func() bool { return a.create(body).Get("error.code").Str == "" })
	up.Call().Answer("done")
}

// TestBackgroundCannotBegin asks for a response in a session whose turn is running, which
// fails at once, and cancels a response while a later turn of its session runs.
func TestBackgroundCannotBegin(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	session := harness.NewSession()
	first := a.create(map[string]any{"input": "one", "background": true}, "X-Session-Id", session)
	call := up.Call()
	if got := a.create(map[string]any{"input": "two", "background": true}, "X-Session-Id", session); got.Get("error.code").Str != "session_busy" {
		t.Errorf("beside it came %s", got.Raw)
	}
	call.Answer("done")
	path := "/v1/responses/" + first.Get("id").Str
	a.wantStatus(path, "completed")

	a.create(map[string]any{"input": "two", "background": true}, "X-Session-Id", session)
	call = up.Call()
	if got := a.call(http.MethodPost, path+"/cancel", nil); got.Get("status").Str != "completed" {
		t.Errorf("the first, cancelled while the second runs, is %s", got.Raw)
	}
	call.Answer("done too")
	a.cl.WantLast(session, "done too", "complete")
}

// TestBackgroundNodeDies kills the server while a response is made.
func TestBackgroundNodeDies(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	id := a.create(map[string]any{"input": "one", "background": true}).Get("id").Str
	up.Call().Say("part")
	c.Kill()
	c.Run()
	got := a.call(http.MethodGet, "/v1/responses/"+id, nil)
	if got.Get("status").Str != "failed" || got.Get("error.code").Str != "ai_unavailable" || got.Get("id").Str != id {
		t.Errorf("after its server died it is %s", got.Raw)
	}
	up.Plays(harness.Echoes)
	if got := a.create(map[string]any{"input": "two", "previous_response_id": id}); text(got) != "re: two" {
		t.Errorf("going on from it came %s", got.Raw)
	}
}

// TestDeletedNodeDies deletes responses that the server's end has broken off. What they have
// stored goes with them, and nothing else.
func TestDeletedNodeDies(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	first := a.create(map[string]any{"input": "first"}).Get("id").Str
	up.Plays() // calls are held
	alone := a.create(map[string]any{"input": "a secret", "background": true}).Get("id").Str
	up.Call()
	next := a.create(map[string]any{"input": "another", "background": true, "previous_response_id": first}).Get("id").Str
	up.Call()
	followed := a.create(map[string]any{"input": "to be followed", "background": true}).Get("id").Str
	up.Call()
	c.Kill()
	c.Run()
	a.call(http.MethodGet, "/v1/responses/"+followed, nil)
	running := a.create(map[string]any{"input": []any{map[string]any{"type": "message", "role": "assistant", "content": "mine"}}, "background": true, "previous_response_id": followed}).Get("id").Str
	call := up.Call()
	a.call(http.MethodDelete, "/v1/responses/"+followed, nil)
	call.Answer("later")
	a.wantStatus("/v1/responses/"+running, "completed")
	if got := a.call(http.MethodDelete, "/v1/responses/"+running, nil); !got.Get("deleted").Bool() {
		t.Fatalf("DELETE: %s", got.Raw)
	}
	for _, id := range []string{alone, next} {
		if got := a.call(http.MethodDelete, "/v1/responses/"+id, nil); !got.Get("deleted").Bool() {
			t.Fatalf("DELETE: %s", got.Raw)
		}
	}
	list := a.cl.List("").Data.Sessions
	if len(list) != 1 {
		t.Fatalf("sessions %v", list)
	}
	a.cl.WantLast(list[0].SessionID, "re: first", "complete")
}

// TestDeletedSession deletes the session of a response whose request was refused: nothing
// of it can be read any more.
func TestDeletedSession(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	session := harness.NewSession()
	a.create(map[string]any{"input": "hello"}, "X-Session-Id", session)
	up.Plays() // calls are held
	id := a.create(map[string]any{"input": "a secret", "background": true}, "X-Session-Id", session).Get("id").Str
	up.Call().Fail(http.StatusBadRequest, `{"error":{"message":"x"}}`)
	path := "/v1/responses/" + id
	a.wantStatus(path, "failed")
	if status := a.status(http.MethodDelete, "/chat/"+session, nil); status != http.StatusOK {
		t.Fatalf("DELETE: %d", status)
	}
	for _, path := range []string{path, path + "/input_items"} {
		if got := a.call(http.MethodGet, path, nil); got.Get("error.message").Str != "There is no such response" {
			t.Errorf("%s: %s", path, got.Raw)
		}
	}
}

// TestBackgroundRefused asks for responses whose model will not be called. Nothing of them
// is left.
func TestBackgroundRefused(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, "chat {\ntenant acme\ntenant poor {\nbudget 10 tokens/day\n}\n}", up.Sessions(""))
	for _, test := range []struct {
		tenant, model, code string
	}{{"acme", "nope", "model_unknown"}, {"poor", "fast", "budget_exceeded"}} {
		a := asks{t, harness.NewClient(c, test.tenant, "ann")}
		got := a.create(map[string]any{"model": test.model, "input": "a question of some length, for which there is no room at all", "background": true})
		if got.Get("error.code").Str != test.code {
			t.Errorf("%s: %s", test.code, got.Raw)
		}
		if list := a.cl.List("").Data.Sessions; len(list) != 0 {
			t.Errorf("%s: sessions %v", test.code, list)
		}
	}
}

// TestBackgroundStream follows a response in the background from its request on.
func TestBackgroundStream(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	body := map[string]any{"model": "fast", "input": "one", "background": true, "stream": true}
	for _, header := range [][]string{nil, {"Idempotency-Key", "k"}} {
		pending := a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", body, header...))
		call := up.Call()
		call.Say("part one")
		stream := pending.Raw().UpTo("part one")
		_, data, _ := strings.Cut(stream.Text, "data: ")
		id := gjson.Get(data, "response.id").Str
		call.Say(" and two")
		call.Finish("stop")
		if rest := stream.Rest(); !strings.Contains(rest, "response.completed") || !strings.Contains(rest, `"part one and two"`) {
			t.Errorf("the stream is %s", rest)
		}
		if got := text(a.call(http.MethodGet, "/v1/responses/"+id, nil)); got != "part one and two" {
			t.Errorf("its text is %q", got)
		}
	}
	before := up.Count()
	again := a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", body, "Idempotency-Key", "k")).Raw().Rest()
	if !strings.Contains(again, `"part one and two"`) || up.Count() != before {
		t.Errorf("with its key once more came, with %d calls, %s", up.Count()-before, again)
	}
}

// TestKeptSettings has wrong values of the members that say what is kept.
func TestKeptSettings(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	kept, plain := harness.Start(t, harness.PlainTenants, up.Sessions("")), harness.Start(t, harness.PlainTenants, harness.GatewaySite(up))
	for _, test := range []struct {
		param string
		value any
	}{
		{"store", "false"}, {"store", 0}, {"store", map[string]any{}}, {"background", "true"}, {"background", 1},
		{"previous_response_id", 5}, {"previous_response_id", ""}, {"previous_response_id", map[string]any{}},
		{"conversation", map[string]any{"x": 1}}, {"conversation", 5}, {"conversation", map[string]any{"id": 5}},
		{"metadata", "x"}, {"metadata", []int{1}},
	} {
		for _, c := range []*harness.Caddy{kept, plain} {
			a := asks{t, harness.NewClient(c, "acme", "ann")}
			for _, store := range []any{nil, false} {
				body := map[string]any{"input": "one", "store": store, test.param: test.value}
				if got := a.create(body); got.Get("error.param").Str != test.param || !strings.Contains(got.Get("error.message").Str, "want") {
					t.Errorf("%v: %s", body, got.Raw)
				}
			}
		}
	}
	a := asks{t, harness.NewClient(kept, "acme", "ann")}
	if got := a.create(map[string]any{"input": "one", "metadata": map[string]any{"a": 5}}); got.Get("error.param").Str != "metadata.a" {
		t.Errorf("%s", got.Raw)
	}
	session := harness.NewSession()
	if got := a.create(map[string]any{"input": "one", "conversation": "conv_" + session}); got.Get("conversation.id").Str != "conv_"+session {
		t.Errorf("%s", got.Raw)
	}
	id := a.create(map[string]any{"input": "one"}).Get("id").Str
	if got := a.call(http.MethodPost, "/v1/responses/"+id+"/cancel", nil); got.Get("error.param").Str != "response_id" {
		t.Errorf("cancelled: %s", got.Raw)
	}
	for _, path := range []string{"/v1/responses/compact", "/v1/responses/input_tokens"} {
		if status := a.status(http.MethodPost, path, map[string]any{}); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// TestFollowersEnd follows many responses in the background to their ends: followers see
// what a later GET does.
func TestFollowersEnd(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions("resume_window 1ms"))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	for i := range 30 {
		body := map[string]any{"model": "fast", "input": "one", "background": true, "stream": i%2 == 0}
		pending := a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", body))
		call := up.Call()
		call.Say("part one")
		var stream *harness.RawStream
		if i%2 == 0 {
			stream = pending.Raw().UpTo("part one")
		} else {
			id := gjson.Get(harness.ReadAll(t, pending.Answer()), "id").Str
			stream = a.cl.Start(a.cl.Request(http.MethodGet, "/v1/responses/"+id+"?stream=true", nil)).Raw().UpTo("part one")
		}
		_, data, _ := strings.Cut(stream.Text, "data: ")
		id := gjson.Get(data, "response.id").Str
		want := "completed"
		if i%3 == 0 {
			want = "cancelled"
			a.call(http.MethodPost, "/v1/responses/"+id+"/cancel", nil)
		} else {
			call.Finish("stop")
		}
		if rest := stream.Rest(); !strings.Contains(rest, "event: response."+want) {
			t.Errorf("turn %d: a follower saw %s, want %s", i, rest, want)
		}
		if got := a.call(http.MethodGet, "/v1/responses/"+id, nil).Get("status").Str; got != want {
			t.Errorf("turn %d: the response is %s, want %s", i, got, want)
		}
	}
}

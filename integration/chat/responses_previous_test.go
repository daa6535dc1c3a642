package chat

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestRepeatsWithoutPrevious repeats a request under a key whose previous response is gone
// since: the answer is there, and another body is still refused.
func TestRepeatsWithoutPrevious(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	ask := func(input, previous string, header ...string) *harness.Pending {
		body := map[string]any{"model": "fast", "input": input, "stream": true}
		if previous != "" {
			body["previous_response_id"] = previous
		}
		return a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", body, header...))
	}
	one := ask("one", "")
	up.Call().Answer("1")
	_, data, _ := strings.Cut(one.Raw().Rest(), "data: ")
	first := gjson.Get(data, "response.id").Str

	leader := ask("two", first, "Idempotency-Key", "k")
	call := up.Call()
	call.Say("part")
	stream := leader.Raw().UpTo("part")
	if got := a.status(http.MethodDelete, "/v1/responses/"+first, nil); got != http.StatusOK {
		t.Fatalf("DELETE: %d", got)
	}
	follower := ask("two", first, "Idempotency-Key", "k").Raw().UpTo("part")
	harness.WantFailure(t, ask("other", first, "Idempotency-Key", "k").Answer(), http.StatusUnprocessableEntity, "idempotency_key_reused")
	call.Finish("stop")
	whole := stream.Rest()
	for name, got := range map[string]string{"a follower": follower.Rest(), "a replay": ask("two", first, "Idempotency-Key", "k").Raw().Rest()} {
		if got != whole || !strings.Contains(got, "response.completed") {
			t.Errorf("%s got\n%s\nwant\n%s", name, got, whole)
		}
	}
	harness.WantFailure(t, ask("other", first, "Idempotency-Key", "k").Answer(), http.StatusUnprocessableEntity, "idempotency_key_reused")
	harness.WantFailure(t, ask("two", first, "Idempotency-Key", "k2").Answer(), http.StatusBadRequest, "previous_response_not_found")
	up.WantNoCall(t)
}

// TestGoesOnAtOnce goes on from a response in the background as soon as it is completed,
// while its turn still ends.
func TestGoesOnAtOnce(t *testing.T) {
	up := harness.NewUpstream(t, harness.Echoes)
	c := harness.Start(t, "\ngrace_period 2s\nchat {\nstore trouble\ntenant acme\ntenant globex\n}\n", up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	defer c.Trouble("finish")()
	id := a.create(map[string]any{"input": "one", "background": true}).Get("id").Str
	a.wantStatus("/v1/responses/"+id, "completed")
	if got := a.create(map[string]any{"input": "two", "previous_response_id": id}); got.Get("status").Str != "completed" {
		t.Errorf("the next one: %s", got.Raw)
	}
	if list := a.cl.List("").Data.Sessions; len(list) != 1 {
		t.Errorf("the sessions are %+v", list)
	}
}

// TestBackgroundLeft has the client of a stream in the background leave: who repeats the
// key gets all of it.
func TestBackgroundLeft(t *testing.T) {
	for _, options := range []string{"", "on_disconnect cancel"} {
		t.Run(options, func(t *testing.T) {
			up := harness.NewUpstream(t)
			c := harness.Start(t, harness.PlainTenants, up.Sessions(options))
			a := asks{t, harness.NewClient(c, "acme", "ann")}
			ask := func() *harness.Pending {
				body := map[string]any{"model": "fast", "input": "one", "stream": true, "background": true}
				return a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", body, "Idempotency-Key", "k"))
			}
			pending := ask()
			call := up.Call()
			call.Say("part one ")
			id := a.leave(pending, call)
			if again := harness.ReadAll(t, ask().Answer()); !strings.Contains(again, "response.completed") || !strings.Contains(again, id) {
				t.Errorf("again, it is\n%s", again)
			}
		})
	}
}

// TestDeletedAfterFailed deletes a response that goes on from one that has failed: the ones
// before it stay.
func TestDeletedAfterFailed(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	ask := func(input, previous, status string, answer func(*harness.HeldCall)) string {
		body := map[string]any{"input": input, "background": true}
		if previous != "" {
			body["previous_response_id"] = previous
		}
		id := a.create(body).Get("id").Str
		answer(up.Call())
		a.wantStatus("/v1/responses/"+id, status)
		return id
	}
	first := ask("zero", "", "completed", func(c *harness.HeldCall) { c.Answer("re: zero") })
	failed := ask("one", first, "failed", func(c *harness.HeldCall) { c.Fail(500, `{"error":{"message":"x"}}`) })
	last := ask("two", failed, "completed", func(c *harness.HeldCall) { c.Answer("re: two") })
	for _, id := range []string{last, failed} {
		if got := a.status(http.MethodDelete, "/v1/responses/"+id, nil); got != http.StatusOK {
			t.Errorf("DELETE: %d", got)
		}
		a.wantStatus("/v1/responses/"+first, "completed")
	}
	session := a.cl.List("").Data.Sessions[0].SessionID
	harness.WantList(t, "history", harness.Contents(a.cl.History(session)), []string{"user: zero", "assistant: re: zero"})
	a.status(http.MethodDelete, "/v1/responses/"+first, nil)
	if list := a.cl.List("").Data.Sessions; len(list) != 0 {
		t.Errorf("there are still %v", list)
	}
}

// TestWholeConversation goes on from response to response far beyond context_messages and
// context_tokens: the model gets all of the conversation each time, and it begins as it
// did before. Only with truncation "auto" is the beginning left out.
func TestWholeConversation(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions("context_messages 4\n\t\tcontext_tokens 100"))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	ask := func(input, previous string, more map[string]any) (response gjson.Result, asked *harness.HeldCall) {
		t.Helper()
		body := map[string]any{"model": "fast", "input": input}
		if previous != "" {
			body["previous_response_id"] = previous
		}
		maps.Copy(body, more)
		pending := a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", body))
		asked = up.Call()
		asked.Answer("ok")
		return gjson.Parse(harness.ReadAll(t, pending.Answer())), asked
	}
	id, before := "", ""
	for i := range 12 {
		response, asked := ask(fmt.Sprint(i, strings.Repeat("x", 400)), id, map[string]any{"instructions": "be brief"})
		id = response.Get("id").Str
		messages := strings.TrimSuffix(gjson.Get(asked.Body, "messages").Raw, "]")
		if n := len(asked.Messages()); !strings.HasPrefix(messages, before) || n != 2+2*i {
			t.Fatalf("turn %d: the model gets %d messages\n%s\nwant %d that begin with\n%s", i, n, messages, 2+2*i, before)
		}
		before = messages
	}
	last, _ := ask("left behind", id, nil)
	if _, asked := ask("again", id, nil); len(asked.Messages()) != 25 {
		t.Errorf("beside another one, the model gets %d messages, want 25", len(asked.Messages()))
	}
	auto := map[string]any{"truncation": "auto"}
	last, asked := ask("short", last.Get("id").Str, auto)
	if n := len(asked.Messages()); n > 5 || last.Get("truncation").Str != "auto" {
		t.Errorf("truncated, the model gets %d messages, and the response is %s", n, last.Raw)
	}

	large := strings.Repeat("y", 9<<20)
	last, _ = ask(large, last.Get("id").Str, nil)
	id = last.Get("id").Str
	for range 2 {
		resp := a.cl.Do(http.MethodPost, "/v1/responses", map[string]any{"model": "fast", "input": large, "previous_response_id": id})
		if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusBadRequest || gjson.Get(got, "error.param").Str != "truncation" {
			t.Errorf("a conversation that is too large: %d %s", resp.StatusCode, got)
		}
	}
	up.WantNoCall(t)
	if last, asked = ask(large, id, auto); last.Get("status").Str != "completed" || len(asked.Messages()) != 2 {
		t.Errorf("truncated, the model gets %d messages, and the response is %.300s", len(asked.Messages()), last.Raw)
	}
}

// TestInstructions has instructions, which are for one answer, and developer messages among
// the input, which belong to the conversation. What the model gets begins as it did before.
func TestInstructions(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions("system house"))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	developer := func(text string) map[string]any { return map[string]any{"role": "developer", "content": text} }
	user := func(text string) map[string]any { return map[string]any{"role": "user", "content": text} }
	type turn struct {
		instructions string
		input        []any
		want         []string
	}
	for name, turns := range map[string][]turn{
		"developer": {
			{"", []any{developer("be"), developer("brief"), user("1")}, []string{"system: be\n\nbrief", "user: 1"}},
			{"", []any{user("2")}, []string{"system: be\n\nbrief", "user: 1", "assistant: ok", "user: 2"}},
			{"", []any{user("3"), developer("kind"), user("4")}, []string{"system: be\n\nbrief", "user: 1", "assistant: ok", "user: 2", "assistant: ok", "user: 3", "system: kind", "user: 4"}},
			{"", []any{developer("be")}, []string{"system: be\n\nbrief", "user: 1", "assistant: ok", "user: 2", "assistant: ok", "user: 3", "system: kind", "user: 4", "assistant: ok", "system: be"}},
		},
		"both": {
			{"short", []any{developer("be"), user("1")}, []string{"system: short\n\nbe", "user: 1"}},
			{"short", []any{developer("be"), user("2")}, []string{"system: short\n\nbe", "user: 1", "assistant: ok", "system: be", "user: 2"}},
			{"", []any{user("3")}, []string{"system: be", "user: 1", "assistant: ok", "system: be", "user: 2", "assistant: ok", "user: 3"}},
		},
		"instructions": {
			{"short", []any{user("1")}, []string{"system: short", "user: 1"}},
			{"other", []any{user("2")}, []string{"system: other", "user: 1", "assistant: ok", "user: 2"}},
			{"", []any{user("3")}, []string{"system: house", "user: 1", "assistant: ok", "user: 2", "assistant: ok", "user: 3"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			id := ""
			for i, turn := range turns {
				body := map[string]any{"model": "fast", "input": turn.input}
				if turn.instructions != "" {
					body["instructions"] = turn.instructions
				}
				if id != "" {
					body["previous_response_id"] = id
				}
				pending := a.cl.Start(a.cl.Request(http.MethodPost, "/v1/responses", body))
				call := up.Call()
				harness.WantList(t, fmt.Sprint("turn ", i), call.Said(), turn.want)
				call.Answer("ok")
				id = gjson.Get(harness.ReadAll(t, pending.Answer()), "id").Str
			}
			for _, m := range a.cl.History(a.cl.List("").Data.Sessions[0].SessionID) {
				if m.Role == "system" {
					t.Errorf("the history has %+v", m)
				}
			}
		})
	}
}

// TestUnkeptFails has requests that go on from a response and are not kept fail before their
// answer begins: they get the plain error, streamed or not.
func TestUnkeptFails(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, "chat {\ntenant acme {\nbudget 3000 tokens/day\n}\n}", up.Sessions(""))
	a := asks{t, harness.NewClient(c, "acme", "ann")}
	up.Plays(harness.Says(1, 1, "1"))
	id := a.create(map[string]any{"input": "one"}).Get("id").Str
	for name, test := range map[string]struct {
		script harness.Script
		model  string
		input  string
		status int
		code   string
	}{
		"a model that does not exist": {harness.EOF, "nope", "two", http.StatusNotFound, "model_unknown"},
		"a refusal":                   {harness.Refuses(http.StatusBadRequest, "odd"), "fast", "two", http.StatusBadRequest, "odd"},
		"a limit":                     {harness.Refuses(http.StatusTooManyRequests, "rate_limit_exceeded", "Retry-After", "7"), "fast", "two", http.StatusTooManyRequests, "provider_rate_limited"},
		"an error":                    {harness.Refuses(http.StatusInternalServerError, "x"), "fast", "two", http.StatusBadGateway, "ai_error"},
		"a spent budget":              {harness.EOF, "fast", strings.Repeat("two ", 5000), http.StatusTooManyRequests, "budget_exceeded"},
	} {
		for _, stream := range []bool{true, false} {
			up.Plays(test.script)
			resp := a.cl.Do(http.MethodPost, "/v1/responses", map[string]any{
				"model": test.model, "input": test.input, "previous_response_id": id, "store": false, "stream": stream,
			})
			if typ := resp.Header.Get("Content-Type"); typ != "application/json" {
				t.Errorf("%s, streamed %v: the answer is %s", name, stream, typ)
			}
			if limited := test.status == http.StatusTooManyRequests; limited != (resp.Header.Get("Retry-After") != "") {
				t.Errorf("%s, streamed %v: Retry-After %q", name, stream, resp.Header.Get("Retry-After"))
			}
			harness.WantFailure(t, resp, test.status, test.code)
		}
	}
}

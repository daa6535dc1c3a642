package chat

import (
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
	harness.WantFailure(t, ask("two", first, "Idempotency-Key", "k2").Answer(), http.StatusBadRequest, "invalid_request")
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

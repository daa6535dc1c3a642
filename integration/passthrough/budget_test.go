package passthrough

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestStreamBudget has a stream pass through that is longer than its tenant's budget.
func TestStreamBudget(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, "chat {\ntenant acme {\nbudget 500 tokens/day\n}\n}", harness.GatewaySite(up))
	up.Plays(harness.Steps(harness.Heads("Content-Type", "text/event-stream"), func(c *harness.Call) {
		for range 400 {
			c.Send("data: {\"choices\":[{\"text\":\"" + strings.Repeat("word ", 10) + "\"}]}\n\n")
		}
		c.Send("data: [DONE]\n\n")
	}))
	acme := harness.NewClient(c, "acme", "ann")
	got := harness.ReadAll(t, acme.Do(http.MethodPost, "/v1/completions", `{"model":"fast","prompt":"hi","stream":true}`))
	if n := strings.Count(got, "word "); n < 100 || n > 450 {
		t.Errorf("%d words came through a budget of 500 tokens", n)
	}
	if !strings.HasSuffix(got, `"finish_reason":"length","logprobs":null}]}`+"\n\ndata: [DONE]\n\n") {
		t.Errorf("it ends with %q", got[max(0, len(got)-300):])
	}
}

// TestReserved has a request hold what it allows at most, so that there is no room for a
// second one beside it.
func TestReserved(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, "chat {\ntenant acme {\nbudget 500 tokens/day\n}\n}", harness.GatewaySite(up))
	acme := harness.NewClient(c, "acme", "ann")
	const text, chat = "/v1/completions", "/v1/chat/completions"
	for _, tc := range []struct {
		path, members string
		fits          bool
	}{
		{text, `"prompt":"hi","max_tokens":300`, true},
		{text, `"prompt":"hi","max_tokens":600`, false},
		{text, `"prompt":"hi","max_tokens":300,"n":2`, false},
		{text, `"prompt":"hi","max_tokens":300,"best_of":2`, false},
		{text, `"prompt":["hi","ho"],"max_tokens":300`, false},
		{text, `"prompt":[1,2,3,4],"max_tokens":300`, true},
		{text, `"prompt":"hi","max_tokens":1,"MAX_TOKENS":4000`, true},
		{chat, `"messages":[{"role":"user","content":"hi"}],"max_completion_tokens":1,"max_tokens":300`, true},
		{chat, `"messages":[{"role":"user","content":"hi"}],"max_completion_tokens":1,"max_tokens":450`, false},
		{chat, `"messages":[{"role":"user","content":"hi"}],"max_completion_tokens":450,"max_tokens":1`, false},
		// the servers of these know no such limit
		{"/v1/images/generations", `"prompt":"hi","max_tokens":1`, false},
		{"/v1/images/generations", `"prompt":"hi","max_completion_tokens":1`, false},
		{"/v1/audio/speech", `"input":"hi","max_tokens":1`, false},
		{"/v1/moderations", `"input":"hi","max_tokens":600`, true},
		{"/v1/rerank", `"query":"hi","max_tokens":600`, true},
	} {
		first := acme.Start(acme.Request(http.MethodPost, tc.path, `{"model":"fast",`+tc.members+`}`))
		call := up.Call()
		second := acme.Start(acme.Request(http.MethodPost, "/v1/completions", `{"model":"fast","prompt":"hi","max_tokens":100}`))
		if strings.Contains(call.Body, "MAX_TOKENS") {
			t.Errorf("%s was sent %s", tc.path, call.Body)
		}
		if tc.fits {
			up.Call().Fail(http.StatusBadRequest, `{}`)
			harness.ReadAll(t, second.Answer())
		} else {
			harness.WantFailure(t, second.Answer(), http.StatusTooManyRequests, "budget_exceeded")
		}
		call.Fail(http.StatusBadRequest, `{}`)
		harness.ReadAll(t, first.Answer())
	}
}

// TestManyImages has images reserved one by one.
func TestManyImages(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, "chat {\ntenant acme {\nbudget 5000 tokens/day\n}\n}", harness.GatewaySite(up))
	acme := harness.NewClient(c, "acme", "ann")
	many, few := map[string]string{}, map[string]string{}
	for n, m := range map[string]map[string]string{"10": many, "3": few} {
		m["/v1/images/generations"] = `{"model":"fast","prompt":"hi","n":` + n + `}`
		m["/v1/images/edits"] = n
		m["/v1/images/variations"] = n
	}
	start := func(path, body string) *harness.Pending {
		if len(body) > 2 {
			return acme.Start(acme.Request(http.MethodPost, path, body))
		}
		contentType, form := aForm("model", "fast", "N", body, "n", "1")
		return acme.Start(acme.Request(http.MethodPost, path, bytes.NewReader(form), "Content-Type", contentType))
	}
	second := `{"model":"fast","prompt":"hi","max_tokens":700}`
	for path, body := range many {
		first := start(path, body)
		call := up.Call()
		harness.WantFailure(t, acme.Do(http.MethodPost, "/v1/completions", second), http.StatusTooManyRequests, "budget_exceeded")
		call.Fail(http.StatusBadRequest, `{}`)
		harness.ReadAll(t, first.Answer())
		first = start(path, few[path])
		call = up.Call()
		beside := acme.Start(acme.Request(http.MethodPost, "/v1/completions", `{"model":"fast","prompt":"hi"}`))
		up.Call().Fail(http.StatusBadRequest, `{}`)
		harness.ReadAll(t, beside.Answer())
		call.Fail(http.StatusBadRequest, `{}`)
		harness.ReadAll(t, first.Answer())
	}
}

// TestMultipliers has what multiplies an answer be a number, so that it can be counted.
func TestMultipliers(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, tenants, harness.GatewaySite(up))
	globex := harness.NewClient(c, "globex", "ann")
	for _, tc := range []struct{ path, members, param string }{
		{"/v1/completions", `"n":"100"`, "n"},
		{"/v1/completions", `"n":0`, "n"},
		{"/v1/completions", `"n":1.5`, "n"},
		{"/v1/completions", `"n":1e18`, "n"},
		{"/v1/completions", `"best_of":[2]`, "best_of"},
		{"/v1/completions", `"max_tokens":"4000"`, "max_tokens"},
		{"/v1/completions", `"max_tokens":-1`, "max_tokens"},
		{"/v1/images/generations", `"n":"10"`, "n"},
	} {
		resp := globex.Do(http.MethodPost, tc.path, `{"model":"fast","prompt":"hi",`+tc.members+`}`)
		if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusBadRequest || !strings.Contains(got, `"param":"`+tc.param+`"`) {
			t.Errorf("%s %s: %d %s", tc.path, tc.members, resp.StatusCode, got)
		}
	}
	contentType, form := aForm("model", "fast", "n", "many")
	resp := globex.Do(http.MethodPost, "/v1/images/edits", bytes.NewReader(form), "Content-Type", contentType)
	if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusBadRequest || !strings.Contains(got, `"param":"n"`) {
		t.Errorf("a form: %d %s", resp.StatusCode, got)
	}
	if n := up.Count(); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
}

package chat

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// proxied is chat_session in front of a plain reverse_proxy to the upstream.
func proxied(s *harness.Upstream) string {
	return fmt.Sprintf("tenant_resolve\nchat_session\nreverse_proxy %s\n", strings.TrimSuffix(s.URL, "/v1"))
}

// TestUncountedBehindSession has a plain server that counts no tokens: those of its documents
// are estimated, and marked so.
func TestUncountedBehindSession(t *testing.T) {
	for name, usage := range map[string]string{"none": `"x":1`, "zero": `"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}`} {
		up := harness.NewUpstream(t, harness.Document(http.StatusOK, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello, you"},"finish_reason":"stop"}],`+usage+`}`))
		cl := harness.NewClient(harness.Start(t, harness.PlainTenants, proxied(up)), "acme", "ann")
		for path, body := range map[string]string{
			"/v1/messages":  `{"model":"fast","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`,
			"/v1/responses": `{"model":"fast","input":"hi"}`,
		} {
			got := harness.ReadAll(t, cl.Do(http.MethodPost, path, body, "X-Session-Id", harness.NewSession()))
			if u := gjson.Get(got, "usage"); u.Get("input_tokens").Int() < 1 || u.Get("output_tokens").Int() != 3 || !u.Get("estimated").Bool() {
				t.Errorf("%s, %s: the usage is %s", path, name, u.Raw)
			}
		}
	}
}

// TestReverseProxyBehindSession checks that turns end as they do in front of
// ai_gateway, although reverse_proxy panics when its upstream breaks off.
func TestReverseProxyBehindSession(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, proxied(up))
	ann := harness.NewClient(c, "acme", "ann")

	// begin starts a stream and reads its first words.
	begin := func(session string) (*harness.HeldCall, *eventsOf) {
		a := ann.Ask(session, "hello")
		call := up.Call()
		call.Say("part one")
		e := a.Events()
		e.Text("part one")
		return call, &eventsOf{e.Rest}
	}

	t.Run("a cut answer is kept as partial", func(t *testing.T) {
		session := harness.NewSession()
		call, e := begin(session)
		call.Cut()
		end := e.rest()
		if end.Failed == nil || end.Failed.Code != "ai_error" || end.Done == nil || end.Done.FinishReason != "error" {
			t.Errorf("ended with %+v", end.Events)
		}
		ann.WantLast(session, "part one", "partial")
	})

	t.Run("a cancelled answer is kept as partial", func(t *testing.T) {
		session := harness.NewSession()
		call, e := begin(session)
		ann.Do(http.MethodPost, "/chat/"+session+"/cancel", nil).Body.Close()
		end := e.rest()
		if end.Failed != nil || end.Done == nil || end.Done.FinishReason != "cancelled" {
			t.Errorf("ended with %+v", end.Events)
		}
		call.WantGone()
		ann.WantLast(session, "part one", "partial")
	})

	t.Run("a shutdown ends the stream", func(t *testing.T) {
		session := harness.NewSession()
		_, e := begin(session)
		c.Signal(syscall.SIGTERM)
		end := e.rest()
		if end.Failed == nil || end.Failed.Code != "ai_unavailable" || end.Done == nil || end.Done.FinishReason != "error" {
			t.Errorf("ended with %+v", end.Events)
		}
		<-c.Exit
		c.Restart()
		ann.WantLast(session, "part one", "partial")
	})
}

type eventsOf struct{ rest func() harness.Answered }

// TestVerdictsBehindReverseProxy has answers of a plain server that only look whole,
// and one that does not end.
func TestVerdictsBehindReverseProxy(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, proxied(up))
	ann := harness.NewClient(c, "acme", "ann")
	finish := func(reason string) string {
		return `{"choices":[{"index":0,"delta":{},"finish_reason":"` + reason + `"}]}`
	}

	for name, event := range map[string]string{
		"finish reason error":        finish("error"),
		"finish reason abort":        finish("abort"),
		"an error in a choice":       `{"choices":[{"index":0,"delta":{},"finish_reason":"stop","error":{"message":"x"}}]}`,
		"an event that is not whole": `{"choices":[{"index":0,"delta":{"content":"lo`,
	} {
		t.Run(name, func(t *testing.T) {
			session := harness.NewSession()
			up.Plays(harness.Sends(harness.Content("Hel"), "data: "+event+"\n\n", harness.EndMark))
			harness.WantCutTurn(t, ann, session, ann.Say(session, "hi"), "Hel", "ai_error")
		})
	}
	for name, script := range map[string]harness.Script{
		"an end mark alone":            harness.Sends(harness.EndMark),
		"only a role":                  harness.Sends(harness.Role, harness.EndMark),
		"a document without a choice":  harness.Document(http.StatusOK, `{"choices":[],"usage":{"prompt_tokens":1}}`),
		"a document that failed":       harness.Document(http.StatusOK, `{"choices":[{"index":0,"message":{"content":""},"finish_reason":"error"}]}`),
		"a document with more choices": harness.Document(http.StatusOK, `{"choices":[{"index":0,"message":{"content":"a"}},{"index":1,"message":{"content":"b"}}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			session := harness.NewSession()
			up.Plays(script)
			for _, stream := range []bool{true, false} {
				resp := ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hi", Stream: &stream})
				if stream && resp.Header.Get("Content-Type") == "text/event-stream" {
					end := harness.ReadEvents(t, resp).Rest()
					if end.Failed == nil || end.Failed.Code != "ai_error" || end.Done == nil || end.Done.FinishReason != "error" {
						t.Errorf("ended with %+v", end.Events)
					}
					continue
				}
				harness.WantFailure(t, resp, http.StatusBadGateway, "ai_error")
			}
			for _, m := range ann.History(session) {
				if m.Role == "assistant" {
					t.Errorf("stored %+v", m)
				}
			}
		})
	}
	t.Run("a finished stream that does not end is ended", func(t *testing.T) {
		up.Plays()
		session := harness.NewSession()
		a := ann.Ask(session, "hi")
		call := up.Call()
		call.Send(harness.Content("Hello"), harness.Finished)
		call.WantGone()
		if end := a.Events().Rest(); end.Text != "Hello" || end.Failed != nil || end.Done == nil || end.Done.FinishReason != "stop" {
			t.Errorf("ended with %+v", end.Events)
		}
		ann.WantLast(session, "Hello", "complete")

		session = harness.NewSession()
		pending := ann.Start(ann.Request(http.MethodPost, harness.CompletionsPath, harness.NewQuestion("fast").Streamed(), "X-Session-Id", session))
		call = up.Call()
		call.Send(harness.Content("Hello"), harness.Finished)
		call.WantGone()
		v1 := harness.ReadCompletion(t, pending.Answer())
		v1.WantWhole(t, "Hello")
		ann.WantLast(session, "Hello", "complete")
	})
}

// TestRefusedStreamOptions has a plain server refuse stream_options, which the client
// of /chat has not sent.
func TestRefusedStreamOptions(t *testing.T) {
	const reason = `{"error":{"message":"Unrecognized request argument supplied: stream_options","type":"invalid_request_error","code":400}}`
	for name, refusal := range map[string]harness.Script{
		"by status":     harness.Document(http.StatusBadRequest, reason),
		"in the stream": harness.Sends("data: " + reason + "\n\n"),
	} {
		t.Run(name, func(t *testing.T) {
			refuses := func(answer harness.Script) harness.Script {
				return func(c *harness.Call) {
					if c.Get("stream_options").Exists() {
						refusal(c)
						return
					}
					answer(c)
				}
			}
			up := harness.NewUpstream(t, refuses(harness.Document(http.StatusBadRequest, `{"error":{"message":"bad"}}`)))
			ann := harness.NewClient(harness.Start(t, harness.PlainTenants, proxied(up)), "acme", "ann")
			harness.WantFailure(t, ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"}), http.StatusBadRequest, "invalid_request")

			up.Plays(refuses(harness.Sends(harness.Content("Hello"), harness.Finished, harness.EndMark)))
			for _, calls := range []int{2, 1} { // only a turn that then succeeds is remembered
				before := up.Count()
				session := harness.NewSession()
				if end := ann.Say(session, "hi"); end.Text != "Hello" || end.Failed != nil || end.Done == nil || !end.Done.Usage.Estimated {
					t.Errorf("ended with %+v", end.Events)
				}
				if n := up.Count() - before; n != calls {
					t.Errorf("%d calls, want %d", n, calls)
				}
				ann.WantLast(session, "Hello", "complete")
			}
		})
	}
}

// TestLongDocument has an answer that is too long to be stored.
func TestLongDocument(t *testing.T) {
	up := harness.NewUpstream(t, harness.Says(1, 1, strings.Repeat("x", 2<<20+1)))
	for name, site := range map[string]string{"ai_gateway": "tenant_resolve\nchat_session\n" + up.Gateway(), "reverse_proxy": proxied(up)} {
		t.Run(name, func(t *testing.T) {
			ann := harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")
			resp := ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", Stream: new(false)})
			body := harness.ReadAll(t, resp)
			if resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, `"ai_error"`) || !strings.Contains(body, "longer than 2 MiB") {
				t.Errorf("status %d: %.300s", resp.StatusCode, body)
			}
		})
	}
}

// TestRunawayUpstream has an upstream that never stops. It must not fill the
// memory, and what it sent up to the limit is kept.
func TestRunawayUpstream(t *testing.T) {
	const piece = 64 << 10
	gone := make(chan struct{})
	up := harness.NewUpstream(t, func(c *harness.Call) {
		for c.R.Context().Err() == nil {
			c.Send(harness.Content(strings.Repeat("x", piece)))
		}
		close(gone)
	})
	c := harness.Start(t, harness.PlainTenants, fmt.Sprintf("tenant_resolve\nchat_ratelimit\nchat_session\nai_gateway {\n\tprovider openai {\n\t\tbase_url %s\n\t}\n}\n", up.URL))
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()

	resp := ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hello", ModelID: "m"})
	end := harness.ReadEvents(t, resp).Rest()
	if end.Done == nil || end.Failed == nil || end.Failed.Code != "ai_error" {
		t.Fatalf("the stream did not end with an error, after %d bytes", len(end.Text))
	}
	<-gone
	ann.WantLast(session, end.Text, "partial")
}

// TestConnectionHeaderDropsNothing checks that a client cannot make
// reverse_proxy drop the chain's headers by naming them in Connection.
func TestConnectionHeaderDropsNothing(t *testing.T) {
	app := harness.NewUpstream(t, harness.EOF)
	c := harness.Start(t, harness.PlainTenants, "tenant_resolve\nreverse_proxy "+app.Origin())
	resp := harness.NewClient(c, "acme", "ann").Do(http.MethodGet, "/", nil, "Connection", "X-Tenant-Id, x-user-id, X-Trace-Id")
	harness.ReadAll(t, resp)
	h := app.Last().Header
	for name, want := range map[string]string{"X-Tenant-Id": "acme", "X-User-Id": "ann", "X-Trace-Id": resp.Header.Get("X-Trace-Id")} {
		if h.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, h.Get(name), want)
		}
	}
}

// TestHandlersTwice has handlers twice in a chain.
func TestHandlersTwice(t *testing.T) {
	c := harness.Start(t, `
	chat {
		tenant acme {
			api_key {env.ACME_KEY}
			requests 5 1h
			concurrent 1
		}
	}
`, `
	route {
		tenant_resolve
		tenant_resolve
		chat_ratelimit
		chat_ratelimit {
			requests 100 1h per tenant
		}
		respond ok
	}
`, "ACME_KEY=acme-secret")
	acme := harness.NewClient(c, "", "ann")
	acme.Key = "acme-secret"
	for want := 4; want >= 0; want-- {
		resp := acme.Do(http.MethodGet, "/", nil)
		if body := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", resp.StatusCode, body)
		}
	}
	harness.WantFailure(t, acme.Do(http.MethodGet, "/", nil), 429, "rate_limited")
}

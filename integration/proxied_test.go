package integration

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// proxied is chat_session in front of a plain reverse_proxy to the upstream.
func (s *steered) proxied() string {
	return fmt.Sprintf("tenant_resolve\nchat_session\nreverse_proxy %s\n", strings.TrimSuffix(s.url, "/v1"))
}

// reverse_proxy panics when its upstream breaks off, so that a broken answer
// looks broken. The turn must end as it does behind ai_gateway all the same.
func TestReverseProxyBehindSession(t *testing.T) {
	up := newSteered(t)
	c := startCaddy(t, plainTenants, up.proxied())
	ann := newClient(c, "acme", "ann")

	// begin is a stream that has got as far as its first words.
	begin := func(session string) (*upstreamCall, *eventsOf) {
		a := ann.ask(session, "hello")
		call := up.call()
		call.say("part one")
		e := a.events()
		e.text("part one")
		return call, &eventsOf{e.rest}
	}

	t.Run("a cut answer is kept as partial", func(t *testing.T) {
		session := newSession()
		call, e := begin(session)
		call.cut()
		end := e.rest()
		if end.failed == nil || end.failed.Code != "ai_error" || end.done == nil || end.done.FinishReason != "error" {
			t.Errorf("ended with %+v", end.events)
		}
		ann.wantLast(session, "part one", "partial")
	})

	t.Run("a cancelled answer is kept as partial", func(t *testing.T) {
		session := newSession()
		call, e := begin(session)
		ann.do(http.MethodPost, "/chat/"+session+"/cancel", nil).Body.Close()
		end := e.rest()
		if end.failed != nil || end.done == nil || end.done.FinishReason != "cancelled" {
			t.Errorf("ended with %+v", end.events)
		}
		call.wantGone()
		ann.wantLast(session, "part one", "partial")
	})

	t.Run("the end of the process ends the stream", func(t *testing.T) {
		session := newSession()
		_, e := begin(session)
		c.signal(syscall.SIGTERM)
		end := e.rest()
		if end.failed == nil || end.failed.Code != "ai_unavailable" || end.done == nil || end.done.FinishReason != "error" {
			t.Errorf("ended with %+v", end.events)
		}
		<-c.exit
		c.restart()
		ann.wantLast(session, "part one", "partial")
	})
}

type eventsOf struct{ rest func() answered }

// An upstream that never stops talking must not fill the memory, and what it
// said up to the limit is kept.
func TestRunawayUpstream(t *testing.T) {
	const piece = 64 << 10
	gone := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		text := make([]byte, piece)
		for i := range text {
			text[i] = 'x'
		}
		for {
			_, err := fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"}}]}\n\n", text)
			if err == nil {
				err = http.NewResponseController(w).Flush()
			}
			if err != nil {
				close(gone)
				return
			}
		}
	}))
	defer srv.Close()
	c := startCaddy(t, plainTenants, fmt.Sprintf("tenant_resolve\nchat_ratelimit\nchat_session\nai_gateway {\n\tprovider openai {\n\t\tbase_url %s\n\t}\n}\n", srv.URL))
	ann := newClient(c, "acme", "ann")
	session := newSession()

	resp := ann.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "hello", ModelID: "m"})
	end := readEvents(t, resp).rest()
	if end.done == nil || end.failed == nil || end.failed.Code != "ai_error" {
		t.Fatalf("the stream did not end with an error, after %d bytes", len(end.text))
	}
	<-gone
	ann.wantLast(session, end.text, "partial")
}

// A client cannot have the next proxy drop what the chain tells it.
func TestConnectionHeaderDropsNothing(t *testing.T) {
	got := make(chan http.Header, 1)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	defer app.Close()
	c := startCaddy(t, plainTenants, "tenant_resolve\nreverse_proxy "+app.URL)
	resp := newClient(c, "acme", "ann").do(http.MethodGet, "/", nil, "Connection", "X-Tenant-Id, x-user-id, X-Trace-Id")
	readAll(t, resp)
	h := <-got
	for name, want := range map[string]string{"X-Tenant-Id": "acme", "X-User-Id": "ann", "X-Trace-Id": resp.Header.Get("X-Trace-Id")} {
		if h.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, h.Get(name), want)
		}
	}
}

// A handler may stand twice in a chain.
func TestHandlersTwice(t *testing.T) {
	c := startCaddy(t, `
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
	acme := newClient(c, "", "ann")
	acme.key = "acme-secret"
	for want := 4; want >= 0; want-- {
		resp := acme.do(http.MethodGet, "/", nil)
		if body := readAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", resp.StatusCode, body)
		}
	}
	wantFailure(t, acme.do(http.MethodGet, "/", nil), 429, "rate_limited")
}

package idempotency

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestKey checks which keys are valid, and whom they belong to.
func TestKey(t *testing.T) { onSites(t, "", testKey) }

func testKey(s *site) {
	s.run("is one to 255 visible characters", func(s *site) {
		q := s.request("", "bad", false)
		for _, key := range []string{"", "a b", "a\tb", "ü", "schlüssel", strings.Repeat("k", 256)} {
			q.key = key
			a := s.ask(q).whole()
			s.wantRefused(a, http.StatusBadRequest, "invalid_request")
			if !strings.HasPrefix(a.message, headerKey+": ") || s.kind != "chat" && a.param != headerKey {
				s.t.Errorf("%q: %q, param %q", key, a.message, a.param)
			}
		}
		req := s.build(s.ann, q)
		req.Header[headerKey] = []string{"one", "two"}
		harness.WantFailure(s.t, s.ann.Start(req).Answer(), http.StatusBadRequest, "invalid_request")
		if s.sessions() {
			harness.WantFailure(s.t, s.ann.Do(http.MethodGet, "/chat/"+q.session+"/history", nil), http.StatusNotFound, "session_not_found")
		}
		for i, key := range []string{"!", "!~", `"quoted"`, strings.Repeat("~", 255)} {
			a := s.ask(s.request(key, fmt.Sprint("good ", i), false))
			s.up.Call().Answer("ok")
			s.wantText(a.whole(), "ok")
		}
	})

	s.run("belongs to its tenant and user", func(s *site) {
		q := s.request("mine", "", true)
		clients := []*harness.Client{s.ann, harness.NewClient(s.c, "acme", "bob"), harness.NewClient(s.c, "acme", ""), harness.NewClient(s.c, "globex", "ann")}
		for i, cl := range clients {
			q.text = fmt.Sprint("mine ", i)
			a := s.askAs(cl, q)
			s.up.Call().Answer(fmt.Sprint("for ", i))
			s.wantText(a.whole(), fmt.Sprint("for ", i))
		}
		for i, cl := range clients {
			q.text = fmt.Sprint("mine ", i)
			s.wantText(s.askAs(cl, q).whole(), fmt.Sprint("for ", i))
		}
	})

	if s.handler != "proxy" && s.kind != "chat" {
		s.run("stays free when a request is refused before any call", func(s *site) {
			req := s.ann.Request(http.MethodPost, harness.CompletionsPath, harness.NewQuestion("unknown"), headerKey, "refused")
			harness.WantFailure(s.t, s.ann.Start(req).Answer(), http.StatusNotFound, "model_unknown")
			a := s.ask(s.request("refused", "goes", false))
			s.up.Call().Answer("gone")
			s.wantText(a.whole(), "gone")
		})
	}

	if !s.sessions() {
		return
	}
	s.run("stays free while the session is busy", func(s *site) {
		one := s.request("busy-1", "one", true)
		two := one
		two.key, two.text = "busy-2", "two"
		a := s.ask(one)
		call := s.up.Call()
		for range 2 {
			s.wantRefused(s.ask(two).whole(), http.StatusConflict, "session_busy")
		}
		call.Answer("1")
		a.whole()
		b := s.ask(two)
		call = s.up.Call()
		// Another turn of the session does not disturb an answer.
		s.wantText(s.ask(one).whole(), "1")
		call.Answer("2")
		s.wantText(b.whole(), "2")
	})

	s.run("is free again once its answer is deleted", func(s *site) {
		q := s.request("deleted", "delete me", true).with("Cache-Control", "no-cache")
		for i := range 2 {
			a := s.ask(q)
			s.up.Call().Answer(fmt.Sprint("secret ", i))
			s.wantText(a.whole(), fmt.Sprint("secret ", i))
			s.ann.Do(http.MethodDelete, "/chat/"+q.session, nil).Body.Close()
		}
	})
}

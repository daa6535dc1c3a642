package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// crossOriginSite has the API of a tenant with a key, and under /page an empty page
// for each of the host names that a browser finds on this machine.
const crossOriginSite = `
	http://:{$PORT} {
		@chat path /chat /chat/* /v1/*
		tenant_resolve @chat
		chat_ratelimit @chat {
			requests 100 1m
		}
		chat_session
		%s
		header /page Content-Type text/html
		respond /page "<!doctype html><title>page</title>"
	}
`

// call makes a request of the page and keeps what it learns in window.seen.
const call = `(method, path, headers, body) => {
	window.seen = {text: ""};
	(async () => {
		try {
			const answer = await fetch(%q + path, {method, headers, body});
			Object.assign(window.seen, {status: answer.status, headers: Object.fromEntries(answer.headers)});
			const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
			for (let part; reader && !(part = await reader.read()).done;) window.seen.text += part.value;
			window.seen.done = true;
		} catch (e) {
			window.seen.failed = e.name;
		}
	})();
	return true;
}`

// seen is what a page has learnt of an answer.
type seen struct {
	Status  int
	Headers map[string]string
	Text    string
	Done    bool
	Failed  string
}

func TestCrossOrigin(t *testing.T) {
	chromium := startChromium(t)
	up := harness.NewUpstream(t)
	c := harness.StartSites(t, `
		chat {
			tenant acme {
				api_key acme-key
				allow_origin http://*.localhost:{$PORT}
			}
			tenant globex {
				api_key globex-key
			}
		}`, fmt.Sprintf(crossOriginSite, up.Gateway()))
	page := func(t testing.TB, host string) *tab {
		p := newTab(t, chromium)
		p.do(chromedp.Navigate(strings.Replace(c.URL, "127.0.0.1", host, 1) + "/page"))
		return p
	}
	begin := func(p *tab, method, path, key string, body string) {
		p.t.Helper()
		sent := "undefined"
		if body != "" {
			sent = fmt.Sprintf("%q", body)
		}
		evaluate[bool](p, fmt.Sprintf(`(%s)(%q, %q, {"Authorization": "Bearer " + %q, "Content-Type": "application/json", "X-Stainless-Lang": "js"}, %s)`,
			fmt.Sprintf(call, c.URL), method, path, key, sent))
	}
	ended := func(p *tab) seen {
		p.t.Helper()
		p.waitFor("window.seen.done || window.seen.failed")
		return evaluate[seen](p, "window.seen")
	}
	question := fmt.Sprintf(`{"sessionId":%q,"message":"hi"}`, harness.NewSession())

	t.Run("a_page_of_the_tenant_reads_a_stream_as_it_comes", func(t *testing.T) {
		p := page(t, "app.localhost")
		begin(p, "POST", "/chat", "acme-key", question)
		held := up.Call()
		held.Say("some")
		p.waitFor(`window.seen.text.includes("some")`)
		if s := evaluate[seen](p, "window.seen"); s.Done || s.Status != 200 {
			t.Errorf("before the end: %+v", s)
		}
		held.Finish("stop")
		s := ended(p)
		if !s.Done || !strings.Contains(s.Text, "event: done") || s.Headers["x-trace-id"] == "" || s.Headers["x-ratelimit-remaining"] != "99" || s.Headers["x-tenant-id"] != "acme" {
			t.Errorf("got %+v", s)
		}
	})

	t.Run("it_reads_failures_and_uses_other_methods", func(t *testing.T) {
		p := page(t, "app.localhost")
		for _, tt := range []struct {
			method, path, key, code string
			status                  int
		}{
			{"GET", "/chat", "guessed", "invalid_api_key", 401},
			{"DELETE", "/chat/" + harness.NewSession(), "acme-key", "session_not_found", 404},
			{"PUT", "/chat", "acme-key", "method_not_allowed", 405},
			{"GET", "/v1/models", "acme-key", "", 200},
		} {
			begin(p, tt.method, tt.path, tt.key, "")
			if s := ended(p); s.Status != tt.status || !strings.Contains(s.Text, tt.code) || s.Headers["x-trace-id"] == "" {
				t.Errorf("%s %s: %+v", tt.method, tt.path, s)
			}
		}
	})

	t.Run("it_cannot_read_another_tenant's_answer", func(t *testing.T) {
		p := page(t, "app.localhost")
		begin(p, "GET", "/chat", "globex-key", "")
		if s := ended(p); s.Failed != "TypeError" || s.Status != 0 {
			t.Errorf("got %+v", s)
		}
	})

	t.Run("a_page_of_another_origin_cannot_ask", func(t *testing.T) {
		p := page(t, "localhost") // the wildcard does not stand for no label
		begin(p, "POST", "/chat", "acme-key", question)
		if s := ended(p); s.Failed != "TypeError" || s.Status != 0 {
			t.Errorf("got %+v", s)
		}
		up.WantNoCall(t)
	})
}

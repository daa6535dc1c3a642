package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// site is the quickstart with a scripted upstream in place of echo, and with a short
// keep_alive, so that the page soon notices a dead connection.
type site struct {
	*harness.Caddy
	up       *harness.Upstream
	chromium context.Context
}

func startSite(t *testing.T) *site {
	s := &site{up: harness.NewUpstream(t), chromium: startChromium(t)}
	s.Caddy = harness.StartExample(t, "quickstart",
		"chat_session\n", "chat_session {\n\t\tkeep_alive 1s\n\t}\n",
		"ai_gateway echo {\n\t\thealth_path /health\n\t}", strings.TrimSpace(s.up.Gateway()),
		"requests 30 1m", "requests 2 1h")
	index := filepath.Join(s.Dir, "site", "index.html")
	html, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	short := strings.Replace(string(html), `data-keep-alive="15"`, `data-keep-alive="1"`, 1)
	if short == string(html) {
		t.Fatal("the page has no data-keep-alive")
	}
	if err := os.WriteFile(index, []byte(short), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// visit opens the page as a new visitor.
func (s *site) visit(t testing.TB) *tab {
	p := newTab(t, s.chromium)
	p.open(s.Caddy)
	return p
}

// visitBy opens the page as a new visitor, over a relay.
func (s *site) visitBy(t testing.TB) (*tab, *relay) {
	r := newRelay(t, s.Caddy)
	p := newTab(t, s.chromium)
	p.do(chromedp.Navigate(r.url()))
	p.waitUntilReady()
	return p, r
}

// client makes requests as the visitor, and session is the chat on the page.
func (s *site) client(p *tab) (cl *harness.Client, session string) {
	p.t.Helper()
	who := evaluate[[]string](p, `[localStorage["chat.user"], localStorage["chat.session.acme"]]`)
	cl = harness.NewClient(s.Caddy, "acme", who[0])
	cl.T = p.t
	return cl, who[1]
}

// waitForMessages waits until the page shows exactly these messages, as role: text,
// the last one in this state.
func (p *tab) waitForMessages(state string, want ...string) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf(`[...document.querySelectorAll('[data-testid="message"]:not([hidden])')].map((m) =>
		m.dataset.role + ": " + m.querySelector(".text").textContent).join("|") === %q &&
		[...document.querySelectorAll('[data-testid="message"]')].at(-1).dataset.state === %q`, strings.Join(want, "|"), state))
}

func (p *tab) waitForMessageCount(n int) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf(`document.querySelectorAll('[data-testid="message"]').length === %d`, n))
}

func (p *tab) lastState() string {
	p.t.Helper()
	all := p.messages()
	return all[len(all)-1].State
}

// deleteFirst deletes the first chat of the list.
func (p *tab) deleteFirst() {
	p.t.Helper()
	for range 2 {
		evaluate[bool](p, `document.querySelector('[data-testid="sessions"] .delete').click(), true`)
	}
}

// reloads loads the page again, without waiting until it accepts messages.
var reloads = chromedp.Reload()

func (p *tab) waitForComposer(text string) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf(`document.querySelector('[data-testid="composer"]').value === %q`, text))
}

func (p *tab) wantStored(cl *harness.Client, session string, want ...string) {
	p.t.Helper()
	harness.WantList(p.t, "the history", harness.Contents(cl.History(session)), want)
}

func TestResume(t *testing.T) {
	s := startSite(t)

	t.Run("a_tab_that_is_opened_again_shows_the_whole_answer", func(t *testing.T) {
		before := s.up.Count()
		visitor := newTab(t, s.chromium)
		p := visitor.another()
		p.open(s.Caddy)
		p.say("question")
		call := s.up.Call()
		call.Say("one ")
		p.waitForMessages("streaming", "user: question", "assistant: one ")
		p.close()
		call.Say("two ")

		p = visitor.another()
		p.open(s.Caddy)
		p.waitForMessages("streaming", "user: question", "assistant: one two ")
		call.Say("three")
		call.Finish("stop")
		p.waitForMessages("complete", "user: question", "assistant: one two three")
		if n := s.up.Count() - before; n != 1 {
			t.Errorf("%d upstream calls", n)
		}
	})

	t.Run("a_network_that_comes_back", func(t *testing.T) {
		before := s.up.Count()
		p, r := s.visitBy(t)
		p.say("question")
		call := s.up.Call()
		call.Say("one ")
		p.waitForMessages("streaming", "user: question", "assistant: one ")
		p.offline(true) // new requests fail
		r.sever()
		p.waitForNotice("The connection was lost.")
		call.Say("two ")
		p.offline(false)
		p.waitForMessages("streaming", "user: question", "assistant: one two ")
		call.Say("three")
		call.Finish("stop")
		p.waitForMessages("complete", "user: question", "assistant: one two three")
		p.waitFor(`document.querySelector('[data-testid="notice"]').hidden`)
		if n := s.up.Count() - before; n != 1 {
			t.Errorf("%d upstream calls", n)
		}
	})

	t.Run("a_network_that_comes_back_after_the_answer", func(t *testing.T) {
		p, r := s.visitBy(t)
		p.say("question")
		call := s.up.Call()
		call.Say("one ")
		p.waitForMessages("streaming", "user: question", "assistant: one ")
		p.offline(true) // new requests fail
		r.sever()
		p.waitForNotice("The connection was lost.")
		call.Say("two")
		call.Finish("stop")
		cl, session := s.client(p)
		cl.WantLast(session, "one two", "complete")
		p.offline(false)
		p.waitForMessages("complete", "user: question", "assistant: one two")
	})

	t.Run("a_dead_connection_is_noticed", func(t *testing.T) {
		before := s.up.Count()
		p, r := s.visitBy(t)
		p.say("question")
		call := s.up.Call()
		call.Say("one ")
		p.waitForMessages("streaming", "user: question", "assistant: one ")
		r.lose(everything)
		call.Say("two ")
		p.waitForNotice("The connection was lost.")
		r.recover()
		r.sever() // the idle ones, each of which the page would try
		p.waitForMessages("streaming", "user: question", "assistant: one two ")
		call.Say("three")
		call.Finish("stop")
		p.waitForMessages("complete", "user: question", "assistant: one two three")
		if n := s.up.Count() - before; n != 1 {
			t.Errorf("%d upstream calls", n)
		}
	})

	t.Run("a_network_that_is_gone_for_ten_seconds", func(t *testing.T) {
		before := s.up.Count()
		p, r := s.visitBy(t)
		p.say("question")
		call := s.up.Call()
		want := "begun "
		call.Say(want)
		p.waitForMessages("streaming", "user: question", "assistant: "+want)
		r.lose(everything) // the browser gets no notice
		for second := range 10 {
			word := fmt.Sprint(second, " ")
			call.Say(word)
			want += word
			p.waitFor(fmt.Sprintf(`(window.cut ??= performance.now()) + %d < performance.now()`, 1000*(second+1)))
		}
		r.recover()
		r.sever()
		p.waitForMessages("streaming", "user: question", "assistant: "+want)
		call.Say("ended")
		call.Finish("stop")
		p.waitForMessages("complete", "user: question", "assistant: "+want+"ended")
		if n := s.up.Count() - before; n != 1 {
			t.Errorf("%d upstream calls", n)
		}
	})

	t.Run("a_silent_model_keeps_its_connection", func(t *testing.T) {
		p := s.visit(t)
		evaluate[bool](p, countRequests)
		p.say("question")
		call := s.up.Call()
		// the page would count a connection as dead after two and a half of these
		p.waitFor(`performance.now() - window.began > 4000`)
		call.Say("at last")
		call.Finish("stop")
		p.waitForMessages("complete", "user: question", "assistant: at last")
	})

	t.Run("a_message_whose_answer_was_lost_is_found", func(t *testing.T) {
		before := s.up.Count()
		p, r := s.visitBy(t)
		r.lose(answers)
		p.say("question")
		call := s.up.Call()
		p.waitForNotice("The server cannot be reached.")
		p.waitForComposer("question")
		r.recover()
		r.sever() // the idle ones, each of which the page would try
		call.Say("one ")
		p.waitForMessages("streaming", "user: question", "assistant: one ")
		p.waitForComposer("")
		call.Say("two")
		call.Finish("stop")
		p.waitForMessages("complete", "user: question", "assistant: one two")
		if n := s.up.Count() - before; n != 1 {
			t.Errorf("%d upstream calls", n)
		}
	})

	t.Run("every_message_has_a_key_of_its_own", func(t *testing.T) {
		p := s.visit(t)
		evaluate[bool](p, countRequests)
		for i, m := range []string{"same", "same"} {
			p.say(m)
			s.up.Call().Answer("answer")
			p.waitFor(fmt.Sprintf(`document.querySelectorAll('[data-testid="message"][data-state="complete"]').length === %d`, 2*i+2))
		}
		keys := evaluate[[]string](p, `window.requests.filter((r) => r.method === "POST").map((r) => r.headers["Idempotency-Key"] ?? "")`)
		if len(keys) != 2 || keys[0] == "" || keys[1] == "" || keys[0] == keys[1] {
			t.Errorf("got %q", keys)
		}
	})

	t.Run("a_killed_server_answers_once_more", func(t *testing.T) {
		p := s.visit(t)
		p.say("question")
		call := s.up.Call()
		call.Say("half")
		p.waitForMessages("streaming", "user: question", "assistant: half")
		s.Kill()
		p.waitForNotice("The connection was lost.")
		s.Restart()
		call = s.up.Call()
		harness.WantList(t, "what the model gets", call.Said(), []string{"system: You are Acme's assistant.", "user: question"})
		call.Say("whole")
		call.Finish("stop")
		p.waitForMessages("complete", "user: question", "assistant: whole")
		cl, session := s.client(p)
		p.wantStored(cl, session, "user: question", "assistant: whole")
	})
}

// countRequests records the requests of a page in window.requests, and when it began.
const countRequests = `
	window.requests = [];
	window.began = performance.now();
	window.fetched = window.fetch;
	window.fetch = (path, options) => {
		window.requests.push({ path, method: options.method, headers: options.headers });
		return window.fetched(path, options);
	};
	true`

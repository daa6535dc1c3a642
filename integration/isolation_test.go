package integration

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestIsolation has three users of two tenants, of the same names, talk in
// sessions of the same ids at once. Every message tells whose it is.
func TestIsolation(t *testing.T) {
	const tenants = `
	chat {
		tenant acme {
			api_key acme-key
			credential openai acme-upstream-key
			system "mark acme"
			metadata plan acme-plan
		}
		tenant globex {
			credential openai globex-upstream-key
			system "mark globex"
			metadata plan globex-plan
		}
	}
`
	const limit = 100000
	up := newSteered(t)
	c := startCaddy(t, tenants, `
	header >X-Seen "{chat.tenant.id} {chat.user.id} {chat.session.id} {chat.tenant.metadata.plan} {http.request.header.X-Tenant-Id} {http.request.header.X-User-Id}"
`+up.chain(""))

	up.answer(func(call *upstreamCall) string {
		texts := call.prompt.texts()
		tenant := strings.TrimPrefix(texts[0], "system: mark ")
		if got := call.header.Get("Authorization"); got != "Bearer "+tenant+"-upstream-key" {
			t.Errorf("%s's prompt came with %q", tenant, got)
		}
		// <tenant>/<user>/<session> <n>
		mark, _, _ := strings.Cut(call.prompt.question(), " ")
		for _, text := range texts[1:] {
			if !strings.Contains(text, mark+" ") || !strings.HasPrefix(mark, tenant+"/") {
				t.Errorf("the prompt of %s holds %q", mark, text)
			}
		}
		return "re: " + call.prompt.question()
	})

	sessions := []string{newSession(), newSession()}
	var wg sync.WaitGroup
	for _, tenant := range []string{"acme", "globex"} {
		for _, user := range []string{"ann", "bob", "carl"} {
			p := &probe{client: newClient(c, tenant, user), left: limit, sessions: sessions}
			if tenant == "acme" {
				p.key = "acme-key"
			}
			wg.Go(p.talk)
		}
	}
	wg.Wait()
}

// probe is one user who looks for traces of others.
type probe struct {
	*client
	left     int // of the rate limit
	sessions []string
}

const rounds = 15

func (p *probe) mark(session string) string {
	return p.tenant + "/" + p.user + "/" + session[:8]
}

func (p *probe) talk() {
	for n := range rounds {
		for _, session := range p.sessions {
			p.round(session, n)
		}
	}
}

// seen checks the header of an answer: nothing but this user's own counts.
func (p *probe) seen(resp *http.Response, session string) {
	p.t.Helper()
	p.left--
	want := strings.Join([]string{p.tenant, p.user, session, p.tenant + "-plan", p.tenant, p.user}, " ")
	wantHeaders(p.t, resp.Header, map[string]string{
		"X-Tenant-Id":           p.tenant,
		"X-Seen":                want,
		"X-RateLimit-Remaining": strconv.Itoa(p.left),
	})
}

func (p *probe) round(session string, n int) {
	mark := p.mark(session)
	question := fmt.Sprintf("%s %d", mark, n)
	trace := strings.ReplaceAll(mark, "/", ".") + strconv.Itoa(n)

	resp := p.do(http.MethodPost, "/chat", ask{SessionID: session, Message: question}, "X-Trace-Id", trace)
	p.seen(resp, session)
	answer := readEvents(p.t, resp).rest()
	if answer.text != "re: "+question || answer.done == nil {
		p.t.Errorf("%s asked %q and got %q", mark, question, answer.text)
	}
	for _, ev := range answer.events[:len(answer.events)-1] {
		if ev.TenantID != p.tenant || ev.SessionID != session || ev.TraceID != trace {
			p.t.Errorf("%s got the event %s", mark, ev.Data)
		}
	}

	resp = p.do(http.MethodGet, "/chat/"+session+"/stream", nil)
	p.seen(resp, session)
	if again := readEvents(p.t, resp).rest(); again.text != answer.text {
		p.t.Errorf("%s followed %q and got %q", mark, answer.text, again.text)
	}

	resp = p.do(http.MethodGet, "/chat/"+session+"/history?limit=1000", nil)
	p.seen(resp, session)
	var h historyAnswer
	decode(p.t, resp, &h)
	if len(h.Data.Messages) != 2*(n+1) {
		p.t.Errorf("%s has %d messages after %d rounds", mark, len(h.Data.Messages), n+1)
	}
	for _, m := range h.Data.Messages {
		if !strings.Contains(m.Content, mark+" ") {
			p.t.Errorf("%s finds %q", mark, m.Content)
		}
	}

	resp = p.do(http.MethodGet, "/chat", nil)
	p.seen(resp, "")
	var l listAnswer
	decode(p.t, resp, &l)
	for _, s := range l.Data.Sessions {
		if !strings.HasPrefix(s.Title, p.mark(s.SessionID)+" ") {
			p.t.Errorf("%s is shown the title %q", mark, s.Title)
		}
	}
}
